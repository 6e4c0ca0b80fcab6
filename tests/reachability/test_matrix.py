from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netverify.reachability.errors import ReachabilityError
from netverify.reachability.matrix import ExpectedMatrix, matrix
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Outcome, icmp, tcp
from netverify.reachability.symbols import Symbol
from tests.strategies.reachability import comparable, expected_matrices, observed_matrices

NEGATIVE = {Outcome.REFUSED, Outcome.PROHIBITED, Outcome.UNREACHABLE, Outcome.FILTERED}
LETTERS = {"R": Outcome.REFUSED, "P": Outcome.PROHIBITED, "U": Outcome.UNREACHABLE, "F": Outcome.FILTERED}


def accepts(symbol: str, cell: Cell | None) -> bool:
    """The documented meaning of each symbol, a second time and in other words."""
    if cell is None:
        return symbol == "-"
    if cell.outcome is Outcome.ERROR:
        return False
    if symbol in LETTERS:
        return cell.outcome is LETTERS[symbol]
    return {
        ".": cell.outcome is Outcome.DELIVERED and cell.replied,
        ">": cell.outcome is Outcome.DELIVERED and not cell.replied,
        "X": cell.outcome in NEGATIVE,
        "?": True,
        "-": False,
    }[symbol]


def observed(text: str) -> ObservedMatrix:
    """The answers that a table of observed symbols stands for, E included."""
    heading, *lines = text.split("\n")
    columns = heading.split()
    rows = [line.split()[0] for line in lines]
    cells = [
        Cell(row, column, Outcome.DELIVERED, replied=symbol == ".")
        if symbol in ".>"
        else Cell(row, column, LETTERS.get(symbol, Outcome.ERROR))
        for row, line in zip(rows, lines, strict=True)
        for column, symbol in zip(columns, line.split()[1:], strict=True)
        if symbol != "-"
    ]
    return ObservedMatrix.of(tcp(80), cells, rows=rows, columns=columns)


@given(comparable())
def test_expected_equals_observed_when_every_expectation_accepts_its_answer(
    pair: tuple[ExpectedMatrix, ObservedMatrix],
) -> None:
    expected, seen = pair
    agree = all(
        accepts(
            expected.symbol(source, target), seen.grid[seen.rows.index(source)][seen.columns.index(target)]
        )
        for source in expected.rows
        for target in expected.columns
    )
    assert (expected == seen) is agree
    assert (seen == expected) is agree
    assert (expected != seen) is (seen != expected) is not agree
    assert hash(expected) == hash(seen)


def test_the_comparable_matrices_do_agree_now_and_then() -> None:
    assert matrix("a b\na . X\nb ? -") == observed("a b\na . F\nb > -")


@given(st.one_of(observed_matrices(), expected_matrices()), st.data())
def test_a_matrix_equals_itself_in_any_order(
    table: ExpectedMatrix | ObservedMatrix, data: st.DataObject
) -> None:
    other = table.only(
        data.draw(st.permutations(table.rows)), iter(data.draw(st.permutations(table.columns)))
    )
    assert table == other
    assert hash(table) == hash(other)


@given(observed_matrices(rows=("a", "b")), st.data())
def test_observed_matrices_compare_by_outcome_and_reply(table: ObservedMatrix, data: st.DataObject) -> None:
    other = data.draw(observed_matrices(table.rows, table.columns))
    same = all(
        (mine is None) == (theirs is None)
        and (mine is None or theirs is None or mine.outcome is theirs.outcome)
        and (
            mine is None or theirs is None or mine.outcome is Outcome.ERROR or mine.replied == theirs.replied
        )
        for left, right in zip(table.grid, other.grid, strict=True)
        for mine, theirs in zip(left, right, strict=True)
    )
    assert (table == other) is (other == table) is same


def test_probe_details_and_addresses_take_no_part() -> None:
    one = ObservedMatrix.of(tcp(80), [Cell("a", "b", Outcome.FILTERED, detail="dropped", rules=("r",))])
    assert one == ObservedMatrix.of(icmp(), [Cell("a", "b", Outcome.FILTERED, seen_source="10.0.0.1")])


@pytest.mark.parametrize("symbol", [".", ">", "X", "R", "P", "U", "F", "-", "?"])
def test_an_error_equals_no_expectation(symbol: str) -> None:
    seen = observed("b\na E")
    assert matrix(f"b\na {symbol}") != seen
    assert seen != matrix(f"b\na {symbol}")


def test_a_packet_that_arrives_is_not_isolation() -> None:
    assert matrix("b\na X") != observed("b\na >")


@pytest.mark.parametrize("names", ["a b\na . .", "b\na .\nb .", "c\na .", "b\nc ."])
def test_other_names_make_matrices_unequal(names: str) -> None:
    assert matrix("b\na .") != matrix(names)
    assert matrix("b\na .") != observed(names)


