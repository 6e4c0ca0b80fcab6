"""The few system calls that Python 3.11 does not offer: unshare, setns, mount, prctl.

Everything else in this room goes through the standard library. Python 3.12 has `os.unshare` and `os.setns`;
until 3.11 is dropped one way for all versions is less to get wrong.
"""

from __future__ import annotations

import ctypes
import os

# include/uapi/linux/sched.h
CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

# include/uapi/linux/mount.h
MS_NOSUID = 0x0002
MS_NODEV = 0x0004
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    """Turn a failed libc call into the OSError that Python itself would have raised."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces; see unshare(2). Raises OSError."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace that `fd` holds; see setns(2). Raises OSError."""
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount; see mount(2). Raises OSError."""
    arguments = (text.encode() for text in (source, target, kind))
    _checked(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def set_parent_death_signal(number: int) -> None:
    """Have the calling process sent a signal when the thread that started it ends; see prctl(2)."""
    nothing = ctypes.c_ulong(0)
    result = _libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(number), nothing, nothing, nothing)
    _checked(result, "prctl PR_SET_PDEATHSIG")
