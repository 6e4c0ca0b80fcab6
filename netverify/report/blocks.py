"""Pictures made of lines of text: frames, things that hang on a line, rows, and wires down the left side.

A block is a list of lines; its width is counted in terminal cells, so wide characters keep frames straight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from netverify.reachability.text import pad, width

WIDTH: Final = 100  # cells that a row of blocks may take
_RAIL: Final = 3  # cells from one wire at the left to the next

Block = list[str]


def box(title: str, lines: Sequence[str], *, joint: bool = False) -> Block:
    """A frame with a title; `joint` where it hangs on a line from above."""
    cells = max([width(title), *map(width, lines)])
    top = "┌" + ("┴" if joint else "─") + f" {title} " + "─" * (cells - width(title)) + "┐"
    return [
        top,
        *(f"│ {pad(line, cells)}  │" for line in lines),
        "└" + "─" * (cells + 3) + "┘",
    ]


def rack(label: str, hung: Sequence[tuple[str, Block]]) -> Block:
    """A double line under its label, and the blocks that hang on it, each by a port that may have a name."""
    lines = label.split("\n")
    blocks = [block for _, block in hung]
    cells = [max(width(block[0]), width(port) + 3) for port, block in hung]
    if not hung:
        lines.append("═" * max(map(width, lines)))
    for row in _rows(cells, 2):
        lines.append("══".join("═╤" + "═" * (cells[number] - 2) for number in row))
        lines.append("  ".join(pad(f" │ {hung[number][0]}", cells[number]) for number in row))
        lines += _beside([[pad(text, cells[number]) for text in blocks[number]] for number in row], 2)
    return lines


def flow(blocks: Sequence[Block]) -> Block:
    """Blocks in rows, as many next to each other as fit, an empty line between rows."""
    rows = _rows([max(map(width, block)) for block in blocks], 4)
    lines = [line for row in rows for line in ["", *_beside([blocks[number] for number in row], 4)]]
    return lines[1:]


def _rows(widths: Sequence[int], gap: int) -> list[list[int]]:
    """The positions of `widths` in rows of at most WIDTH, `gap` between two."""
    rows: list[list[int]] = []
    room = 0
    for number, cells in enumerate(widths):
        if not rows or room < cells:
            rows.append([])
            room = WIDTH
        rows[-1].append(number)
        room -= cells + gap
    return rows


def _beside(blocks: Sequence[Block], gap: int) -> Block:
    """Blocks next to each other, their tops level."""
    widths = [max(map(width, block), default=0) for block in blocks]
    height = max(map(len, blocks), default=0)
    rows = [[block[row] if row < len(block) else "" for block in blocks] for row in range(height)]
    return [(" " * gap).join(map(pad, row, widths)).rstrip() for row in rows]


def with_wires(boxes: Block, wires: dict[str, list[int]], headings: dict[str, str]) -> Block:
    """Boxes with the wires that are plugged into them at their left, and the segments' names above."""
    lanes = _lanes(wires, headings)
    count = max(lanes.values(), default=-1) + 1
    lines = []
    for number, heading in enumerate(headings.values()):
        before = list(headings)[:number]
        lines.append("".join(pad("│" if wires[name] else "", _RAIL) for name in before) + heading)
    if headings:
        lines.append("".join(pad("│" if wires[name] else "", _RAIL) for name in headings))
    for row, text in enumerate(boxes):
        cells = [" " * _RAIL] * count
        plugged = None
        for name, lane in lanes.items():
            rows = wires[name]
            first = -1 if name in headings else rows[0]
            if first <= row <= rows[-1]:
                cells[lane] = "│  "
            if row in rows:
                plugged = lane
        if plugged is not None:
            crossed = ["┼──" if cell[0] == "│" else "───" for cell in cells[plugged + 1 :]]
            cells[plugged:] = ["●──", *crossed]
            text = "┤" + text[1:]
        lines.append("".join(cells) + text)
    return lines


def _lanes(wires: dict[str, list[int]], headings: dict[str, str]) -> dict[str, int]:
    """A column for each wire: segments first, each its own; cables share one where they do not overlap."""
    lanes = {name: number for number, name in enumerate(headings) if wires[name]}
    ends: list[int] = []  # of each column of cables, the last row that is taken
    for name, rows in wires.items():
        if name in headings:
            continue
        free = next((number for number, end in enumerate(ends) if end < rows[0]), len(ends))
        ends[free : free + 1] = [rows[-1]]
        lanes[name] = len(headings) + free
    return lanes
