"""The algebra that rules are run over: and, or, not, is-empty, and a condition's meaning in it.

Its values stand for sets of packets. With `OnePacket` there is one packet in the world, and a value is a
boolean: whether it is in the set. With `sets.PacketSets` a value is the set of all packets, as a BDD.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from netverify.dataplane.condition import All, AnyOf, Condition, Masked, Named, Not, Unknown, Within
from netverify.dataplane.packet import Packet
from netverify.dataplane.rewrite import Rewrite

S = TypeVar("S")


class Algebra(Protocol[S]):
    """Sets of packets and what can be done with them."""

    everything: S
    nothing: S
    summarises: bool
    """Whether it pays to compute what a chain does to everything, once, and cut that down for each use."""

    def both(self, left: S, right: S) -> S:
        """The packets in both."""
        ...

    def either(self, left: S, right: S) -> S:
        """The packets in one of the two."""
        ...

    def without(self, left: S, right: S) -> S:
        """The packets of the first that are not in the second."""
        ...

    def is_empty(self, packets: S) -> bool:
        """Whether no packet is in the set."""
        ...

    def satisfying(self, condition: Condition) -> S:
        """The packets for which a condition holds."""
        ...

    def rewritten(self, packets: S, rewrite: Rewrite) -> S:
        """What becomes of the packets when a field of theirs is written."""
        ...


class OnePacket:
    """The booleans: one packet, as it is at the moment.

    `assume` gives unknowns a value by name; the others get their usual one. `assumed` is what was asked.
    """

    everything = True
    nothing = False
    summarises = False

    def __init__(self, packet: Packet, assume: Mapping[str, bool] | None = None) -> None:
        self.packet = packet
        self.assume = dict(assume or {})
        self.assumed: dict[str, bool] = {}

    def both(self, left: bool, right: bool) -> bool:
        """Whether it is in both."""
        return left and right

    def either(self, left: bool, right: bool) -> bool:
        """Whether it is in one of them."""
        return left or right

    def without(self, left: bool, right: bool) -> bool:
        """Whether it is in the first alone."""
        return left and not right

    def is_empty(self, packets: bool) -> bool:
        """Whether it is not in the set."""
        return not packets

    def satisfying(self, condition: Condition) -> bool:
        """Whether the condition holds for the packet as it is now."""
        if isinstance(condition, Named):
            name: str = getattr(self.packet, condition.field)
            return name.startswith(condition.name) if condition.prefix else name == condition.name
        if isinstance(condition, Within):
            value: int | None = getattr(self.packet, condition.field)
            return value is not None and any(low <= value <= high for low, high in condition.ranges)
        if isinstance(condition, Masked):
            masked: int = getattr(self.packet, condition.field) & condition.mask
            return masked == condition.value
        if isinstance(condition, Not):
            return not self.satisfying(condition.part)
        if isinstance(condition, All):
            return all(map(self.satisfying, condition.parts))
        if isinstance(condition, AnyOf):
            return any(map(self.satisfying, condition.parts))
        return self._assume(condition)

    def _assume(self, unknown: Unknown) -> bool:
        value = self.assume.get(unknown.name, unknown.usual)
        self.assumed[unknown.name] = value
        return value

    def rewritten(self, packets: bool, rewrite: Rewrite) -> bool:
        """Write the field, if the packet is in the set."""
        if packets:
            self.packet = rewrite.applied(self.packet)
        return packets
