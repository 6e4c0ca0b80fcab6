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
from netverify.dataplane.view import LOOPBACK

S = TypeVar("S")

ANY_ADDRESS = ((0, (1 << 48) - 1),)
"""The Ethernet addresses that there are."""


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

    def __init__(
        self, packet: Packet, assume: Mapping[str, bool] | None = None, *, on_wire: bool = False
    ) -> None:
        """`on_wire` says that a packet without `mac` has an Ethernet header that nobody knows."""
        self.packet = packet
        self.on_wire = on_wire
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
            if value is None:
                return self.on_wire and self._sender(condition)
            return any(low <= value <= high for low, high in condition.ranges)
        if isinstance(condition, Masked):
            number: int | None = getattr(self.packet, condition.field)
            if number is None:
                return self.on_wire and self._sender(condition)
            return number & condition.mask == condition.value
        if isinstance(condition, Not):
            return not self.satisfying(condition.part)
        if isinstance(condition, All):
            return all(map(self.satisfying, condition.parts))
        if isinstance(condition, AnyOf):
            return any(map(self.satisfying, condition.parts))
        return self._assume(condition)

    def _sender(self, condition: Within | Masked) -> bool:
        """What is asked of an Ethernet address that nobody knows: of a frame that came in by a device.

        Devices are taken to be Ethernet's; who sent the frame is unknown, and usually not whom a rule names.
        What a socket sends has no Ethernet header yet.
        """
        device = self.packet.physdev_in or self.packet.in_interface
        if device in ("", LOOPBACK):
            return False
        if isinstance(condition, Masked):
            senders = f"{_ethernet(condition.value)} in the bits {_ethernet(condition.mask)}"
        elif condition.ranges == ANY_ADDRESS:
            return True
        else:
            ends = (dict.fromkeys(each) for each in condition.ranges)
            senders = ", ".join("-".join(map(_ethernet, each)) for each in ends)
        return self._assume(Unknown(f"what comes in by {device} is from {senders}"))

    def _assume(self, unknown: Unknown) -> bool:
        value = self.assume.get(unknown.name, unknown.usual)
        self.assumed[unknown.name] = value
        return value

    def rewritten(self, packets: bool, rewrite: Rewrite) -> bool:
        """Write the field, if the packet is in the set."""
        if packets:
            self.packet = rewrite.applied(self.packet)
        return packets


def _ethernet(address: int) -> str:
    return address.to_bytes(6, "big").hex(":")
