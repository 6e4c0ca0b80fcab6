"""Processes that somebody left behind: they become our children, so none can get lost.

A subreaper (prctl(2), PR_SET_CHILD_SUBREAPER) takes the place of init for what its descendants leave behind.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def orphans_are_ours() -> Iterator[None]:
    """While the `with` block runs, what descendants of this process leave behind becomes its child."""
    _subreaper(1)
    try:
        yield
    finally:
        _subreaper(0)


def _subreaper(on: int) -> None:
    nothing = ctypes.c_ulong(0)
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(on), nothing, nothing, nothing) != 0:
        raise OSError(ctypes.get_errno(), "prctl PR_SET_CHILD_SUBREAPER")


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    found, parents = [root], _parents()
    for parent in found:
        found += [pid for pid, its in parents.items() if its == parent]
    return found


def children() -> set[int]:
    """The children of this process, those included that have ended and were not waited for."""
    own = os.getpid()
    return {pid for pid, parent in _parents().items() if parent == own}


def _parents() -> dict[int, int]:
    """The parent of each process of the machine (proc(5), stat: after the name come state and parent)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it ended as we looked
                continue
            found[int(entry.name)] = int(words[1])
    return found


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def wait_for_the_last(known: Iterable[int], patience: float) -> dict[int, str]:
    """Wait until this process has no child but the `known` ones.

    Returns the command lines of those that are still there after `patience` seconds, by process number.
    """
    known, deadline = set(known), time.monotonic() + patience
    while left := _unreaped(known):
        with ExitStack() as stack:
            poll = stack.enter_context(select.epoll())
            for pid in left:
                fd = os.pidfd_open(pid)  # ours: its number cannot be another's until we wait for it
                stack.callback(os.close, fd)
                poll.register(fd, select.EPOLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()), 1):
                return {pid: command_line(pid) for pid in left}
    return {}


def _unreaped(known: set[int]) -> list[int]:
    """Children but the known ones, after saying farewell to those that have ended."""
    return [pid for pid in children() - known if os.waitpid(pid, os.WNOHANG) == (0, 0)]
