"""One encoded request: what every kind of rtnetlink message has in common (netlink(7))."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from pyroute2.netlink import nlmsg

Address = IPv4Address | IPv6Address
Attributes = list[tuple[str, Any]]

# include/uapi/linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK = 0x001, 0x004
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP = 0x300

REPEATED = 1024  # requests that are kept, since the next namespace asks for the very same


@dataclass(frozen=True, slots=True)
class Request:
    """One encoded request, and what it is in words for the error message."""

    what: str
    data: bytes


def encoded(message: nlmsg, kind: int, flags: int, what: str) -> Request:
    """A message as the kernel reads it."""
    message["header"]["type"] = kind
    message["header"]["flags"] = NLM_F_REQUEST | flags
    message.encode()
    return Request(what, bytes(message.data))
