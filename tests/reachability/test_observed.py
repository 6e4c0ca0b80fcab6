from __future__ import annotations

import pytest
from hypothesis import given

from netverify.reachability.errors import ReachabilityError
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Outcome, tcp
from tests.strategies.reachability import observed_matrices


def answer(source: str, target: str, outcome: Outcome = Outcome.DELIVERED) -> Cell:
    return Cell(source, target, outcome)


def test_without_names_the_first_answers_give_the_order() -> None:
    pairs = [("b", "a"), ("b", "lan"), ("a", "lan"), ("a", "b"), ("c", "a")]
    seen = ObservedMatrix.of(tcp(80), (answer(*pair) for pair in pairs))
    assert seen.rows == ("b", "a", "c")
    assert seen.columns == ("b", "a", "lan")


def test_given_names_give_the_order_and_may_be_unasked() -> None:
    seen = ObservedMatrix.of(tcp(80), [answer("a", "b")], rows=iter("ba"), columns=iter("cb"))
    assert str(seen) == "    c  b\nb   -  -\na   -  >"


def test_two_answers_to_one_question_are_refused() -> None:
    with pytest.raises(ReachabilityError, match="two answers for a -> b"):
        ObservedMatrix.of(tcp(80), [answer("a", "b"), answer("a", "b", Outcome.ERROR)])


@pytest.mark.parametrize("pair", [("z", "a"), ("a", "z")])
def test_an_answer_outside_the_matrix_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ReachabilityError, match=f"{pair[0]} -> {pair[1]} is outside the matrix"):
        ObservedMatrix.of(tcp(80), [answer("a", "a"), answer(*pair)], rows=["a"], columns=["a"])


def test_a_cell_in_a_wrong_place_is_refused() -> None:
    with pytest.raises(ReachabilityError, match="the answer for a -> b stands at b -> a"):
        ObservedMatrix(("b",), ("a",), tcp(80), ((answer("a", "b"),),))


def test_no_answers_at_all_prove_nothing() -> None:
    with pytest.raises(ReachabilityError, match="without a row proves nothing"):
        ObservedMatrix.of(tcp(80), [])


def test_hostile_names_are_refused_and_not_repeated_to_the_terminal() -> None:
    with pytest.raises(ReachabilityError, match=r"row 'a\\x1b\[2J': it has U\+001B"):
        ObservedMatrix.of(tcp(80), [answer("a\x1b[2J", "b")])


def test_a_cell_is_found_by_its_names() -> None:
    seen = ObservedMatrix.of(tcp(80), [answer("a", "b"), answer("b", "b", Outcome.FILTERED)], columns="ab")
    assert seen.cell("b", "b") == answer("b", "b", Outcome.FILTERED)
    with pytest.raises(ReachabilityError, match="a -> a was not asked"):
        seen.cell("a", "a")
    with pytest.raises(ReachabilityError, match="no row 'c'; there are a, b"):
        seen.cell("c", "a")


@given(observed_matrices())
def test_cells_delivered_and_errors_tell_the_same_story(seen: ObservedMatrix) -> None:
    cells = seen.cells()
    assert seen.delivered() == {(c.source, c.target) for c in cells if c.outcome is Outcome.DELIVERED}
    assert seen.errors() == tuple(cell for cell in cells if cell.outcome is Outcome.ERROR)
    assert all(seen.cell(cell.source, cell.target) is cell for cell in cells)
    again = ObservedMatrix.of(seen.probe, reversed(cells), rows=seen.rows, columns=seen.columns)
    assert again.grid == seen.grid
