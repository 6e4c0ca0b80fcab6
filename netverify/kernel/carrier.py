"""Waiting, by events, until every device that has carrier can really send.

A veth end gets carrier when both ends are up, but the kernel begins to *send* on it only when its link-watch
work has run (`linkwatch_do_dev`, net/core/link_watch.c: it swaps the no-op queue, which drops every packet in
silence, for the real one). Until then the device has IFF_LOWER_UP without IFF_RUNNING, and a probe that is
sent would vanish. A bridge follows its ports in the same way.

Asking for a device (RTM_GETLINK, not a dump) runs that work at once since Linux 6.8; on older kernels the
change is announced to the RTNLGRP_LINK group.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from netverify.errors import KernelError
from netverify.kernel.channel import Channel
from netverify.kernel.namespace import Namespace, Visitor

IFF_RUNNING, IFF_LOWER_UP = 1 << 6, 1 << 16  # include/uapi/linux/if.h
RTMGRP_LINK = 1
PATIENCE = 10.0  # seconds

Channels = Mapping[str, tuple[Namespace, Channel]]


def settle(visitor: Visitor, channels: Channels, devices: Mapping[str, Sequence[int]]) -> None:
    """Return when no device of any namespace has carrier without being able to send.

    Raises KernelError for a device that is still so after `PATIENCE` seconds.
    """
    before: object = None
    deadline = time.monotonic() + PATIENCE
    while True:
        flags = {
            name: channels[name][1].link_flags(indexes)
            for name, indexes in devices.items()
            if name in channels
        }
        pending = [name for name, values in flags.items() if any(map(_pending, values))]
        if pending:
            _wait(visitor, channels, {name: devices[name] for name in pending}, deadline)
        elif flags == before:
            return  # a whole round in which nothing changed: no bridge is about to follow its ports
        elif time.monotonic() > deadline:
            raise KernelError(f"devices still come and go after {PATIENCE:.0f} s, in: {', '.join(flags)}")
        before = flags


def present(visitor: Visitor, channels: Channels) -> dict[str, list[int]]:
    """The number of every device that is in each namespace right now."""
    found = visitor.visit_all((namespace, devices_here) for namespace, _ in channels.values())
    return {name: list(devices.values()) for name, devices in zip(channels, found, strict=True)}


def devices_here() -> dict[str, int]:
    """Name and number of every device in the calling thread's namespace."""
    return {name: index for index, name in socket.if_nameindex()}


def settle_here(channel: Channel, indexes: Sequence[int]) -> None:
    """The same for the namespace that the calling thread is in."""
    with _monitor() as monitor:
        deadline = time.monotonic() + PATIENCE
        _until(lambda: not any(map(_pending, channel.link_flags(indexes))), [monitor], "here", deadline)


def _pending(flags: int) -> bool:
    return bool(flags & IFF_LOWER_UP and not flags & IFF_RUNNING)


def _wait(
    visitor: Visitor, channels: Channels, devices: Mapping[str, Sequence[int]], deadline: float
) -> None:
    with ExitStack() as stack:
        monitors = [stack.enter_context(visitor.visit(channels[name][0], _monitor)) for name in devices]

        def settled() -> bool:
            return not any(
                _pending(flags)
                for name, indexes in devices.items()
                for flags in channels[name][1].link_flags(indexes)
            )

        _until(settled, monitors, ", ".join(devices), deadline)


def _until(
    settled: Callable[[], bool], monitors: Sequence[socket.socket], where: str, deadline: float
) -> None:
    with select.epoll() as poll:
        by_fd = {monitor.fileno(): monitor for monitor in monitors}
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        # The monitors were opened before the first look, so that no change falls in between.
        while not settled():
            ready = poll.poll(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise KernelError(f"a device has carrier but cannot send after {PATIENCE:.0f} s, in: {where}")
            for fd, _events in ready:
                _drain(by_fd[fd])


def _drain(monitor: socket.socket) -> None:
    try:
        while monitor.recv(65536):
            pass
    except BlockingIOError:
        return


def _monitor() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    monitor = socket.socket(socket.AF_NETLINK, kind, 0)
    monitor.bind((0, RTMGRP_LINK))
    return monitor
