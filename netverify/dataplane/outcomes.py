"""How a packet can leave one host's stack, and what senders are told about those that end there."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from netverify.dataplane.packet import Address, Packet
from netverify.dataplane.program import Place
from netverify.dataplane.targets import Reject
from netverify.dataplane.trace import Trace


@dataclass(frozen=True, slots=True)
class Sent:
    """The packet leaves by a device, towards a neighbour's address."""

    packet: Packet
    device: str
    next_hop: Address


@dataclass(frozen=True, slots=True)
class Bridged:
    """The packet goes on from port to port of a bridge."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class Redirected:
    """A bridged packet got a new destination, behind the same bridge: its next port must be looked up."""

    packet: Packet
    bridge: str
    port: str
    next_hop: Address


@dataclass(frozen=True, slots=True)
class Delivered:
    """The packet reached the host's own sockets."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class Stopped:
    """The packet ends here; where the sender is told, `answer` is that packet's kind.

    `locally` when it was this host's own, so that its socket gets the error without any packet. `discovery`
    is the trace of what was lost where it waited for a neighbour in vain.
    """

    packet: Packet
    reason: str
    place: Place | None = None
    answer: Reject | None = None
    locally: bool = False
    discovery: Trace | None = None


Fate = Sent | Bridged | Redirected | Delivered | Stopped

NET_UNREACHABLE = MappingProxyType(
    {4: Reject(3, 0, words="network unreachable"), 6: Reject(1, 0, words="no route")}
)
HOST_UNREACHABLE = MappingProxyType(
    {4: Reject(3, 1, words="host unreachable"), 6: Reject(1, 3, words="address unreachable")}
)
PROHIBITED = MappingProxyType({4: Reject(3, 13, words="prohibited"), 6: Reject(1, 1, words="prohibited")})
PORT_UNREACHABLE = MappingProxyType(
    {4: Reject(3, 3, words="port unreachable"), 6: Reject(1, 4, words="port unreachable")}
)
ROUTE_ANSWERS = {
    "none": NET_UNREACHABLE,
    "unreachable": {4: HOST_UNREACHABLE[4], 6: NET_UNREACHABLE[6]},  # ip6_pkt_discard knows no other word
    "prohibit": PROHIBITED,
}
"""What routing that refuses tells the sender, by the kind of route."""
