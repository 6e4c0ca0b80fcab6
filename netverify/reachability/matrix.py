r"""Who reaches whom, as a table: what is expected, what was observed, and whether the two agree.

Rows are sources, columns are targets. An expected table is written down with the symbols of
`netverify.reachability.symbols` (`.` answered, `X` did not arrive, and so on); an observed one holds a Cell
for each pair that was asked.

    assert lab.reachability(tcp(80)) == matrix(\"\"\"
             a1  a2  b1
        a1   .   .   X
        a2   .   .   X
        b1   X   X   .
    \"\"\")

**Equality.** Two matrices are equal when they name the same rows and the same columns, in any order, and
agree in every cell. An expected and an observed matrix agree in a cell when the expectation accepts the
answer; an observed ERROR is accepted by nothing. Two observed matrices agree when outcome and reply are the
same (addresses, details, rules and the probe itself take no part, and ERROR is the same as ERROR); two
expected ones when their symbols are the same. This relation is not transitive: `X` equals an observed `R` and
an observed `F`, which do not equal each other. So the hash is made of the names alone, and a set is no place
for matrices.

A row or a column that only one side has makes them unequal: `only()` cuts a part out of either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final, Self, TypeVar

from netverify.reachability.errors import ReachabilityError
from netverify.reachability.names import check_names
from netverify.reachability.parse import parse_table
from netverify.reachability.symbols import ACCEPTED, EXPECTABLE, Symbol
from netverify.reachability.text import printable, shorten, table

Pair = tuple[str, str]
Grid = tuple[tuple[Symbol, ...], ...]
_T = TypeVar("_T")

_AGREEING: Final = frozenset((expected, seen) for expected, accepts in ACCEPTED.items() for seen in accepts)
_THE_SAME: Final = frozenset((symbol, symbol) for symbol in Symbol)


@dataclass(frozen=True, eq=False, repr=False)
class ReachabilityMatrix(ABC):
    """What an expected and an observed matrix have in common: names, symbols, equality and printing.

    `str()` is the plain table; it parses back, unless an ERROR stands in it. Raises ReachabilityError when a
    name is unusable or comes twice, when there are no rows or no columns, or when the grid has other bounds.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]

    expects: ClassVar[bool] = False  # whether its symbols are expectations, not answers

    def __post_init__(self) -> None:
        check_names("row", self.rows)
        check_names("column", self.columns)

    @staticmethod
    def parse(text: str, *, file: str = "matrix") -> ExpectedMatrix:
        """The expectation that `text` holds as a table. Raises MatrixSyntaxError with line and column."""
        return ExpectedMatrix(*parse_table(text, file=file))

    @property
    @abstractmethod
    def symbols(self) -> Grid:
        """The symbols, row by row."""

    @abstractmethod
    def only(self, rows: Iterable[str] | None = None, columns: Iterable[str] | None = None) -> Self:
        """The part with these rows and columns, in this order (None: all of them, as they are).

        Raises ReachabilityError for a name that is not there, and where nothing would be left.
        """

    def symbol(self, source: str, target: str) -> Symbol:
        """The symbol for `source` to `target`. Raises ReachabilityError for a name that is not there."""
        return self.symbols[self._row(source)][self._column(target)]

    def pairs(self, *symbols: Symbol | str) -> frozenset[Pair]:
        """The (source, target) pairs whose symbol is among `symbols` or accepted by one: `pairs("X")`."""
        wanted = {_symbol(symbol, "pairs()") for symbol in symbols}
        wanted.update(*(ACCEPTED[symbol] for symbol in tuple(wanted)))
        return frozenset(pair for pair, symbol in self._answers() if symbol in wanted)

    def counts(self) -> dict[Symbol, int]:
        """How often each symbol stands in the table, in the order of Symbol, without zeros."""
        found = Counter(symbol for row in self.symbols for symbol in row)
        return {symbol: found[symbol] for symbol in Symbol if found[symbol]}

    def asymmetries(self) -> frozenset[Pair]:
        """The pairs whose answer differs from the answer for the way back, where both ways were asked."""
        known = {pair: symbol for pair, symbol in self._answers() if symbol is not Symbol.NOT_ASKED}
        return frozenset(
            (source, target)
            for (source, target), symbol in known.items()
            if known.get((target, source), symbol) is not symbol
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReachabilityMatrix):
            return NotImplemented
        if self._names != other._names:
            return False
        expected, observed = oriented(self, other)
        observed = observed.only(expected.rows, expected.columns)
        agreeing = agreeing_symbols(expected, observed)
        return all(
            pair in agreeing
            for left, right in zip(expected.symbols, observed.symbols, strict=True)
            for pair in zip(left, right, strict=True)
        )

    def __hash__(self) -> int:
        return hash(self._names)

    def __str__(self) -> str:
        return "\n".join(table(self.rows, self.columns, self.symbols))

    def __repr__(self) -> str:
        counts = " ".join(f"{count}{symbol}" for symbol, count in self.counts().items())
        return f"<{type(self).__name__} {len(self.rows)} x {len(self.columns)}: {counts}>"

    @cached_property
    def _names(self) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset(self.rows), frozenset(self.columns)

    @cached_property
    def _row_numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.rows)}

    @cached_property
    def _column_numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.columns)}

    def _row(self, name: str) -> int:
        return _number("row", name, self._row_numbers)

    def _column(self, name: str) -> int:
        return _number("column", name, self._column_numbers)

    def _answers(self) -> Iterator[tuple[Pair, Symbol]]:
        for source, symbols in zip(self.rows, self.symbols, strict=True):
            for target, symbol in zip(self.columns, symbols, strict=True):
                yield (source, target), symbol

    def _part(
        self,
        grid: Sequence[Sequence[_T]],
        rows: Iterable[str] | None,
        columns: Iterable[str] | None,
    ) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[_T, ...], ...]]:
        rows = self.rows if rows is None else tuple(rows)
        columns = self.columns if columns is None else tuple(columns)
        places = [self._column(name) for name in columns]
        part = tuple(tuple(grid[number][place] for place in places) for number in map(self._row, rows))
        return rows, columns, part


