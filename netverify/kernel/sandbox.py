"""The process enters namespaces of its own before it does anything else.

`enter()` gives the calling process a network and a mount namespace, and a user namespace too when it may not
make the others without one. From then on nothing that it does can reach the machine's own network: it has no
device that leads there. /run is a fresh tmpfs, so that `iptables-legacy` finds a lock file that it may write
(an ordinary user may not write the machine's /run/xtables.lock) and `ip netns` names stay private.

Rootless and root runs are the same code afterwards: both hold every capability that matters, over namespaces
that they own (user_namespaces(7), network_namespaces(7)).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

from netverify.errors import SandboxError
from netverify.kernel import syscalls

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # include/uapi/linux/sockios.h, if.h


@dataclass(frozen=True)
class Sandbox:
    """Where `enter()` led: whether we live in a user namespace, and who we were when we entered."""

    rootless: bool
    outer_uid: int
    outer_gid: int


_current: Sandbox | None = None
# Tells a child (a pytest-xdist worker, whose threads are its own) which network namespace is a sandbox. Its
# number is compared, so that the variable says nothing in a shell of the machine's own that inherited it.
_PARENT = "NETVERIFY_SANDBOXED"


def current() -> Sandbox | None:
    """The sandbox that this process is in, or None."""
    return _current


def require() -> Sandbox:
    """The sandbox that this process is in; raises SandboxError where there is none.

    Everything that builds a lab asks this first, so that no lab can ever stand in the machine's own network
    namespace.
    """
    if _current is None:
        raise SandboxError(
            "this process is still in the machine's own network namespace, and labs are built only inside a "
            "sandbox. Under pytest, set `netverify_sandbox = true` in the ini file; elsewhere call "
            "netverify.kernel.sandbox.enter() before any thread starts"
        )
    return _current


def enter() -> Sandbox:
    """Move this process into namespaces of its own, once; a second call returns the first one's sandbox.

    Must run before any thread is started: a user namespace can be entered only by a process with a single
    thread. A child of a sandboxed process (a pytest-xdist worker) owns every capability there already; there
    the calling thread, and what it starts, moves on into namespaces apart from its siblings'.

    Raises SandboxError naming the missing capability and how to get it.
    """
    global _current  # noqa: PLW0603 - a process is in one sandbox or in none: the state is the process's
    if _current is not None:
        return _current
    uid, gid = os.geteuid(), os.getegid()
    outermost = not _in_user_namespace() and os.environ.get(_PARENT) != _network_namespace()
    if outermost and len(list(Path("/proc/self/task").iterdir())) > 1:
        raise SandboxError(
            "this process already runs several threads, and only one would move: the others would stay "
            "in the machine's own network namespace. Enter the sandbox before any thread is started"
        )
    if not _unshare_as_root():
        _unshare_as_user(uid, gid)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("netverify", "/run", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755")
    _set_loopback_up()
    os.environ[_PARENT] = _network_namespace()
    # Debian keeps iptables, nft and ip where an ordinary user's PATH does not look.
    known = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys([*known, "/usr/sbin", "/sbin"]))
    _current = Sandbox(_in_user_namespace(), uid, gid)
    return _current


def _unshare_as_root() -> bool:
    """Try without a user namespace; False where the kernel wants one (no CAP_SYS_ADMIN here)."""
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS)
    except PermissionError:
        return False
    except OSError as error:
        raise SandboxError(_why_not(error)) from error
    return True


def _unshare_as_user(uid: int, gid: int) -> None:
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        # A process without privileges may map only itself, and groups only after setgroups is given up
        # (user_namespaces(7), "Defining user and group ID mappings").
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        # Only now: the kernel asks who uid 0 is as it makes a network namespace, and gives /proc/net's files
        # (ip_tables_names, which iptables-legacy-save reads) to nobody while there is no map.
        syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS)
    except OSError as error:
        raise SandboxError(_why_not(error)) from error


# Each switch that can forbid user namespaces, the value that allows them, and who has it.
_SWITCHES: tuple[tuple[str, Callable[[int], bool], str], ...] = (
    (
        "/proc/sys/user/max_user_namespaces",
        lambda value: value > 0,
        "sysctl -w user.max_user_namespaces=9999",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        lambda value: value == 1,
        "sysctl -w kernel.unprivileged_userns_clone=1 (Debian)",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        lambda value: value == 0,
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu 23.10 and later)",
    ),
)


def _why_not(error: OSError) -> str:
    """Say what stands between this process and namespaces of its own, and what to do about it.

    The process may have entered an unmapped user namespace by then (AppArmor refuses only the map); it can do
    nothing useful there, so whoever gets this error must end.
    """
    base = f"cannot make network namespaces here ({error.strerror})"
    for path, allows, remedy in _SWITCHES:
        try:
            value = int(Path(path).read_text())
        except FileNotFoundError:
            continue  # this kernel does not have that switch, so it forbids nothing
        if not allows(value):
            return f"{base}: {path} is {value}. Run as root, or let root run: {remedy}"
    if error.errno == errno.EINVAL:
        return f"{base}: this process already runs several threads, or the kernel lacks CONFIG_USER_NS"
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        return f"{base}: the limit is reached; root can raise it: sysctl -w user.max_net_namespaces=65536"
    return (
        f"{base}: neither CAP_SYS_ADMIN nor unprivileged user namespaces. Run as root; in a container, "
        "run it with --privileged, or with a seccomp profile that allows unshare(2)"
    )


def _in_user_namespace() -> bool:
    """Whether this process's uid 0 is somebody else outside: the identity map covers all ids only at home."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def _network_namespace() -> str:
    """The number of the network namespace that the calling thread is in (namespaces(7))."""
    return str(Path("/proc/thread-self/ns/net").stat().st_ino)


def _set_loopback_up() -> None:
    """Bring up `lo`: programs run under the sandbox expect 127.0.0.1 to answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", ioctl(sock, SIOCGIFFLAGS, request))[1]
        ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
