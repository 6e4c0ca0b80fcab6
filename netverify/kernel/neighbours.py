"""Neighbours: forgetting those that were learned, and waiting until none is being asked for any more.

A packet whose next hop's MAC is not known yet waits in that neighbour's queue; the barrier does not see it.
It ends when the neighbour answers, or when the kernel gives up (mcast_solicit x retrans_time: arp(7)) and
reports host unreachable. Either way the kernel announces it to the RTNLGRP_NEIGH group (rtnetlink(7)).
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import ExitStack

from netverify.errors import KernelError
from netverify.kernel.channel import Channel
from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.netlink import (
    NLM_F_REQUEST,
    NUD_PERMANENT,
    RTM_DELNEIGH,
    Request,
    list_neighbour_tables,
    list_neighbours,
)

NUD_INCOMPLETE, NUD_NOARP = 0x01, 0x40  # include/uapi/linux/neighbour.h
NDA_DST, NDTA_STATS = 1, 7
_TABLE_FULLS = 10  # the eleventh number of struct ndt_stats
RTMGRP_NEIGH = 4
PATIENCE = 8.0  # seconds; the kernel's own patience with a silent neighbour is 3 s at most


def _in_state(channel: Channel, state: int) -> bool:
    """Whether a namespace has a neighbour in the given state (struct ndmsg: the state is at byte 8)."""
    return any(struct.unpack_from("=H", body, 8)[0] & state for body in channel.dump(list_neighbours()))


def unresolved(channels: Mapping[str, tuple[Namespace, Channel]]) -> list[str]:
    """Names of the namespaces that are still asking for a neighbour."""
    return [name for name, (_, channel) in channels.items() if _in_state(channel, NUD_INCOMPLETE)]


def settle(visitor: Visitor, channels: Mapping[str, tuple[Namespace, Channel]]) -> None:
    """Wait until no neighbour is incomplete.

    Raises KernelError when one still is after `PATIENCE` seconds.
    """
    waiting = unresolved(channels)
    if not waiting:
        return
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        monitors = {}
        for name in waiting:
            monitor = stack.enter_context(visitor.visit(channels[name][0], _monitor))
            poll.register(monitor, select.EPOLLIN)
            monitors[monitor.fileno()] = monitor
        deadline = time.monotonic() + PATIENCE
        asking = {name: channels[name] for name in waiting}
        # Look again after subscribing: what ended in between sends no event.
        while unresolved(asking):
            ready = poll.poll(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise KernelError(
                    f"a neighbour of {', '.join(unresolved(asking))} is neither resolved nor given up"
                )
            for fd, _events in ready:
                _drain(monitors[fd])


def overflows(channel: Channel) -> int:
    """How often a packet found the machine's neighbour tables full (struct ndt_stats, table_fulls).

    The tables, one for IPv4 and one for IPv6, are common to all namespaces, and so is this count.
    """
    total = 0
    for body in channel.dump(list_neighbour_tables()):
        position = 4  # after struct ndtmsg
        while position + 4 <= len(body):
            length, kind = struct.unpack_from("=HH", body, position)
            if kind & 0x3FFF == NDTA_STATS:
                total += struct.unpack_from("=Q", body, position + 4 + 8 * _TABLE_FULLS)[0]
            position += (length + 3) & ~3
    return total


def forget(channels: Mapping[str, tuple[Namespace, Channel]]) -> None:
    """Delete every neighbour that was learned, so that each question finds out anew who is there.

    A learned entry outlives its neighbour by many seconds, and a packet to a MAC address that nobody has any
    more is lost without a trace. Permanent entries stay.
    """
    for name, (_namespace, channel) in channels.items():
        learned = [_deletion(body) for body in channel.dump(list_neighbours()) if _is_learned(body)]
        if learned:
            channel.send(name, learned)


def _is_learned(body: bytes) -> bool:
    return not struct.unpack_from("=H", body, 8)[0] & (NUD_PERMANENT | NUD_NOARP)


def _deletion(body: bytes) -> Request:
    """RTM_DELNEIGH for a dumped entry: its header and its destination (NDA_DST), byte for byte."""
    position, destination = 12, b""
    while position + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, position)
        if kind == NDA_DST:
            destination = body[position : position + length]
        position += (length + 3) & ~3
    data = body[:12] + destination + bytes(-len(destination) % 4)
    header = struct.pack("=IHHII", 16 + len(data), RTM_DELNEIGH, NLM_F_REQUEST, 0, 0)
    return Request("forget a neighbour", header + data)


def _drain(events: socket.socket) -> None:
    try:
        while events.recv(65536):
            pass
    except BlockingIOError:
        return


def _monitor() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    sock.bind((0, RTMGRP_NEIGH))
    return sock
