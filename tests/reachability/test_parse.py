from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netverify.reachability.errors import MatrixSyntaxError, ReachabilityError
from netverify.reachability.matrix import ExpectedMatrix, ReachabilityMatrix, matrix
from netverify.reachability.names import name_fault
from netverify.reachability.text import printable
from tests.strategies.reachability import expected_matrices, names, texts

TABLE = """
         a1  a2  b1
    a1   .   .   X
    a2   >   ?   F
    b1   R   P   -
"""


def test_reads_names_and_symbols() -> None:
    read = matrix(TABLE)
    assert read.rows == read.columns == ("a1", "a2", "b1")
    assert ["".join(row) for row in read.symbols] == ["..X", ">?F", "RP-"]


@pytest.mark.parametrize(
    "text",
    [
        TABLE.replace("\n", "\r\n"),
        "\n# who reaches whom\n#all of them\n" + TABLE.replace("X", "X  #docker0 is another bridge"),
        TABLE.replace("\n    a2", "\n\n   \n# the second\n a2"),
        TABLE.replace(" " * 3, "\t"),
        TABLE.replace(" " * 3, "\u00a0 "),
        TABLE.replace("a1   .   .   X", "a1 . . X"),
        TABLE.strip("\n"),
    ],
    ids=["crlf", "comments", "blank lines", "tabs", "no-break spaces", "crooked", "bare"],
)
def test_blanks_comments_and_line_ends_do_not_matter(text: str) -> None:
    assert matrix(text).symbols == matrix(TABLE).symbols
    assert matrix(text) == matrix(TABLE)


def test_names_may_be_addresses_ports_and_letters_that_are_symbols() -> None:
    read = matrix("host:8080 172.18.0.2 10.0.0.0/8 fe80::1%eth0 E X\nR . . . . . X\na#b X X X X X .")
    assert read.columns == ("host:8080", "172.18.0.2", "10.0.0.0/8", "fe80::1%eth0", "E", "X")
    assert read.rows == ("R", "a#b")


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("", 1, 1, "a heading with the columns' names; found the end"),
        ("\n \n# nothing\n", 1, 1, "a heading"),
        ("a b", 1, 1, "a row: its name, then a symbol for each column; found the end"),
        ("a b\n\n", 3, 1, "a row"),
        ("a b\nx . Q", 2, 5, "one of . > X R P U F - ? under column b; found 'Q'"),
        ("a b\nx x .", 2, 3, "under column a; found 'x'"),
        ("a b\nx .X .", 2, 3, "found '.X'"),
        ("a b\n  x . E", 2, 7, "printed for a probe that failed by itself, and cannot be an expectation"),
        ("a b\nx . . .", 2, 7, "2 symbols, one under each column, not 3; found '.'"),
        ("a b\nx .  # why", 2, 4, "2 symbols, one under each column, not 1; found the end"),
        ("a b\nx", 2, 2, "2 symbols, one under each column, not 0"),
        ("a b a", 1, 5, "a new column (a stands in line 1 already); found 'a'"),
        ("a\n\nx .\nx .", 4, 1, "a new row (x stands in line 3 already)"),
        ("a1 . X", 1, 4, "a heading with nothing but the columns' names; found '.'"),
        ("a\n? .", 2, 1, "the name of a row, but it is a symbol of the table"),
        ("a \x1b[31mb", 1, 3, r"it has U+001B (a control character) in it; found '\x1b[31mb'"),
        ("a\nb\u202ec .", 2, 1, "it has U+202E (RIGHT-TO-LEFT OVERRIDE) in it"),
        ("a\nx " + "." * 500, 2, 3, f"found '{'.' * 40}'"),
    ],
)
def test_an_error_says_where_and_what_was_expected(text: str, line: int, column: int, says: str) -> None:
    with pytest.raises(MatrixSyntaxError) as caught:
        matrix(text)
    assert says in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"matrix:{line}:{column}: expected ")


def test_an_error_shows_the_line_with_a_caret() -> None:
    with pytest.raises(MatrixSyntaxError) as caught:
        ReachabilityMatrix.parse("a  中\r\n\t中文  .   Q\r\n", file="expected.txt")
    message, line, caret = str(caught.value).split("\n")
    assert message.startswith("expected.txt:2:10: ")
    assert line == r"    \t中文  .   Q"
    assert caret.index("^") == line.index("Q") + 2  # two characters before it are two cells wide


def test_a_hostile_file_name_is_shown_and_not_obeyed() -> None:
    with pytest.raises(MatrixSyntaxError, match=r"^a\\x1b\[2J\.txt:1:1: "):
        ReachabilityMatrix.parse("", file="a\x1b[2J.txt")


@given(expected_matrices())
def test_what_is_printed_reads_back(expected: ExpectedMatrix) -> None:
    read = matrix(str(expected))
    assert (read.rows, read.columns, read.grid) == (expected.rows, expected.columns, expected.grid)
    assert read == expected


@given(texts() | st.text("ab .X>E-?#\n\t", max_size=40))
def test_any_text_is_read_or_refused_with_a_place_inside_it(text: str) -> None:
    fault = refusal(text)
    if fault is None:
        assert matrix(str(matrix(text))) == matrix(text)
        return
    assert fault.line is not None
    assert fault.column is not None
    lines = text.split("\n")
    assert 1 <= fault.line <= len(lines)
    assert 1 <= fault.column <= len(lines[fault.line - 1]) + 1
    assert all(line.isprintable() for line in str(fault).split("\n"))


def refusal(text: str) -> MatrixSyntaxError | None:
    try:
        matrix(text)
    except MatrixSyntaxError as error:
        return error
    return None


@given(names())
def test_names_without_blanks_and_controls_are_fine(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "#a", ".", ">", "-", "?", "a\nb", "a\x00", "\ufeffa", "\ud800"]
)
def test_other_names_are_refused_everywhere(name: str) -> None:
    assert name_fault(name)
    for rows, columns in (((name,), ("a",)), (("a",), (name,))):
        with pytest.raises(ReachabilityError, match="choose another name") as caught:
            ExpectedMatrix.where(rows, columns, lambda _source, _target: ".")
        assert str(caught.value) == printable(str(caught.value))
