"""What rules write into a packet: fields, marks and, through address translation, addresses and ports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netverify.dataplane.packet import Packet, State


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
    """Bits of one mark go to another: `to & ~clear ^ (from & mask)` (xt_connmark.h)."""

    field: str
    origin: str
    clear: int
    mask: int

    def applied(self, packet: Packet) -> Packet:
        """The packet after it; without a connection there is nothing to copy from or to."""
        if not packet.tracked:
            return packet
        copied = getattr(packet, self.origin) & self.mask
        changed: dict[str, Any] = {self.field: getattr(packet, self.field) & ~self.clear ^ copied}
        return packet.with_(**changed)


@dataclass(frozen=True, slots=True)
class Untrack:
    """Connection tracking is told to leave the packet alone (NOTRACK, CT --notrack)."""

    field: str = "state"

    def applied(self, packet: Packet) -> Packet:
        """The packet after it."""
        return packet.with_(state=State.UNTRACKED)


Rewrite = Bits | CopyBits | Untrack
