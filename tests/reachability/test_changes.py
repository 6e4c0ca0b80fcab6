from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netverify.reachability.changes import changed, closed, opened
from netverify.reachability.errors import ReachabilityError
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Outcome, tcp
from tests.strategies.reachability import observed_matrices


def seen(**outcomes: Outcome) -> ObservedMatrix:
    """A matrix of these answers; `ab` is the pair a -> b, and what is delivered is answered too."""
    return ObservedMatrix.of(
        tcp(80),
        [
            Cell(source, target, outcome, replied=outcome is Outcome.DELIVERED)
            for (source, target), outcome in outcomes.items()
        ],
        rows="abc",
        columns="abc",
    )


def test_exactly_the_pairs_that_changed() -> None:
    before = seen(ab=Outcome.FILTERED, ba=Outcome.FILTERED, ac=Outcome.DELIVERED, bc=Outcome.REFUSED)
    after = seen(ab=Outcome.DELIVERED, ba=Outcome.FILTERED, ac=Outcome.UNREACHABLE, bc=Outcome.REFUSED)
    assert changed(before, after) == {("a", "b", "F", "."), ("a", "c", ".", "U")}
    assert opened(before, after) == {("a", "b")}
    assert closed(before, after) == {("a", "c")}


def test_one_way_counts_as_open() -> None:
    before = seen(ab=Outcome.FILTERED)
    after = ObservedMatrix.of(tcp(80), [Cell("a", "b", Outcome.DELIVERED)])
    assert opened(before, after) == {("a", "b")}
    assert changed(before, after) == {("a", "b", "F", ">")}
    assert opened(after, seen(ab=Outcome.DELIVERED)) == set()


def test_an_error_is_never_unchanged() -> None:
    broken = seen(ab=Outcome.ERROR, ba=Outcome.FILTERED)
    assert changed(broken, broken) == {("a", "b", "E", "E")}


@pytest.mark.parametrize(
    "other", [{"ab": Outcome.ERROR}, {}, {"ab": Outcome.FILTERED, "bc": Outcome.FILTERED}]
)
def test_nobody_says_what_opened_where_an_answer_is_missing(other: dict[str, Outcome]) -> None:
    sound = seen(ab=Outcome.FILTERED)
    for before, after in ((sound, seen(**other)), (seen(**other), sound)):
        for question in (opened, closed):
            with pytest.raises(ReachabilityError, match=r"answer is missing: [ab] -> [bc] \("):
                question(before, after)


def test_an_error_on_both_sides_is_a_missing_answer_too() -> None:
    broken = seen(ab=Outcome.ERROR)
    with pytest.raises(ReachabilityError, match=r"a -> b \(E and E\)"):
        opened(broken, broken)


def test_only_some_of_many_missing_answers_are_listed() -> None:
    broken = seen(**{a + b: Outcome.ERROR for a in "abc" for b in "abc"})
    with pytest.raises(ReachabilityError, match="and 4 more"):
        closed(broken, broken)


@given(observed_matrices(rows=("a", "b")), st.data())
def test_changes_are_the_cells_whose_symbols_differ(before: ObservedMatrix, data: st.DataObject) -> None:
    after = data.draw(observed_matrices(before.rows, before.columns))
    pairs = {(source, target) for source in before.rows for target in before.columns}
    assert {(change.source, change.target) for change in changed(before, after)} == {
        pair for pair in pairs if before.symbol(*pair) != after.symbol(*pair) or after.symbol(*pair) == "E"
    }
    assert {(s, t, new, old) for s, t, old, new in changed(before, after)} == changed(after, before)
