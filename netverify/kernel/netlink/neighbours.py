"""Requests about neighbours (arp(7)), where a vxlan device finds its own, and who listens (sock_diag(7))."""

from __future__ import annotations

import socket
import struct
from functools import cache

from pyroute2.netlink.diag import SOCK_DIAG_BY_FAMILY, inet_diag_req
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from netverify.kernel.netlink.request import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Address,
    Request,
    encoded,
)

# include/uapi/linux/netlink.h, rtnetlink.h, neighbour.h
NLM_F_REPLACE, NLM_F_APPEND = 0x100, 0x800
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_GETNEIGHTBL, RTM_SETNEIGHTBL = 66, 67
NUD_PERMANENT = 0x80
NTF_SELF = 0x02
TCP_LISTEN = 10  # include/net/tcp_states.h
_NDM_IFINDEX = 20  # where struct ndmsg (rtnetlink(7)) has its device: after the header, family and padding


def add_neighbour(index: int, address: Address, mac: str) -> Request:
    """Add a permanent neighbour entry: it needs no ARP, and does not count against gc_thresh3 (arp(7))."""
    message = ndmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["ifindex"] = index
    message["state"] = NUD_PERMANENT
    message["attrs"] = [("NDA_DST", str(address)), ("NDA_LLADDR", mac)]
    return encoded(message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, f"add neighbour {address} at {mac}")


def same_neighbour(request: Request, index: int) -> Request:
    """The neighbour entry of an `add_neighbour` request on another device.

    Everybody on a bridge knows the same neighbours: encoding each once, and not once for each pair, is what
    keeps a lab of hundreds quick.
    """
    data = bytearray(request.data)
    struct.pack_into("=i", data, _NDM_IFINDEX, index)
    return Request(request.what, bytes(data))


@cache
def list_neighbours() -> Request:
    """Ask for every neighbour entry of a namespace (`Channel.dump`)."""
    return encoded(ndmsg(), RTM_GETNEIGH, NLM_F_DUMP, "list the neighbours")


@cache
def list_neighbour_tables() -> Request:
    """Ask for the machine's neighbour tables (`Channel.dump`)."""
    return encoded(ndtmsg(), RTM_GETNEIGHTBL, NLM_F_DUMP, "list the neighbour tables")


@cache
def list_listeners(version: int) -> Request:
    """Ask for every TCP socket that listens in a namespace (sock_diag(7)), over NETLINK_SOCK_DIAG."""
    message = inet_diag_req()
    message["sdiag_family"] = socket.AF_INET if version == 4 else socket.AF_INET6
    message["sdiag_protocol"] = socket.IPPROTO_TCP
    message["idiag_states"] = 1 << TCP_LISTEN
    return encoded(message, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, "list the TCP listeners")


def set_neighbour_patience(index: int, version: int, milliseconds: int) -> Request:
    """Set how long a device waits between two questions for a neighbour (three are asked; arp(7)).

    The sysctl of the same meaning exists only per device outside the initial namespace, so it is set as the
    device is made (RTM_SETNEIGHTBL, rtnetlink(7)).
    """
    table = b"arp_cache\0" if version == 4 else b"ndisc_cache\0"
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    parameters = _attribute(1, struct.pack("=I", index)) + _attribute(5, struct.pack("=Q", milliseconds))
    body = struct.pack("=B3x", family) + _attribute(1, table) + _attribute(6, parameters)
    header = struct.pack("=IHHII", 16 + len(body), RTM_SETNEIGHTBL, NLM_F_REQUEST, 0, 0)
    return Request(f"set the neighbour patience of device {index}", header + body)


def _attribute(kind: int, value: bytes) -> bytes:
    data = struct.pack("=HH", 4 + len(value), kind) + value
    return data + bytes(-len(data) % 4)


def add_forwarding_entry(index: int, mac: str, remote: Address) -> Request:
    """Tell a vxlan device which host has `mac` (the all-zero MAC: who gets broadcasts); see bridge(8)."""
    message = ndmsg()
    message["family"] = socket.AF_BRIDGE
    message["ifindex"] = index
    message["state"] = NUD_PERMANENT
    message["flags"] = NTF_SELF
    message["attrs"] = [("NDA_LLADDR", mac), ("NDA_DST", str(remote))]
    return encoded(
        message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, f"add forwarding entry {mac} to {remote}"
    )
