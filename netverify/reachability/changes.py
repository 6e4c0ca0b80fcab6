"""What is different between two observed matrices: before and after a rule was added, a network joined.

An ERROR cell is never "unchanged": an assertion that exactly these pairs changed must not hold because some
other pair could not be asked. `changed` therefore always names it, and `opened` and `closed` refuse it.
"""

from __future__ import annotations

from typing import NamedTuple

from netverify.reachability.errors import ReachabilityError
from netverify.reachability.matrix import Pair
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.symbols import Symbol


class Change(NamedTuple):
    """One pair's answer before and after; equal to the plain tuple ("a1", "b1", "F", ".")."""

    source: str
    target: str
    old: Symbol
    new: Symbol


def changed(before: ObservedMatrix, after: ObservedMatrix) -> set[Change]:
    """The pairs whose symbol changed, and every pair that is an ERROR in either matrix.

    A pair that only one of the matrices asked changed from or to `-`. Rules, details and addresses take no
    part: compare `cell(...)` for those.
    """
    old, new = _answers(before), _answers(after)
    found = {
        Change(*pair, old.get(pair, Symbol.NOT_ASKED), new.get(pair, Symbol.NOT_ASKED))
        for pair in old.keys() | new.keys()
    }
    return {change for change in found if change.old is not change.new or change.old is Symbol.ERROR}


def opened(before: ObservedMatrix, after: ObservedMatrix) -> set[Pair]:
    """The pairs whose request arrives now and did not before, whether or not an answer comes back.

    Raises ReachabilityError when the two did not ask the same pairs, or one of them has an ERROR.
    """
    _check_comparable(before, after)
    return set(after.delivered() - before.delivered())


def closed(before: ObservedMatrix, after: ObservedMatrix) -> set[Pair]:
    """The pairs whose request arrived before and does not now.

    Raises ReachabilityError when the two did not ask the same pairs, or one of them has an ERROR.
    """
    return opened(after, before)


def _answers(matrix: ObservedMatrix) -> dict[Pair, Symbol]:
    return {(cell.source, cell.target): matrix.symbol(cell.source, cell.target) for cell in matrix.cells()}


def _check_comparable(before: ObservedMatrix, after: ObservedMatrix) -> None:
    unknown = sorted(
        f"{change.source} -> {change.target} ({change.old} and {change.new})"
        for change in changed(before, after)
        if not {change.old, change.new}.isdisjoint({Symbol.ERROR, Symbol.NOT_ASKED})
    )
    if unknown:
        shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise ReachabilityError(
            f"nobody can say what opened or closed where an answer is missing: {shown}; "
            "ask both matrices for the same pairs, and see errors() for what went wrong"
        )
