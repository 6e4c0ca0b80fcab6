"""Reading a table of expectations: a heading that names the columns, then a line for each row.

    #      from the rows' names to the columns' names
         a1  a2  b1
    a1   .   .   X
    a2   .   .   X      # a comment begins with '#' after a blank, and ends with the line
    b1   X   X   .

Words are separated by blanks and counted, not measured: a crooked table reads like a straight one. The first
line that is neither blank nor a comment is the heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from netverify.errors import Place
from netverify.reachability.errors import MatrixSyntaxError
from netverify.reachability.names import NOT_NAMES, name_fault
from netverify.reachability.symbols import EXPECTABLE, Symbol

Parsed = tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[Symbol, ...], ...]]

_WORD: Final = re.compile(r"\S+")
_SYMBOLS: Final = {str(symbol): symbol for symbol in EXPECTABLE}
_ONE_OF: Final = "one of " + " ".join(_SYMBOLS)


class _Line:
    """One line's words, each with its column; `fault` is the error that points at a column of this line."""

    def __init__(self, file: str, number: int, text: str) -> None:
        self.file = file
        self.number = number
        self.text = text
        self.words: list[tuple[int, str]] = []
        for match in _WORD.finditer(text):
            if match.group().startswith("#"):
                break
            self.words.append((match.start() + 1, match.group()))
        last = self.words[-1] if self.words else (1, "")
        self.end = last[0] + len(last[1])

    def fault(self, column: int, expected: str, found: str = "") -> MatrixSyntaxError:
        return MatrixSyntaxError(Place(self.file, self.number, column), expected, found, self.text)


def parse_table(text: str, *, file: str = "matrix") -> Parsed:
    """The rows, the columns and the grid of symbols that `text` holds.

    Raises MatrixSyntaxError with line and column where the text is no such table. `file` is the name under
    which the error speaks of the text.
    """
    lines = _lines(text, file)
    heading = next(lines, None)
    if heading is None:
        raise MatrixSyntaxError(Place(file, 1, 1), "a heading with the columns' names")
    columns = _columns(heading)
    rows: dict[str, int] = {}
    grid = []
    for line in lines:
        (at, row), *symbols = line.words
        _check_name(line, at, row, rows, "row")
        rows[row] = line.number
        grid.append(_symbols(line, columns, symbols))
    if not rows:
        last = text.count("\n") + 1
        raise MatrixSyntaxError(Place(file, last, 1), "a row: its name, then a symbol for each column")
    return tuple(rows), columns, tuple(grid)


def _lines(text: str, file: str) -> Iterator[_Line]:
    for number, line in enumerate(text.split("\n"), start=1):
        words = _Line(file, number, line.rstrip("\r"))
        if words.words:
            yield words


def _columns(heading: _Line) -> tuple[str, ...]:
    columns: dict[str, int] = {}
    for at, name in heading.words:
        if name in NOT_NAMES:
            raise heading.fault(at, "a heading with nothing but the columns' names", name)
        _check_name(heading, at, name, columns, "column")
        columns[name] = heading.number
    return tuple(columns)


def _check_name(line: _Line, at: int, name: str, known: dict[str, int], what: str) -> None:
    if name in known:
        raise line.fault(at, f"a new {what} ({name} stands in line {known[name]} already)", name)
    fault = name_fault(name)
    if fault:
        raise line.fault(at, f"the name of a {what}, but {fault}", name)


def _symbols(line: _Line, columns: Sequence[str], words: Sequence[tuple[int, str]]) -> tuple[Symbol, ...]:
    found = []
    for column, (at, word) in zip(columns, words, strict=False):
        if word == Symbol.ERROR:
            why = "E is printed for a probe that failed by itself, and cannot be an expectation"
            raise line.fault(at, f"{_ONE_OF} ({why})", word)
        if word not in _SYMBOLS:
            raise line.fault(at, f"{_ONE_OF} under column {column}", word)
        found.append(_SYMBOLS[word])
    if len(words) != len(columns):
        count = f"{len(columns)} symbols, one under each column, not {len(words)}"
        at, word = words[len(columns)] if len(words) > len(columns) else (line.end, "")
        raise line.fault(at, count, word)
    return tuple(found)
