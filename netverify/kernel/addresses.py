"""Waiting, by events, until every IPv6 address of a device that has carrier can be used.

A new address is tentative while the kernel asks whether somebody else has it (duplicate address detection,
RFC 4862, section 5.4; one to two seconds). It is no source for anybody meanwhile, and nobody is told who has
it: a host picks another address of its own to send from, and questions for it go unanswered. A lab's own
devices do without (kernel/sysctls.py); an engine's do not. The end is announced to the RTNLGRP_IPV6_IFADDR
group (rtnetlink(7)).
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from ipaddress import IPv6Address

from netverify.errors import KernelError
from netverify.kernel import carrier
from netverify.kernel.carrier import Channels
from netverify.kernel.channel import Channel
from netverify.kernel.namespace import Visitor
from netverify.kernel.netlink import NLM_F_REQUEST, Request

IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x08, 0x40  # include/uapi/linux/if_addr.h
RTMGRP_IPV6_IFADDR = 0x100
PATIENCE = 10.0  # seconds; the kernel's own is 2 s, a second's delay at random among them
_RTM_GETADDR, _NLM_F_DUMP, _IFA_ADDRESS = 22, 0x300, 1


def settle(visitor: Visitor, channels: Channels) -> None:
    """Return when no address of a device with carrier is tentative.

    Raises KernelError for an address that somebody else has, or that is still tentative after `PATIENCE`.
    """
    devices = carrier.present(visitor, channels)
    waiting = [name for name in channels if tentative(channels[name][1], devices[name])]
    if not waiting:
        return
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        monitors: dict[int, socket.socket] = {}
        for name in waiting:
            monitor = stack.enter_context(visitor.visit(channels[name][0], _monitor))
            monitors[monitor.fileno()] = monitor
            poll.register(monitor, select.EPOLLIN)
        deadline = time.monotonic() + PATIENCE
        # Look again after subscribing: what ended in between sends no event.
        while left := {
            name: found for name in waiting if (found := tentative(channels[name][1], devices[name]))
        }:
            ready = poll.poll(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise KernelError(f"still tentative after {PATIENCE:.0f} s: {_listed(left)}")
            for fd, _events in ready:
                _drain(monitors[fd])


def tentative(channel: Channel, devices: Sequence[int]) -> list[IPv6Address]:
    """The addresses of these devices, as far as they have carrier, that nobody may use yet.

    Raises KernelError for one that somebody else was found to have: nobody will ever use that.
    """
    flags = dict(zip(devices, channel.link_flags(devices), strict=True))
    found = []
    for body in channel.dump(_LIST):
        _family, _prefix, state, _scope, index = struct.unpack_from("=BBBBI", body)
        if not state & IFA_F_TENTATIVE or not flags.get(index, 0) & carrier.IFF_LOWER_UP:
            continue
        address = _address(body)
        if state & IFA_F_DADFAILED:
            raise KernelError(
                f"{address} is somebody else's too, so that this host does not use it (RFC 4862)"
            )
        found.append(address)
    return found


def _address(body: bytes) -> IPv6Address:
    position = 8  # after struct ifaddrmsg
    while position + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, position)
        if kind == _IFA_ADDRESS:
            return IPv6Address(body[position + 4 : position + 20])
        position += (length + 3) & ~3
    raise KernelError("the kernel lists an IPv6 address without saying which")


def _listed(found: Mapping[str, Sequence[IPv6Address]]) -> str:
    return "; ".join(f"{name}: {', '.join(map(str, addresses))}" for name, addresses in found.items())


def _drain(events: socket.socket) -> None:
    try:
        while events.recv(65536):
            pass
    except BlockingIOError:
        return


def _monitor() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    monitor = socket.socket(socket.AF_NETLINK, kind, 0)
    monitor.bind((0, RTMGRP_IPV6_IFADDR))
    return monitor


_LIST = Request(
    "list the IPv6 addresses",
    struct.pack("=IHHII", 24, _RTM_GETADDR, NLM_F_REQUEST | _NLM_F_DUMP, 0, 0)
    + struct.pack("=BBBBI", socket.AF_INET6, 0, 0, 0, 0),
)
