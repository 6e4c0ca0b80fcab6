"""Waiting, by events, until no neighbour is being resolved any more.

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

from pyroute2.netlink.rtnl.ndmsg import ndmsg

from netverify.kernel.channel import Channel
from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.netlink import RTM_GETNEIGH

NUD_INCOMPLETE = 0x01  # include/uapi/linux/neighbour.h
RTMGRP_NEIGH = 4
PATIENCE = 8.0  # seconds; the kernel's own patience with a silent neighbour is 3 s at most


def _in_state(channel: Channel, state: int) -> bool:
    """Whether a namespace has a neighbour in the given state (struct ndmsg: the state is at byte 8)."""
    return any(struct.unpack_from("=H", body, 8)[0] & state for body in channel.dump(ndmsg(), RTM_GETNEIGH))


def unresolved(channels: Mapping[str, tuple[Namespace, Channel]]) -> list[str]:
    """Names of the namespaces that are still asking for a neighbour."""
    return [name for name, (_, channel) in channels.items() if _in_state(channel, NUD_INCOMPLETE)]


def settle(visitor: Visitor, channels: Mapping[str, tuple[Namespace, Channel]]) -> bool:
    """Wait until no neighbour is incomplete; whether there was anything to wait for.

    Raises TimeoutError when one still is after `PATIENCE` seconds.
    """
    waiting = unresolved(channels)
    if not waiting:
        return False
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
                raise TimeoutError(
                    f"a neighbour of {', '.join(unresolved(asking))} is neither resolved nor given up"
                )
            for fd, _events in ready:
                _drain(monitors[fd])
    return True


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