def test_only_matrices_equal_matrices() -> None:
    assert matrix("b\na .") != "   b\na   ."
    assert matrix("b\na .") != None  # noqa: E711


def test_two_expectations_are_equal_by_their_symbols() -> None:
    assert matrix("b\na X") != matrix("b\na F")
    assert matrix("b\na ?") != matrix("b\na .")


@given(observed_matrices(errors=False))
def test_what_was_observed_can_be_expected(seen: ObservedMatrix) -> None:
    assert matrix(str(seen)) == seen
    assert seen.expectation() == seen
    assert str(seen.expectation()) == str(seen)


def test_an_error_cannot_become_an_expectation() -> None:
    seen = ObservedMatrix.of(tcp(80), [Cell("a", "b", Outcome.ERROR, detail="sendto: \x1bENOBUFS")])
    with pytest.raises(ReachabilityError, match=r"1 of 1 .* a -> b: sendto: \\x1bENOBUFS"):
        seen.expectation()
    with pytest.raises(ReachabilityError, match="nobody can expect E"):
        ExpectedMatrix(("a",), ("b",), ((Symbol.ERROR,),))


@given(expected_matrices())
def test_transposing_twice_changes_nothing(expected: ExpectedMatrix) -> None:
    there = expected.transposed()
    assert all(
        there.symbol(target, source) is expected.symbol(source, target)
        for source in expected.rows
        for target in expected.columns
    )
    assert str(there.transposed()) == str(expected)


def test_a_part_is_cut_out_and_arranged() -> None:
    seen = observed("a b c\na . F R\nb U . P\nc > E -")
    assert str(seen.only(["b", "a"], ["c", "a"])) == "    c  a\nb   P  U\na   R  ."
    assert str(seen.only(columns=["b"])) == "    b\na   F\nb   .\nc   E"
    assert seen.only(["a"]).probe == seen.probe


@pytest.mark.parametrize(
    ("rows", "columns", "says"),
    [
        (["z"], None, r"no row 'z'; there are a, b"),
        (None, ["\x1b"], r"no column '\\x1b'; there are a, b"),
        ([], None, "without a row proves nothing"),
        (None, [], "without a column proves nothing"),
        (["a", "a"], None, "it comes twice"),
    ],
)
def test_a_part_that_is_not_there_is_an_error(
    rows: list[str] | None, columns: list[str] | None, says: str
) -> None:
    with pytest.raises(ReachabilityError, match=says):
        observed("a b\na . .\nb . .").only(rows, columns)


def test_pairs_are_found_by_symbol() -> None:
    seen = observed("a b c\na . F R\nb U . P\nc > E -")
    assert seen.pairs("F", "U") == {("a", "b"), ("b", "a")}
    assert seen.pairs("X") == {("a", "b"), ("a", "c"), ("b", "a"), ("b", "c")}
    assert seen.pairs("E", "-") == {("c", "b"), ("c", "c")}
    assert seen.pairs("?") == {(a, b) for a in "abc" for b in "abc"} - seen.pairs("E", "-")
    assert seen.pairs() == set()
    assert matrix("b\na X").pairs("X") == {("a", "b")}
    with pytest.raises(ReachabilityError, match="'x' is no symbol; expected one of"):
        seen.pairs("x")


@given(observed_matrices())
def test_counts_add_up(seen: ObservedMatrix) -> None:
    assert sum(seen.counts().values()) == len(seen.rows) * len(seen.columns)
    assert seen.counts() == Counter(symbol for row in seen.symbols for symbol in row)
    assert repr(seen).startswith("<ObservedMatrix ")


def test_asymmetries_are_pairs_that_answer_differently_on_the_way_back() -> None:
    seen = observed("a b c\na . F .\nb . . -\nc . . R")
    assert seen.asymmetries() == {("a", "b"), ("b", "a")}
    assert matrix("c\na .").asymmetries() == set()


def test_a_large_expectation_comes_from_a_rule() -> None:
    rule = ExpectedMatrix.where(["a1", "b1"], ["a1", "b1"], lambda s, t: "." if s[0] == t[0] else "X")
    assert rule == matrix("a1 b1\na1 . X\nb1 X .")
    with pytest.raises(ReachabilityError, match="a1 -> b1: 'yes' is no symbol"):
        ExpectedMatrix.where(["a1"], ["b1"], lambda _source, _target: "yes")


def test_a_grid_of_another_size_is_refused() -> None:
    for grid in ((), ((Symbol.ANY,),), ((Symbol.ANY,), (Symbol.ANY,)), ((Symbol.ANY,) * 3,)):
        with pytest.raises(ReachabilityError, match="1 rows and 2 columns need a grid of just that size"):
            ExpectedMatrix(("a",), ("b", "c"), grid)
