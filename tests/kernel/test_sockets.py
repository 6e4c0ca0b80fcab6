"""The kernel's table of sockets, read in both ways."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from netverify.kernel import sandbox, sockets
from netverify.kernel.channel import Channel, NetlinkError
from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.netlink import set_link


@pytest.fixture
def inside() -> Iterator[tuple[Visitor, Namespace]]:
    sandbox.require()
    with Visitor() as visitor:
        ((namespace, channel),) = visitor.create(["here"], Channel)
        channel.send("here", [set_link(1, up=True)])
        channel.close()
        yield visitor, namespace
        namespace.close()


def _open(version: int, kind: int, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
    if version == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", port))
    return sock


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("without_diag", [False, True])
def test_only_what_listens_is_listed(
    inside: tuple[Visitor, Namespace], version: int, without_diag: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without_diag:  # what a kernel without CONFIG_INET_DIAG answers

        def refuse(self: Channel, request: object) -> Iterator[bytes]:
            raise NetlinkError("here", "list", errno.ENOENT, "")

        monkeypatch.setattr(Channel, "dump", refuse)
    visitor, namespace = inside
    ports = (8001, 8002, 8003)
    opened = visitor.visit(namespace, lambda: [_open(version, socket.SOCK_STREAM, port) for port in ports])
    datagrams = visitor.visit(namespace, lambda: _open(version, socket.SOCK_DGRAM, 8004))
    for listening in opened[:2]:
        listening.listen()
    opened[2].connect(("127.0.0.1" if version == 4 else "::1", 8001))
    try:
        assert visitor.visit(namespace, lambda: sockets.listening_ports("tcp", version)) == {8001, 8002}
        assert visitor.visit(namespace, lambda: sockets.listening_ports("udp", version)) == {8004}
        assert sockets.listening_ports("tcp", version).isdisjoint(ports)  # another namespace's table
    finally:
        for sock in (*opened, datagrams):
            sock.close()
