"""Two matrices held against each other: which cells differ, which names are missing, and that in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from netverify.reachability.matrix import Pair, ReachabilityMatrix, agreeing_symbols, oriented
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell
from netverify.reachability.symbols import Symbol
from netverify.reachability.text import beside, printable, table, width

SIDE_BY_SIDE: Final = 100  # two tables that are wider than this together stand one below the other
SHOWN_NAMES: Final = (
    30  # a matrix with more rows or columns is cut down to those that differ, at most so many
)
SHOWN_DETAILS: Final = 20  # so many differing cells are told in detail


@dataclass(frozen=True)
class Difference:
    """One pair on which two matrices do not agree.

    `cell` is the observed answer and `expected_cell` the one that it is held against; each is None where the
    pair was not asked, or where that side is an expectation.
    """

    source: str
    target: str
    expected: Symbol
    observed: Symbol
    cell: Cell | None = None
    expected_cell: Cell | None = None

    def told(self, sides: tuple[str, str]) -> tuple[tuple[str, Symbol, Cell | None], ...]:
        """For each of the two sides, under its name: its symbol, and its answer where it has one."""
        return (sides[0], self.expected, self.expected_cell), (sides[1], self.observed, self.cell)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. Where two matrices of a kind were compared, the left one is `expected`.

    `missing_rows` and `missing_columns` are names that only `expected` has, `extra_rows` and `extra_columns`
    names that only `observed` has; their cells are not among the `differences`. `compared` is the number of
    pairs that both have.
    """

    expected: ReachabilityMatrix
    observed: ReachabilityMatrix
    differences: tuple[Difference, ...]
    compared: int
    missing_rows: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    extra_rows: tuple[str, ...] = ()
    extra_columns: tuple[str, ...] = ()

    @property
    def agree(self) -> bool:
        """Whether the two are equal."""
        return not (self.differences or any(names for _, names in self.strangers()))

    @property
    def sides(self) -> tuple[str, str]:
        """What to call the two matrices: expected and observed, or left and right."""
        mixed = self.expected.expects != self.observed.expects
        return ("expected", "observed") if mixed else ("left", "right")

    @property
    def labels(self) -> tuple[str, str]:
        """The two names as titles, with the probe where there was one."""
        expected, observed = self.sides
        return _label(expected, self.expected), _label(observed, self.observed)

    def strangers(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The names that only one of the two has, each kind with its description."""
        expected, observed = self.sides
        return (
            (f"rows that only the {expected} matrix has", self.missing_rows),
            (f"columns that only the {expected} matrix has", self.missing_columns),
            (f"rows that only the {observed} matrix has", self.extra_rows),
            (f"columns that only the {observed} matrix has", self.extra_columns),
        )


def compare(left: ReachabilityMatrix, right: ReachabilityMatrix) -> Comparison:
    """Hold two matrices against each other, by the rules of equality in `netverify.reachability.matrix`.

    The expected one may stand on either side. Names that only one of them has are reported, never raised.
    """
    expected, observed = oriented(left, right)
    rows = _within(expected.rows, observed.rows)
    columns = _within(expected.columns, observed.columns)
    return Comparison(
        expected,
        observed,
        tuple(_differences(expected, observed, rows, columns)) if rows and columns else (),
        len(rows) * len(columns),
        missing_rows=_without(expected.rows, observed.rows),
        missing_columns=_without(expected.columns, observed.columns),
        extra_rows=_without(observed.rows, expected.rows),
        extra_columns=_without(observed.columns, expected.columns),
    )


def explain(
    left: ReachabilityMatrix, right: ReachabilityMatrix, *, details: int = SHOWN_DETAILS
) -> list[str]:
    """The comparison in words, line by line, for a terminal or pytest's assertion explanation.

    A summary, both tables with the differing cells in brackets, then up to `details` differing cells with
    what was expected, what was observed, the source address that was seen, and the rules that counted.
    Tables with many rows or columns are cut down to those that differ.
    """
    return explain_comparison(compare(left, right), details=details)


def explain_comparison(comparison: Comparison, *, details: int = SHOWN_DETAILS) -> list[str]:
    """What `explain` says, of a comparison that is at hand already."""
    lines = [summary(comparison)]
    lines += [f"{what}: {_listed(names)}" for what, names in comparison.strangers() if names]
    if comparison.agree:
        return lines
    lines += ["", *_tables(comparison)]
    for difference in comparison.differences[:details]:
        lines += ["", *_detail(difference, comparison.sides)]
    rest = len(comparison.differences) - details
    if rest > 0:
        lines += ["", f"and {rest} more differing cells"]
    return lines


def summary(comparison: Comparison) -> str:
    """How many cells differ, in one line; errors are counted apart: they say nothing about the network."""
    count = len(comparison.differences)
    if not count:
        line = f"reachability agrees in all {comparison.compared} cells that both matrices have"
        return line if comparison.agree else f"{line}, but their rows and columns are not the same"
    errors = sum(Symbol.ERROR in (d.observed, d.expected) for d in comparison.differences)
    line = f"reachability differs in {count} of {comparison.compared} cells"
    return line + (f", {errors} of them probes that failed by themselves (E)" if errors else "")


def _differences(
    expected: ReachabilityMatrix, observed: ReachabilityMatrix, rows: Sequence[str], columns: Sequence[str]
) -> Iterator[Difference]:
    agreeing = agreeing_symbols(expected, observed)
    expected, observed = expected.only(rows, columns), observed.only(rows, columns)
    for source, wanted, found in zip(rows, expected.symbols, observed.symbols, strict=True):
        for target, pair in zip(columns, zip(wanted, found, strict=True), strict=True):
            if pair not in agreeing:
                yield Difference(
                    source,
                    target,
                    *pair,
                    _answer(observed, source, target),
                    _answer(expected, source, target),
                )


def _answer(matrix: ReachabilityMatrix, source: str, target: str) -> Cell | None:
    if isinstance(matrix, ObservedMatrix) and matrix.symbol(source, target) is not Symbol.NOT_ASKED:
        return matrix.cell(source, target)
    return None


def _tables(comparison: Comparison) -> list[str]:
    """Both tables, the observed one in the order of the expected one, and what was left out of them."""
    marked = {(difference.source, difference.target) for difference in comparison.differences}
    expected, observed = comparison.expected, comparison.observed
    observed = observed.only(
        _arranged(expected.rows, observed.rows), _arranged(expected.columns, observed.columns)
    )
    blocks = []
    for label, matrix in zip(comparison.labels, (expected, observed), strict=True):
        part, note = _cut(matrix, marked)
        blocks.append([label + note, *_marked_table(part, marked)])
    left, right = blocks
    joined = beside(left, right)
    return joined if max(map(width, joined)) <= SIDE_BY_SIDE else [*left, "", *right]


def _cut(matrix: ReachabilityMatrix, marked: Iterable[Pair]) -> tuple[ReachabilityMatrix, str]:
    """The part of a large matrix that has differences in it, and a note that says so."""
    if len(matrix.rows) <= SHOWN_NAMES and len(matrix.columns) <= SHOWN_NAMES:
        return matrix, ""
    sources, targets = ({pair[side] for pair in marked} for side in (0, 1))
    rows = [row for row in matrix.rows if row in sources] or matrix.rows
    columns = [column for column in matrix.columns if column in targets] or matrix.columns
    part = matrix.only(rows[:SHOWN_NAMES], columns[:SHOWN_NAMES])
    shown = (
        f"{len(part.rows)} of {len(matrix.rows)} rows, {len(part.columns)} of {len(matrix.columns)} columns"
    )
    return part, f", {shown}"


def _marked_table(matrix: ReachabilityMatrix, marked: Iterable[Pair]) -> list[str]:
    rows = {name: number for number, name in enumerate(matrix.rows)}
    columns = {name: number for number, name in enumerate(matrix.columns)}
    places = {(rows[row], columns[column]) for row, column in marked if row in rows and column in columns}
    return table(matrix.rows, matrix.columns, matrix.symbols, places)


def _detail(difference: Difference, sides: tuple[str, str]) -> list[str]:
    told = difference.told(sides)
    says = ", ".join(f"{who} {symbol} ({symbol.meaning})" for who, symbol, _ in told)
    answers = [(who, cell) for who, _, cell in told if cell is not None]
    lines = [f"{difference.source} -> {difference.target}: {says}"]
    for who, cell in answers:
        prefix = f"{who}: " if len(answers) > 1 else ""
        lines += [f"    {prefix}{fact}" for fact in facts(cell)]
    return lines


def facts(cell: Cell) -> list[str]:
    """What an answer rests on, a line each, printable: detail, source and receiver, rules that counted."""
    lines = [cell.detail] if cell.detail else []
    if cell.seen_source is not None:
        lines.append(f"the receiver saw the source {cell.seen_source}")
    if cell.receiver is not None:
        lines.append(f"received in {cell.receiver}")
    lines += [f"counted by {rule}" for rule in cell.rules]
    return [printable(line) for line in lines]


def _label(name: str, matrix: ReachabilityMatrix) -> str:
    return f"{name} ({matrix.probe})" if isinstance(matrix, ObservedMatrix) else name


def _within(names: Sequence[str], others: Iterable[str]) -> tuple[str, ...]:
    known = set(others)
    return tuple(name for name in names if name in known)


def _without(names: Sequence[str], others: Iterable[str]) -> tuple[str, ...]:
    known = set(others)
    return tuple(name for name in names if name not in known)


def _arranged(order: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """`names`, those in `order` first and in that order."""
    return (*_within(order, names), *_without(names, order))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES])
    return shown if len(names) <= SHOWN_NAMES else f"{shown} and {len(names) - SHOWN_NAMES} more"
