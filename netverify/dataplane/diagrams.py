"""What every algebra over diagrams does in the same way: and, or, without, is-empty."""

from __future__ import annotations

from collections.abc import Iterable

from oxidd.bcdd import BCDDFunction

Set = BCDDFunction
"""A set of packets, as a binary decision diagram; those of two managers must never meet."""


class Diagrams:
    """The set operations of `algebra.Algebra`."""

    def both(self, left: Set, right: Set) -> Set:
        """The packets in both."""
        return left & right

    def either(self, left: Set, right: Set) -> Set:
        """The packets in one of the two."""
        return left | right

    def without(self, left: Set, right: Set) -> Set:
        """The packets of the first that are not in the second."""
        return left & ~right

    def is_empty(self, packets: Set) -> bool:
        """Whether no packet is in the set."""
        return not packets.satisfiable()


def variables_of(functions: Iterable[Set]) -> set[int]:
    """The variables that functions ask for."""
    found: set[int] = set()
    seen: set[Set] = set()
    waiting = list(functions)
    while waiting:
        function = waiting.pop()
        variable = function.node_var()
        if variable is None or function in seen:
            continue
        seen.add(function)
        found.add(variable)
        waiting += function.cofactors() or ()
    return found
