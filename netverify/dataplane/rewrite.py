"""What rules write into a packet: fields and marks. (What translation writes follows from its connection.)"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from netverify.dataplane.condition import Condition, Within, equals
from netverify.dataplane.packet import Packet, State

ALL_BITS = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Bits:
    """A field is cleared where `clear` has ones, then xored: `field & ~clear ^ value` (xt_mark.h)."""

    field: str
    clear: int
    value: int

    def applied(self, packet: Packet) -> Packet:
        """The packet after it; a connection's mark needs a connection."""
        if self.field == "connmark" and not packet.tracked:
            return packet
        changed: dict[str, Any] = {self.field: getattr(packet, self.field) & ~self.clear ^ self.value}
        return packet.with_(**changed)


@dataclass(frozen=True, slots=True)
class CopyBits:
    """Bits of one mark go to another: `to & ~clear ^ ((from & mask) << shift)` (xt_connmark.c).

    With a negative `shift` they go down. From a field to itself it is a shift of the whole field; then
    `clear` and `mask` are all ones.
    """

    field: str
    origin: str
    clear: int
    mask: int
    shift: int = 0

    def applied(self, packet: Packet) -> Packet:
        """The packet after it; without a connection there is nothing to copy from or to."""
        if not packet.tracked:
            return packet
        copied = getattr(packet, self.origin) & self.mask
        copied = copied << self.shift if self.shift >= 0 else copied >> -self.shift
        changed: dict[str, Any] = {
            self.field: getattr(packet, self.field) & ~self.clear ^ (copied & ALL_BITS)
        }
        return packet.with_(**changed)


@dataclass(frozen=True, slots=True)
class Add:
    """A field of eight bits grows or shrinks, but not beyond 0 and 255 (xt_HL.c)."""

    field: str
    amount: int

    def applied(self, packet: Packet) -> Packet:
        """The packet after it."""
        changed: dict[str, Any] = {self.field: self._added(getattr(packet, self.field))}
        return packet.with_(**changed)

    def _added(self, value: int) -> int:
        return max(0, min(255, value + self.amount))

    def cases(self) -> Iterator[tuple[Condition, Bits]]:
        """The same, one case for each value that comes out: which packets get it, and its writing."""
        for value in range(256):
            origin = value - self.amount
            low = 0 if value == 0 else origin
            high = 255 if value == 255 else origin
            low, high = max(low, 0), min(high, 255)
            if low == high:
                yield equals(self.field, low), Bits(self.field, 0xFF, value)
            elif low < high:
                yield Within(self.field, ((low, high),)), Bits(self.field, 0xFF, value)


@dataclass(frozen=True, slots=True)
class Untrack:
    """Connection tracking is told to leave the packet alone (NOTRACK, CT --notrack).

    It does nothing to a packet that has been tracked already, as one that comes in by lo
    (notrack_tg in xt_CT.c).
    """

    field: str = "state"

    def applied(self, packet: Packet) -> Packet:
        """The packet after it."""
        return packet if packet.tracked else packet.with_(state=State.UNTRACKED)


@dataclass(frozen=True, slots=True)
class Then:
    """Several of them, one after the other."""

    parts: tuple[Bits | CopyBits | Add, ...]

    def applied(self, packet: Packet) -> Packet:
        """The packet after all of them."""
        for part in self.parts:
            packet = part.applied(packet)
        return packet


Rewrite = Bits | CopyBits | Add | Untrack | Then
