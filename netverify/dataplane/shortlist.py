"""Which rules of a long chain one packet may match, without asking each of them.

Hosts with many published ports have chains in which every rule is about one address or one port. A rule that
demands one value of a field is filed under that value (of several such fields, under that which fewest other
rules demand); what a packet may match are the rules under its own
values, and those that demand nothing of the kind. All others fail a test, so that leaving them out changes
nothing but how much is said of a packet's way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Final

from netverify.dataplane.condition import All, Condition, Masked, Named, Within
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import CompiledChain, CompiledRule

LONG: Final = 16
"""Rules of a chain from which on it pays."""

_FIELDS: Final = ("dport", "destination", "source", "out_interface", "in_interface")

_FULL: Final = {"destination": (1 << 32) - 1, "source": (1 << 32) - 1}


class Shortlist:
    """The rules of one chain that writes nothing into packets, by what they demand."""

    __slots__ = ("_filed", "_others", "_rules")

    def __init__(self, chain: CompiledChain) -> None:
        self._rules: Sequence[CompiledRule] = chain.rules
        self._others: list[int] = []
        self._filed: dict[str, dict[object, list[int]]] = {}
        demanded = [dict(_demands(test.condition for test in rule.tests)) for rule in chain.rules]
        shared = Counter(item for demands in demanded for item in demands.items())
        for index, demands in enumerate(demanded):
            known = [(field, demands[field]) for field in _FIELDS if field in demands]
            if known:
                field, value = min(known, key=lambda item: shared[item])
                self._filed.setdefault(field, {}).setdefault(value, []).append(index)
            else:
                self._others.append(index)

    def of(self, packet: Packet) -> Iterator[CompiledRule]:
        """The rules that the packet may match, in order."""
        own = [
            found
            for field, filed in self._filed.items()
            if (found := filed.get(getattr(packet, field))) is not None
        ]
        rules = self._rules
        for index in merge(self._others, *own):
            yield rules[index]


def _demands(conditions: Iterator[Condition]) -> Iterator[tuple[str, object]]:
    """Fields, and the only value of each with which all conditions can hold."""
    for condition in conditions:
        if isinstance(condition, All):
            yield from _demands(iter(condition.parts))
        elif isinstance(condition, Within):
            if len(condition.ranges) == 1 and condition.ranges[0][0] == condition.ranges[0][1]:
                yield condition.field, condition.ranges[0][0]
        elif isinstance(condition, Named):
            if not condition.prefix:
                yield condition.field, condition.name
        elif isinstance(condition, Masked) and condition.mask == _FULL.get(condition.field):
            yield condition.field, condition.value
