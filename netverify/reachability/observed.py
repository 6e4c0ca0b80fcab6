"""An observed matrix: the answers that probes, a model or a rebuilt host gave to one question per pair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from netverify.reachability.errors import ReachabilityError
from netverify.reachability.matrix import ExpectedMatrix, Grid, Pair, ReachabilityMatrix, check_bounds
from netverify.reachability.probe import Cell, Outcome, Probe
from netverify.reachability.symbols import DELIVERED, symbol_of
from netverify.reachability.text import printable, shorten


@dataclass(frozen=True, eq=False, repr=False)
class ObservedMatrix(ReachabilityMatrix):
    """What the probes found: a Cell for each pair that was asked, None for one that was not.

    Raises ReachabilityError where ReachabilityMatrix does, and for a Cell that stands in a wrong place.
    """

    probe: Probe
    grid: tuple[tuple[Cell | None, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self.rows, self.columns, self.grid)
        for source, cells in zip(self.rows, self.grid, strict=True):
            for target, cell in zip(self.columns, cells, strict=True):
                if cell is not None and (cell.source != source or cell.target != target):
                    where = f"{printable(cell.source)} -> {printable(cell.target)}"
                    raise ReachabilityError(f"the answer for {where} stands at {source} -> {target}")

    @classmethod
    def of(
        cls,
        probe: Probe,
        cells: Iterable[Cell],
        *,
        rows: Iterable[str] | None = None,
        columns: Iterable[str] | None = None,
    ) -> ObservedMatrix:
        """The matrix of these answers.

        Without `rows`, the sources come in the order of their first answer. Without `columns`, the targets
        that are also rows come first and in the rows' order, then the others in the order of their first
        answer. Raises ReachabilityError for two answers to one question, and for an answer outside `rows` and
        `columns`.
        """
        answers: dict[Pair, Cell] = {}
        for cell in cells:
            if answers.setdefault((cell.source, cell.target), cell) is not cell:
                where = f"{printable(cell.source)} -> {printable(cell.target)}"
                raise ReachabilityError(f"two answers for {where}; keep one cell for each pair")
        rows = tuple(dict.fromkeys(source for source, _ in answers) if rows is None else rows)
        if columns is None:
            targets = dict.fromkeys(target for _, target in answers)
            columns = dict.fromkeys([*(row for row in rows if row in targets), *targets])
        columns = tuple(columns)
        grid = tuple(tuple(answers.pop((source, target), None) for target in columns) for source in rows)
        for source, target in answers:
            where = f"{printable(source)} -> {printable(target)}"
            raise ReachabilityError(f"the answer for {where} is outside the matrix; add its row and column")
        return cls(rows, columns, probe, grid)

    @cached_property
    def symbols(self) -> Grid:
        """The symbols, row by row."""
        return tuple(tuple(map(symbol_of, row)) for row in self.grid)

    def only(self, rows: Iterable[str] | None = None, columns: Iterable[str] | None = None) -> ObservedMatrix:
        """The part with these rows and columns, in this order; see ReachabilityMatrix.only."""
        rows, columns, grid = self._part(self.grid, rows, columns)
        return ObservedMatrix(rows, columns, self.probe, grid)

    def cell(self, source: str, target: str) -> Cell:
        """The answer for one pair. Raises ReachabilityError when there is no such name, or nobody asked."""
        cell = self.grid[self._row(source)][self._column(target)]
        if cell is None:
            raise ReachabilityError(f"{source} -> {target} was not asked")
        return cell

    def cells(self) -> tuple[Cell, ...]:
        """All answers, row by row."""
        return tuple(cell for row in self.grid for cell in row if cell is not None)

    def delivered(self) -> frozenset[Pair]:
        """The pairs whose request arrived, answered or not. Read it together with `errors()`."""
        return self.pairs(*DELIVERED)

    def errors(self) -> tuple[Cell, ...]:
        """The cells whose question was not answered."""
        return tuple(cell for cell in self.cells() if cell.outcome is Outcome.ERROR)

    def expectation(self) -> ExpectedMatrix:
        """What was observed, as an expectation from now on. Raises ReachabilityError if it has errors."""
        errors = self.errors()
        if errors:
            first = errors[0]
            raise ReachabilityError(
                f"{len(errors)} of {len(self.cells())} questions were not answered (first: {first.source} -> "
                f"{first.target}: {shorten(first.detail, 200)}); nobody can expect that, so ask again"
            )
        return ExpectedMatrix(self.rows, self.columns, self.symbols)
