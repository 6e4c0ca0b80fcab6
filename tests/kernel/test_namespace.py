"""The helper thread that visits namespaces, and namespaces that descriptors hold."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netverify.errors import KernelError
from netverify.kernel import carrier, netlink, syscalls
from netverify.kernel.channel import Channel
from netverify.kernel.namespace import Namespace, Visitor, open_namespace
from tests.kernel.small_net import small_net


@pytest.fixture
def visitor() -> Iterator[Visitor]:
    with Visitor() as here:
        yield here


def here() -> int:
    """The network namespace of the calling thread, by number."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def open_files() -> dict[str, str]:
    """What each descriptor of this process leads to."""
    return {path.name: str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def nothing() -> None:
    return None


# --- visits ------------------------------------------------------------------------------------------------


def test_the_main_thread_never_moves(visitor: Visitor) -> None:
    before = here()
    [(first, seen_first), (second, seen_second)] = visitor.create(["first", "second"], here)
    with_names = {"first": first.inode, "second": second.inode}
    assert (seen_first, seen_second) == (first.inode, second.inode)
    assert len({before, first.inode, second.inode}) == 3, with_names
    assert visitor.visit(first, here) == first.inode
    assert visitor.visit_all([(second, here), (first, here), (second, here)]) == [
        second.inode,
        first.inode,
        second.inode,
    ]
    assert here() == before
    first.close()
    second.close()


def test_what_is_opened_inside_belongs_there_for_good() -> None:
    with small_net("here", "there") as net:
        net.configure("there", netlink.add_bridge("only-there", 7))
        sock = net.socket("there", socket.AF_INET, socket.SOCK_DGRAM)
        net.visitor.visit(net.namespaces["here"], nothing)
        # SO_BINDTODEVICE finds a device by its name in the socket's own namespace.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"only-there")
        with pytest.raises(OSError, match="No such device"):
            net.socket("here", socket.AF_INET, socket.SOCK_DGRAM).setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"only-there"
            )


class Unusual(BaseException):
    """Not even an Exception."""


@pytest.mark.parametrize("kind", [ValueError, Unusual, KeyboardInterrupt])
def test_exceptions_of_a_visit_reach_the_caller(visitor: Visitor, kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind(threading.current_thread().name)

    with pytest.raises(kind, match="netverify-visitor"):
        visitor.call(fail)
    assert visitor.call(here) > 0, "the thread lives on"


def test_leaving_ends_the_thread() -> None:
    with Visitor() as visitor:
        thread = visitor.call(threading.current_thread)
        assert thread.is_alive()
    assert not thread.is_alive()


def test_a_closed_namespace_cannot_be_entered(visitor: Visitor) -> None:
    [(namespace, _)] = visitor.create(["gone"], nothing)
    namespace.close()
    with pytest.raises(KernelError, match="cannot enter namespace 'gone': Bad file descriptor"):
        visitor.visit(namespace, here)


# --- creation: all or nothing ------------------------------------------------------------------------------


def test_descriptors_are_not_inherited(visitor: Visitor) -> None:
    [(namespace, _)] = visitor.create(["private"], nothing)
    assert not os.get_inheritable(namespace.fd)
    namespace.close()


def test_nothing_is_kept_when_furnishing_fails_half_way(visitor: Visitor) -> None:
    before = open_files()
    made = []

    def furnish() -> None:
        made.append(here())
        if len(made) == 3:
            raise RuntimeError("no furniture left")

    with pytest.raises(RuntimeError, match="no furniture left"):
        visitor.create(["one", "two", "three", "four"], furnish)
    assert len(set(made)) == 3
    assert open_files() == before


def test_furniture_is_closed_too_when_furnishing_fails(visitor: Visitor) -> None:
    """A socket keeps its namespace alive."""
    before = open_files()
    channels = []

    def furnish() -> Channel:
        if len(channels) == 2:
            raise RuntimeError("no furniture left")
        channels.append(Channel())
        return channels[-1]

    with pytest.raises(RuntimeError, match="no furniture left"):
        visitor.create(["one", "two", "three"], furnish)
    assert len(channels) == 2
    assert open_files() == before


def test_nothing_is_kept_when_the_kernel_refuses(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    before, genuine, left = open_files(), syscalls.unshare, iter([True, True, False])

    def unshare(flags: int) -> None:
        if not next(left):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        genuine(flags)

    monkeypatch.setattr(syscalls, "unshare", unshare)
    with pytest.raises(KernelError) as caught:
        visitor.create(["one", "two", "three"], nothing)
    assert str(caught.value) == (
        "cannot make a network namespace for 'three' (2 made before it): No space left on device. "
        "Limits: user.max_net_namespaces (sysctl), open files (ulimit -n)"
    )
    assert open_files() == before


def test_closing_frees_the_namespace_with_all_that_is_in_it(visitor: Visitor) -> None:
    """A veth end is deleted with its namespace, and the other end goes with it: that is an event."""
    with small_net("kept", "closed") as net:
        [(extra, _)] = net.visitor.create(["extra"], nothing)
        channel = net.channels["kept"]
        far = netlink.VethEnd("far", 21, namespace=extra.fd)
        channel.send("kept", [netlink.add_veth(netlink.VethEnd("near", 20), far)])
        monitor = net.visitor.visit(net.namespaces["kept"], carrier._monitor)
        with monitor:
            monitor.setblocking(True)
            monitor.settimeout(10)
            extra.close()
            while "near" in net.visitor.visit(net.namespaces["kept"], carrier.devices_here):
                monitor.recv(65536)


# --- namespaces of others ----------------------------------------------------------------------------------


def test_a_namespace_of_somebody_else_is_held(visitor: Visitor) -> None:
    [(theirs, _)] = visitor.create(["theirs"], nothing)
    ours = open_namespace(theirs.path, "ours")
    assert (ours.name, ours.inode) == ("ours", theirs.inode)
    theirs.close()
    assert visitor.visit(ours, here) == ours.inode
    ours.close()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "net"
    with pytest.raises(KernelError) as caught:
        open_namespace(str(missing), "c1")
    assert str(caught.value) == f"cannot open the namespace of 'c1' at {missing}: No such file or directory"


@pytest.mark.parametrize("path", ["/proc/self/ns/mnt", "/proc/self/status"])
def test_what_is_no_network_namespace_is_refused(path: str) -> None:
    before = open_files()
    with pytest.raises(KernelError, match=f"'c1' at {path}: it is no network namespace"):
        open_namespace(path, "c1")
    assert open_files() == before


def test_a_channel_stays_where_it_was_opened(visitor: Visitor) -> None:
    made: list[tuple[Namespace, Channel]] = visitor.create(["a", "b"], Channel)
    try:
        for number, (namespace, channel) in enumerate(made, 1):
            channel.send(namespace.name, [netlink.add_bridge(f"br{number}", 5)])
        seen = visitor.visit_all([(namespace, carrier.devices_here) for namespace, _ in made])
        assert seen == [{"lo": 1, "br1": 5}, {"lo": 1, "br2": 5}]
    finally:
        for namespace, channel in made:
            channel.close()
            namespace.close()
