from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from netverify.reachability.text import beside, pad, pointed, printable, shorten, table, width
from tests.strategies.reachability import name_tuples, texts


@given(texts())
@example("\x1b[31mred\x1b[0m")
@example("user\u202egnp.exe")
@example("\ud800")
def test_what_is_printable_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert (shown == text) == text.isprintable()


def test_escapes_say_which_character_it_was() -> None:
    assert printable("a\n\x1b\u202e\ud800é") == r"a\n\x1b\u202e\ud800é"


def test_width_counts_terminal_cells() -> None:
    assert [width(text) for text in ("", "abc", "中文", "e\u0301", "\uff46")] == [0, 3, 4, 1, 2]
    assert pad("中", 4) == "中  "


def test_a_table_is_aligned_by_terminal_cells() -> None:
    assert table(["a", "网络"], ["long-name", "中", "c"], ["...", "XXX"]) == [
        "       long-name  中  c",
        "a      .          .   .",
        "网络   X          X   X",
    ]


def test_marks_stand_around_the_symbol_and_move_nothing() -> None:
    plain = table(["a", "b"], ["a", "b"], ["..", "XX"])
    marked = table(["a", "b"], ["a", "b"], ["..", "XX"], {(0, 1), (1, 0), (1, 1)})
    assert marked == ["    a  b", "a   . [.]", "b  [X][X]"]
    assert [line.translate(str.maketrans("[]", "  ")).rstrip() for line in marked] == plain


@given(name_tuples(), name_tuples(), st.data())
def test_every_symbol_stands_in_the_cell_under_its_column(
    rows: tuple[str, ...], columns: tuple[str, ...], data: st.DataObject
) -> None:
    grid = [[data.draw(st.sampled_from(".XF")) for _ in columns] for _ in rows]
    places = [(row, column) for row in range(len(rows)) for column in range(len(columns))]
    marked = data.draw(st.sets(st.sampled_from(places)))
    heading, *lines = table(rows, columns, grid, marked)
    start = max(map(width, rows)) + 3
    for number, (row, line) in enumerate(zip(rows, lines, strict=True)):
        cells = line[len(row) :].rjust(len(line) - len(row) + width(row))  # one character for each cell
        at = start
        for place, (column, symbol) in enumerate(zip(columns, grid[number], strict=True)):
            assert cells[at] == symbol
            assert (cells[at - 1] == "[") == ((number, place) in marked)
            at += max(width(column), 1) + 2
    assert heading == heading.rstrip()


def test_two_blocks_stand_beside_each_other() -> None:
    assert beside(["a", "中中中"], ["x", "y", "z"], gap=2) == ["a       x", "中中中  y", "        z"]


def test_a_long_line_is_cut_around_the_place_that_matters() -> None:
    line, caret = pointed("a" * 200 + "!" + "b" * 200, 201)
    assert len(line) == 96
    assert line[caret.index("^")] == "!"
    assert line.startswith("...aaa")
    assert line.endswith("bbb...")


@given(texts(max_size=300), st.data())
def test_the_caret_is_inside_or_right_after_the_line(text: str, data: st.DataObject) -> None:
    line, caret = pointed(text, data.draw(st.integers(1, len(text) + 1)))
    assert line.isprintable()
    assert caret.strip() == "^"
    assert len(caret) <= width(line) + 1


def test_what_is_too_long_is_shortened() -> None:
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abc..."
