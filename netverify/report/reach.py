"""Who reaches whom by the model: the matrix with the rules behind its cells, and as JSON."""

from __future__ import annotations

import json
from typing import Final

from netverify.model.matrix import Pair, Reach
from netverify.model.twinned import Twinned
from netverify.reachability.probe import Cell
from netverify.reachability.symbols import Symbol, symbol_of
from netverify.reachability.text import printable
from netverify.report.cells import cells_of, twin_facts
from netverify.report.twin import render as render_twin

SHOWN_PAIRS: Final = 6  # so many pairs are named behind each rule
_MEANINGS: Final = {
    Symbol.ANSWERED: "arrives, and so does the answer",
    Symbol.ONE_WAY: "arrives, but the answer is lost",
    Symbol.REFUSED: "refused by the destination itself",
    Symbol.PROHIBITED: "prohibited: a filter drops it and says so",
    Symbol.UNREACHABLE: "unreachable: no route, or nobody has the address",
    Symbol.FILTERED: "filtered: dropped in silence",
    Symbol.ERROR: "unknown: something that it depends on was not collected",
}


def render(reach: Reach, twinned: Twinned | None = None) -> str:
    """The matrix, what its symbols mean, the rule behind each kind of cell, and what a twin says."""
    matrix = reach.matrix
    size = f"{len(matrix.rows)} sources x {len(matrix.columns)} targets"
    lines = [f"{reach.subject.title}: {matrix.probe}, {size}", "", *str(matrix).split("\n"), ""]
    lines += (f"{count:>5}  {symbol}  {_MEANINGS[symbol]}" for symbol, count in matrix.counts().items())
    by_rule: dict[tuple[Symbol, str], list[Pair]] = {}
    for pair in reach.pairs:
        symbol = symbol_of(pair.cell)
        why = str(pair.rule) if pair.rule is not None else _reason(symbol, pair.cell)
        if why:
            by_rule.setdefault((symbol, why), []).append(pair)
    if by_rule:
        lines += ["", "Decided by"]
    for (symbol, why), pairs in sorted(by_rule.items(), key=lambda item: item[0][0] == Symbol.ANSWERED):
        named = ", ".join(f"{pair.cell.source} -> {pair.cell.target}" for pair in pairs[:SHOWN_PAIRS])
        more = len(pairs) - SHOWN_PAIRS
        lines += [f"    {symbol}  {why}", f"         {named}" + (f" and {more} more" if more > 0 else "")]
    if reach.lacks:
        lines += ["", "Unknown, and needed for an answer", *(f"    {lack}" for lack in reach.lacks)]
    if reach.subject.notes:
        lines += ["", "Assumed", *(f"    {note}" for note in reach.subject.notes)]
    told = "\n".join(printable(line) for line in lines)
    return told if twinned is None else f"{told}\n\n{render_twin(twinned)}"


def render_json(reach: Reach, twinned: Twinned | None = None) -> str:
    """Every pair for programs: `model` says what comes of it, `rule` what decides.

    `twin` is what packets in a twin say: null where there was none, "not twinned" where it lacks something.
    """
    document = {
        "format": "netverify reach",
        "version": 1,
        "subject": reach.subject.title,
        "service": str(reach.matrix.probe),
        "cells": cells_of(reach, twinned),
        "unknown": [str(lack) for lack in reach.lacks],
        "notes": list(reach.subject.notes),
    }
    if twinned is not None:
        document |= twin_facts(twinned)
    return json.dumps(document, indent=1)


def _reason(symbol: Symbol, cell: Cell) -> str:
    return "" if symbol in (Symbol.ANSWERED, Symbol.ERROR) else cell.detail
