"""Reachability matrices for people and for programs: terminal text, HTML fragments, differences as JSON.

Nothing here uses colour on a terminal, and no colour in HTML says anything that a symbol does not say too.
Names, details and rules come from hosts that nobody vouches for: they are escaped wherever they are shown.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from html import escape
from typing import Final

from netverify.reachability.comparison import (
    SHOWN_DETAILS,
    Comparison,
    compare,
    explain_comparison,
    facts,
    summary,
)
from netverify.reachability.matrix import Pair, ReachabilityMatrix
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell
from netverify.reachability.symbols import Symbol
from netverify.reachability.text import printable

SHOWN_ERRORS: Final = 10  # so many errors are listed below a table
TOOLTIPS: Final = 2500  # a table with more cells has tooltips only where a cell is marked or an ERROR

_STYLE: Final = """<style>
.netverify-matrix { border-collapse: collapse; font-family: monospace; color: #1a1a1a; background: #fff; }
.netverify-matrix th, .netverify-matrix td { padding: 2px 8px; border: 1px solid #ccc; text-align: center; }
.netverify-matrix th[scope=row] { text-align: left; }
.netverify-matrix .answered { background: #dcefdc; }
.netverify-matrix .one_way { background: #fff3c4; }
.netverify-matrix .blocked, .netverify-matrix .refused, .netverify-matrix .prohibited,
.netverify-matrix .unreachable, .netverify-matrix .filtered { background: #e3e7ef; }
.netverify-matrix .error { background: #f6c9c9; }
.netverify-matrix .differs { outline: 3px solid #b00020; font-weight: bold; }
</style>"""


def render(matrix: ReachabilityMatrix, title: str = "") -> str:
    """The table under a title, then how often each symbol stands in it and what it means, then the errors."""
    lines = [_title(matrix, title), "", *str(matrix).split("\n"), ""]
    counts = matrix.counts()
    digits = max(len(str(count)) for count in counts.values())
    lines += [f"{count:>{digits}}  {symbol}  {symbol.meaning}" for symbol, count in counts.items()]
    errors = matrix.errors() if isinstance(matrix, ObservedMatrix) else ()
    lines += [f"error {cell.source} -> {cell.target}: {_joined(cell)}" for cell in errors[:SHOWN_ERRORS]]
    if len(errors) > SHOWN_ERRORS:
        lines.append(f"and {len(errors) - SHOWN_ERRORS} more errors")
    return "\n".join(lines)


def render_differences(left: ReachabilityMatrix, right: ReachabilityMatrix) -> str:
    """What `netverify.reachability.comparison.explain` says, as one text."""
    return "\n".join(explain_comparison(compare(left, right)))


def differences_json(comparison: Comparison) -> str:
    """The comparison as JSON: whether the two agree, each differing cell, names that only one of them has.

    `expected` and `observed` of a difference are symbols; `cell` and `expected_cell` (null where there is no
    answer) have the fields of Cell.
    """
    document = {
        "format": "netverify reachability differences",
        "version": 1,
        "agree": comparison.agree,
        "compared": comparison.compared,
        "missing_rows": comparison.missing_rows,
        "missing_columns": comparison.missing_columns,
        "extra_rows": comparison.extra_rows,
        "extra_columns": comparison.extra_columns,
        "differences": [
            {
                "source": difference.source,
                "target": difference.target,
                "expected": difference.expected,
                "observed": difference.observed,
                "cell": _cell_facts(difference.cell),
                "expected_cell": _cell_facts(difference.expected_cell),
            }
            for difference in comparison.differences
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def to_html(matrix: ReachabilityMatrix, title: str = "") -> str:
    """An HTML fragment with the table, a tooltip on each cell, and a legend with counts."""
    return "\n".join([_STYLE, *_html_table(matrix, _title(matrix, title), ()), *_html_legend(matrix)])


def differences_html(comparison: Comparison) -> str:
    """An HTML fragment with a summary, both tables with the differing cells outlined, and their details."""
    marked = {(difference.source, difference.target) for difference in comparison.differences}
    lines = [_STYLE, f"<p>{escape(summary(comparison))}</p>"]
    lines += [
        f"<p>{escape(what)}: {escape(', '.join(names))}</p>"
        for what, names in comparison.strangers()
        if names
    ]
    for matrix, label in zip((comparison.expected, comparison.observed), comparison.labels, strict=True):
        lines += _html_table(matrix, label, marked)
    lines += _html_details(comparison)
    return "\n".join(lines)


def _title(matrix: ReachabilityMatrix, title: str) -> str:
    probe = str(matrix.probe) if isinstance(matrix, ObservedMatrix) else "expected"
    size = f"{probe}, {len(matrix.rows)} sources x {len(matrix.columns)} targets"
    return f"{printable(title)}: {size}" if title else size


def _joined(cell: Cell) -> str:
    return "; ".join(facts(cell)) or "no details"


def _cell_facts(cell: Cell | None) -> dict[str, object] | None:
    return None if cell is None else asdict(cell) | {"outcome": cell.outcome.value}


def _html_table(matrix: ReachabilityMatrix, caption: str, marked: Collection[Pair]) -> Iterator[str]:
    yield '<table class="netverify-matrix">'
    yield f"<caption>{escape(caption)}</caption>"
    headings = "".join(f'<th scope="col">{escape(name)}</th>' for name in matrix.columns)
    yield f"<thead><tr><td></td>{headings}</tr></thead>"
    yield "<tbody>"
    tooltips = len(matrix.rows) * len(matrix.columns) <= TOOLTIPS
    for source, symbols in zip(matrix.rows, matrix.symbols, strict=True):
        pieces = [f'<tr><th scope="row">{escape(source)}</th>']
        for target, symbol in zip(matrix.columns, symbols, strict=True):
            differs = (source, target) in marked
            classes = f"{symbol.name.lower()} differs" if differs else symbol.name.lower()
            told = tooltips or differs or symbol is Symbol.ERROR
            tooltip = f' title="{escape(_tooltip(matrix, source, target))}"' if told else ""
            pieces.append(f'<td class="{classes}"{tooltip}>{escape(symbol)}</td>')
        yield "".join([*pieces, "</tr>"])
    yield "</tbody></table>"


def _tooltip(matrix: ReachabilityMatrix, source: str, target: str) -> str:
    symbol = matrix.symbol(source, target)
    text = f"{source} -> {target}: {symbol.meaning}"
    if isinstance(matrix, ObservedMatrix) and symbol is not Symbol.NOT_ASKED:
        return "; ".join([text, *facts(matrix.cell(source, target))])
    return text


def _html_legend(matrix: ReachabilityMatrix) -> Iterator[str]:
    yield "<ul>"
    for symbol, count in matrix.counts().items():
        yield f"<li>{count} <code>{escape(symbol)}</code> {escape(symbol.meaning)}</li>"
    yield "</ul>"


def _html_details(comparison: Comparison) -> Iterator[str]:
    if not comparison.differences:
        return
    yield "<dl>"
    for difference in comparison.differences[:SHOWN_DETAILS]:
        yield f"<dt>{escape(difference.source)} -&gt; {escape(difference.target)}</dt>"
        for who, symbol, cell in difference.told(comparison.sides):
            told = [f"{who} {symbol} ({symbol.meaning})", *(facts(cell) if cell else ())]
            yield f"<dd>{'<br>'.join(map(escape, told))}</dd>"
    yield "</dl>"
    if len(comparison.differences) > SHOWN_DETAILS:
        yield f"<p>and {len(comparison.differences) - SHOWN_DETAILS} more differing cells</p>"
