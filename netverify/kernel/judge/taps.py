"""Where packets are put in and taken out: the far ends of cables, and raw sockets of the judged host.

A packet socket at a cable's far end sends frames and has all that come out in a ring. In the host, one raw
socket sends whole packets, and one of each protocol gets a copy of every packet that is delivered: raw(7) and
ipv6(7) come after INPUT and before TCP, UDP and ICMP.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from netverify.dataplane.packet import ICMP, ICMPV6, SCTP, TCP, UDP, Packet
from netverify.errors import KernelError
from netverify.kernel.judge import site, wire
from netverify.kernel.judge.case import Shot
from netverify.kernel.packet_ring import PacketRing

GENERIC = (47, 200)
"""Protocols without ports that packets are made of: one with a name, and one that nobody uses."""

HELD: Mapping[int, tuple[int, ...]] = {
    4: (ICMP, TCP, UDP, SCTP, *GENERIC),
    6: (ICMPV6, TCP, UDP, SCTP, *GENERIC),
}
"""The protocols whose packets are taken out as they are delivered, by IP version."""

_RING = 256  # packets
_OUTGOING, _ETH_P_ALL = 4, 3
_IPV6_HEADERS = (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS)


class Cable:
    """The far end of a cable: frames go in by its socket, and those that come out are in its ring."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._ring = PacketRing(self.socket, _RING, 2000)
        self.socket.bind((name, _ETH_P_ALL))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ring.close()
        self.socket.close()

    def read(self) -> list[tuple[int, bytes]]:
        """Every IP packet that came out, with the Ethernet address that its frame was for."""
        return [
            (int.from_bytes(slot.data[:6], "big"), slot.data[14:])
            for slot in self._ring.read()
            if slot.packet_type != _OUTGOING and slot.data[12:14] in (b"\x08\x00", b"\x86\xdd")
        ]

    def check(self) -> None:
        """Raise KernelError where the ring lost a frame."""
        dropped = self._ring.dropped()
        if dropped:
            raise KernelError(f"{dropped} packets that came out of {self.name} were not read in time")


def sender(version: int) -> socket.socket:
    """A raw socket that takes whole packets, IP header included (raw(7), ipv6(7))."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)


def receiver(version: int, protocol: int) -> socket.socket:
    """A raw socket that gets a copy of every packet of a protocol that is delivered to the host."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(family, kind, protocol)
    if version == 6:
        for option in _IPV6_HEADERS:
            sock.setsockopt(socket.IPPROTO_IPV6, option, 1)
    return sock


def delivered(sock: socket.socket, version: int, protocol: int) -> Iterator[tuple[Packet, int | None]]:
    """Every packet that a receiver has got, with the number that it carries."""
    while True:
        try:
            if version == 4:
                yield wire.decode(sock.recv(2048))
                continue
            data, ancillary, _flags, peer = sock.recvmsg(2048, 256)
        except BlockingIOError:
            return
        headers = {kind: value for _level, kind, value in ancillary}
        hops = struct.unpack("=i", headers[socket.IPV6_HOPLIMIT])[0]
        traffic_class = struct.unpack("=i", headers[socket.IPV6_TCLASS])[0]
        source = socket.inet_pton(socket.AF_INET6, peer[0].partition("%")[0])
        target = headers[socket.IPV6_PKTINFO][:16]
        yield wire.decode_transport(6, source, target, protocol, hops, traffic_class, data)


def frame(shot: Shot) -> bytes:
    """The Ethernet header of a frame that comes in."""
    packet = shot.packet
    source = packet.mac if packet.mac is not None else site.neighbour_mac("eth0", 2)
    kind = 0x0800 if packet.version == 4 else 0x86DD
    return shot.target.to_bytes(6, "big") + source.to_bytes(6, "big") + kind.to_bytes(2, "big")
