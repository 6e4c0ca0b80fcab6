"""One SCTP packet from one namespace of a lab to another, by raw sockets: no SCTP is needed in the kernel.

What it shows is what packet filters do to SCTP: an INIT, the first packet of an association (RFC 9260, 5.1),
arrives or does not. Nobody answers.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from netverify.kernel import neighbours
from netverify.kernel.barrier import Barrier
from netverify.kernel.lab import Lab

_SCTP, _INIT = 132, 1
_CHUNK = struct.Struct("!BBHIIHHI")
_HEADER = struct.Struct("!HHI4s")
_POLYNOMIAL = 0x82F6_3B78  # Castagnoli's, the lowest bit first


@dataclass(frozen=True)
class Init:
    """An INIT as its receiver sees it: the source's address and port, its own port, is the checksum right?"""

    source: str
    sport: int
    dport: int
    intact: bool


def send_init(lab: Lab, client: str, address: str, sport: int, dport: int, *, seen_at: str) -> Init | None:
    """Send an INIT from `client` to that address (IPv4) and port; what `seen_at` receives, if anything."""
    with lab.visit(client, _raw) as sender, lab.visit(seen_at, _raw) as receiver:
        with Barrier(lab.visitor) as barrier:
            sender.sendto(_init(sport, dport), (address, 0))
            barrier.wait()
            neighbours.settle(lab.visitor, lab.channels)
            barrier.wait_everywhere()
        try:
            packet, (source, _port) = receiver.recvfrom(2048)
        except BlockingIOError:
            return None
    found = packet[(packet[0] & 15) * 4 :]
    seen_sport, seen_dport, _tag, checksum = _HEADER.unpack_from(found)
    return Init(source, seen_sport, seen_dport, checksum == _checksum(found))


def _raw() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    return socket.socket(socket.AF_INET, kind, _SCTP)


def _init(sport: int, dport: int) -> bytes:
    """An INIT (RFC 9260, 3.3.2): verification tag 0 in the packet, one stream each way."""
    chunk = _CHUNK.pack(_INIT, 0, _CHUNK.size, 0x1234_5678, 65_536, 1, 1, 1)
    packet = _HEADER.pack(sport, dport, 0, bytes(4)) + chunk
    return _HEADER.pack(sport, dport, 0, _checksum(packet)) + chunk


def _checksum(packet: bytes) -> bytes:
    """CRC32c of the packet with a checksum of 0, as SCTP sends it (RFC 9260, appendix A)."""
    register = 0xFFFF_FFFF
    for byte in packet[:8] + bytes(4) + packet[12:]:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return (register ^ 0xFFFF_FFFF).to_bytes(4, "little")
