"""Events that tell when the kernel has freed a namespace, without keeping it alive meanwhile.

- A network namespace: one end of a veth pair goes into it, the other stays with us. When the kernel frees the
  namespace it deletes what is inside, and the other end of a pair goes with it (veth(4)).
- A mount namespace: its /run is a file system of its own, which is unmounted with it; inotify(7) reports that
  (IN_UNMOUNT).

Numbers and names of namespaces would not do: the kernel gives the same ones out again at once.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from netverify.kernel import carrier, netlink
from netverify.kernel.channel import Channel
from netverify.kernel.namespace import Visitor

RTMGRP_LINK = 1
# include/uapi/linux/inotify.h
IN_DELETE_SELF, IN_UNMOUNT = 0x0400, 0x2000
_libc = ctypes.CDLL(None, use_errno=True)

Identity = tuple[int, int]
# What looking at a process raises that has ended. While it ends, or turns into another program, it is root's.
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


class Tripwires:
    """Tripwires in the namespaces of processes. A context manager; its user must be root of something."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._laid = 0
        self._mounts: dict[int, str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._visitor = stack.enter_context(Visitor())
            [(self._home, self._channel)] = self._visitor.create(["tripwires"], Channel)
            stack.callback(self._home.close)
            stack.callback(self._channel.close)
            self._events = stack.enter_context(self._visitor.visit(self._home, _monitor))
            self._inotify = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, self._inotify)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def lay(self, processes: Iterable[int]) -> tuple[int, int]:
        """Lay them in all namespaces but ours that the processes are in or hold open.

        Returns the number of network namespaces and of mount namespaces with a /run of their own.
        """
        processes = list(processes)
        with ExitStack() as stack:
            spaces: dict[Identity, int] = {}
            for path in (path for pid in processes for path in _network_namespaces(pid)):
                if (fd := _opened(path)) is not None:
                    stack.callback(os.close, fd)
                    spaces.setdefault(_identity(fd), fd)
            for ours in (Path("/proc/self/ns/net"), self._home.fd):
                spaces.pop(_identity(ours), None)
            self._channel.send("tripwires", [self._veth(fd) for fd in spaces.values()])
        ours = _identity(Path("/run"))
        runs = [Path(f"/proc/{pid}/root/run") for pid in processes]
        mounts = sum(self._watch(run) for run in runs if _identity_of_living(run) not in (None, ours))
        return len(spaces), mounts

    def _veth(self, namespace: int) -> netlink.Request:
        self._laid += 1
        near = netlink.VethEnd(f"wire{self._laid}", 0)
        return netlink.add_veth(near, netlink.VethEnd(near.name, 0, namespace=namespace, up=False))

    def _watch(self, run: Path) -> bool:
        number = _libc.inotify_add_watch(self._inotify, bytes(run), IN_DELETE_SELF)
        if number < 0:
            error = OSError(ctypes.get_errno(), "inotify_add_watch", str(run))
            if isinstance(error, GONE):
                return False
            raise error
        if number in self._mounts:
            return False
        self._mounts[number] = str(run)
        return True

    def wait(self, patience: float) -> list[str]:
        """Wait until the kernel has freed them all; returns what is left after `patience` seconds."""
        deadline = time.monotonic() + patience
        with select.epoll() as poll:
            poll.register(self._events, select.EPOLLIN)
            poll.register(self._inotify, select.EPOLLIN)
            while left := self._left():
                if not poll.poll(max(0.0, deadline - time.monotonic())):
                    return left
                _drain(self._events)
                self._note_unmounts()
        return []

    def _left(self) -> list[str]:
        devices = self._visitor.visit(self._home, carrier.devices_here)
        wires = [f"a network namespace ({name})" for name in devices if name.startswith("wire")]
        return wires + [f"the mounts of {run}" for run in self._mounts.values()]

    def _note_unmounts(self) -> None:
        try:
            data = os.read(self._inotify, 65536)
        except BlockingIOError:
            return
        position = 0
        while position < len(data):
            watch, mask, _cookie, length = struct.unpack_from("=iIII", data, position)
            if mask & IN_UNMOUNT:
                del self._mounts[watch]
            position += 16 + length


def _network_namespaces(pid: int) -> Iterator[Path]:
    """Paths that lead to the namespaces in which a process has threads, or of which it has descriptors."""
    process = Path(f"/proc/{pid}")
    try:
        yield from [thread / "ns/net" for thread in (process / "task").iterdir()]
        for file in list((process / "fd").iterdir()):
            if _target(file).startswith("net:["):
                yield file
    except GONE:
        return


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except GONE:  # or closed
        return ""


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except GONE:
        return None


def _identity(file: int | Path) -> Identity:
    found = os.fstat(file) if isinstance(file, int) else file.stat()
    return found.st_dev, found.st_ino


def _identity_of_living(path: Path) -> Identity | None:
    """The same for a path below /proc/PID, None where that process has ended."""
    try:
        return _identity(path)
    except GONE:
        return None


def _monitor() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    monitor = socket.socket(socket.AF_NETLINK, kind, 0)
    monitor.bind((0, RTMGRP_LINK))
    return monitor


def _drain(events: socket.socket) -> None:
    try:
        while events.recv(65536):
            pass
    except BlockingIOError:
        return
