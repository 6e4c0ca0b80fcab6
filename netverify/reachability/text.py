"""Plain text that any terminal shows as it is meant: escaping, display width, aligned tables.

Names and details come from hosts that nobody vouches for. What a terminal would obey instead of showing
(ANSI escapes, carriage returns, bidirectional overrides, lone surrogates) is shown as its escape sequence.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from itertools import zip_longest

GAP = 2  # blanks between two columns; a marked cell borrows one on each side for its brackets
LABEL_GAP = 3  # blanks between the rows' names and the first column


def printable(text: str) -> str:
    r"""`text` with every character that is not printable written as `\n`, `\x1b`, `\u202e` and the like."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def width(text: str) -> int:
    """The terminal cells that `text` takes: two for a wide character (UAX 11), none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def pad(text: str, cells: int) -> str:
    """`text` with blanks after it, up to `cells` terminal cells."""
    return text + " " * (cells - width(text))


def shorten(text: str, limit: int) -> str:
    """`text`, printable and cut to at most `limit` characters (more only where the last one is escaped)."""
    return printable(text if len(text) <= limit else text[: limit - 3] + "...")


def pointed(text: str, column: int, limit: int = 90) -> list[str]:
    """Two lines: what stands in `text` around `column` (from 1), and a caret under that very character."""
    start = max(0, min(column - 1 - limit // 2, len(text) - limit))
    before = ("..." if start else "") + printable(text[start : column - 1])
    after = printable(text[column - 1 : start + limit]) + ("..." if start + limit < len(text) else "")
    return [before + after, " " * width(before) + "^"]


def table(
    rows: Sequence[str],
    columns: Sequence[str],
    grid: Sequence[Sequence[str]],
    marked: Collection[tuple[int, int]] = (),
) -> list[str]:
    """Aligned lines: a heading with the columns' names, then a line for each row.

    `grid` holds one character for each row and column; `marked` the (row, column) positions, from 0, that are
    put in brackets. No line ends in a blank.
    """
    label = max(map(width, rows), default=0) + LABEL_GAP
    widths = [max(width(name), 1) + GAP for name in columns]
    gaps = [" " * (cells - 1) for cells in widths]
    heading = " " * label + "".join(map(pad, columns, widths))
    lines = [heading.rstrip()]
    brackets = sorted(marked, reverse=True)
    for number, (name, symbols) in enumerate(zip(rows, grid, strict=True)):
        pieces = [pad(name, label)]
        for symbol, gap in zip(symbols, gaps, strict=True):
            pieces += symbol, gap
        while brackets and brackets[-1][0] == number:
            at = 2 * brackets.pop()[1]
            pieces[at] = pieces[at][:-1] + "["
            pieces[at + 2] = "]" + pieces[at + 2][1:]
        lines.append("".join(pieces).rstrip())
    return lines


def beside(left: Sequence[str], right: Sequence[str], gap: int = 6) -> list[str]:
    """Two blocks of lines next to each other, `gap` cells apart."""
    wide = max(map(width, left), default=0) + gap
    return [(pad(a, wide) + b).rstrip() for a, b in zip_longest(left, right, fillvalue="")]