@dataclass(frozen=True, eq=False, repr=False)
class ExpectedMatrix(ReachabilityMatrix):
    """What somebody says the network does: a symbol for each pair, ERROR excepted."""

    grid: Grid

    expects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self.rows, self.columns, self.grid)
        if any(symbol not in EXPECTABLE for row in self.grid for symbol in row):
            raise ReachabilityError("nobody can expect E, a probe that failed by itself; use another symbol")

    @classmethod
    def where(
        cls, rows: Iterable[str], columns: Iterable[str], rule: Callable[[str, str], Symbol | str]
    ) -> ExpectedMatrix:
        """The expectation that `rule(source, target)` gives for each pair, for tables too large to write.

        Raises ReachabilityError where the rule gives something that is no symbol.
        """
        rows, columns = tuple(rows), tuple(columns)
        grid = tuple(
            tuple(_symbol(rule(source, target), f"{source} -> {target}") for target in columns)
            for source in rows
        )
        return cls(rows, columns, grid)

    @property
    def symbols(self) -> Grid:
        """The symbols, row by row."""
        return self.grid

    def only(self, rows: Iterable[str] | None = None, columns: Iterable[str] | None = None) -> ExpectedMatrix:
        """The part with these rows and columns, in this order; see ReachabilityMatrix.only."""
        return ExpectedMatrix(*self._part(self.grid, rows, columns))

    def transposed(self) -> ExpectedMatrix:
        """The same expectation for the other direction of each pair: rows become columns."""
        return ExpectedMatrix(self.columns, self.rows, tuple(zip(*self.grid, strict=True)))


def matrix(text: str) -> ExpectedMatrix:
    """The expectation that `text` holds as a table; short for ReachabilityMatrix.parse."""
    return ReachabilityMatrix.parse(text)


def oriented(
    left: ReachabilityMatrix, right: ReachabilityMatrix
) -> tuple[ReachabilityMatrix, ReachabilityMatrix]:
    """The two with the expected one first, however they stood; two of a kind stay as they are."""
    return (right, left) if right.expects and not left.expects else (left, right)


def agreeing_symbols(
    expected: ReachabilityMatrix, observed: ReachabilityMatrix
) -> frozenset[tuple[Symbol, Symbol]]:
    """The (expected, observed) symbols that agree between two such matrices, as `oriented()` orders them."""
    return _AGREEING if expected.expects and not observed.expects else _THE_SAME


def _number(what: str, name: str, numbers: dict[str, int]) -> int:
    try:
        return numbers[name]
    except KeyError:
        known = shorten(", ".join(numbers), 200)
        raise ReachabilityError(f"no {what} '{printable(name)}'; there are {known}") from None


def check_bounds(rows: Sequence[str], columns: Sequence[str], grid: Sequence[Sequence[object]]) -> None:
    """Raise ReachabilityError unless `grid` has a value for each row and column."""
    if len(grid) != len(rows) or any(len(row) != len(columns) for row in grid):
        raise ReachabilityError(
            f"{len(rows)} rows and {len(columns)} columns need a grid of just that size, row by row"
        )


def _symbol(symbol: Symbol | str, where: str) -> Symbol:
    try:
        return Symbol(symbol)
    except ValueError:
        raise ReachabilityError(
            f"{printable(where)}: '{shorten(str(symbol), 40)}' is no symbol; "
            f"expected one of {' '.join(Symbol)}"
        ) from None
