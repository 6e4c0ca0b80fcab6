"""How the fields of packets become bits of a packet set, and in which order.

The order was measured: state, devices, protocol, addresses and then ports, each from its most significant
bit, keeps the sets of real firewalls small; devices last cost 5 to 15 times as much, ports before addresses 3
to 10 times. Fields that few rules test come after these, in the order in which they are first met.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FIRST = ("state", "in_interface", "out_interface", "protocol", "destination", "source", "dport", "sport")
"""The order of the fields that most rules test."""

SOURCE_FIRST = tuple({"destination": "source", "source": "destination"}.get(field, field) for field in FIRST)
"""The same with the source before the destination."""

NAMES = frozenset({"in_interface", "out_interface", "physdev_in", "physdev_out"})
"""Fields that hold device names; they are encoded as numbers of a list of names."""

MARKS = ("mark", "connmark")
"""Fields that are copied to each other: their bits stand side by side, or the set of copies would explode."""

ADDRESSES = frozenset(
    {"source", "destination", "ct_source", "ct_destination", "reply_source", "reply_destination"}
)

WIDTHS: Mapping[str, int] = MappingProxyType(
    {
        "state": 3, "protocol": 8, "dport": 16, "sport": 16, "icmp_type": 8, "icmp_code": 8, "tcp_flags": 8,
        "bridged": 1, "tracked": 1, "ct_direction": 1, "ct_nat": 2, "ct_seen_reply": 1, "ct_protocol": 8,
        "ct_sport": 16, "ct_dport": 16, "reply_sport": 16, "reply_dport": 16, "mark": 32, "connmark": 32,
        "length": 16, "ttl": 8, "tos": 8, "fragment": 1, "mac": 49, "pkttype": 2, "uid": 33, "gid": 33,
        "reverse_path": 2, "mapping": 16,
    }
)  # fmt: skip
"""Bits of each field of numbers but addresses, which have 32 or 128."""

ABSENT: Mapping[str, int] = MappingProxyType({"mac": 1 << 48, "uid": 1 << 32, "gid": 1 << 32})
"""The number that stands for a field which a packet does not have: no Ethernet header, no socket."""


def width(field: str, version: int, names: int) -> int:
    """The bits of a field, with `names` different device names."""
    if field in ADDRESSES:
        return 32 if version == 4 else 128
    if field in NAMES:
        return max(1, (names - 1).bit_length())
    return WIDTHS[field]


def together(field: str) -> tuple[str, ...]:
    """The fields whose bits stand side by side with a field's, itself among them."""
    return MARKS if field in MARKS else (field,)


def encoded(field: str, value: int | None) -> int:
    """A packet's value as the number that is encoded."""
    return ABSENT[field] if value is None or value < 0 else value
