"""Packets of the model as bytes, and bytes as packets of the model.

Each packet that is sent carries a number, by which everything that it causes is known again: in its payload,
which an ICMP error quotes and an echo reply repeats. A TCP reset has no payload: it belongs to the packet
that was sent last. All segments of a direction have the same sequence numbers, so that each is inside the
window, each reset is exactly the one expected, and a SYN+ACK acknowledges the SYN before it.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from netverify.dataplane.packet import ACK, ICMP, ICMPV6, RST, SCTP, TCP, UDP, Packet, Tuple

MAGIC = b"nvfy"
_TAG = struct.Struct("!4sI")
TAG_LENGTH = _TAG.size
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
_ICMP = struct.Struct("!BBHHH")
_SCTP_INIT = struct.Struct("!HHIIBBHIIHHI")
_SEQUENCE = 1 << 20
_ACKNOWLEDGED = _SEQUENCE + 1 + TAG_LENGTH  # what a SYN with nothing but its tag takes
_MTU = 1500  # what "packet too big" speaks of: what the route has anyway
QUOTED = 8  # bytes of the transport header that an ICMP error of ours quotes, before the tag

ERRORS = {ICMP: frozenset({3, 4, 5, 11, 12}), ICMPV6: frozenset({1, 2, 3, 4})}
"""ICMP types that are about another packet (nf_conntrack_proto_icmp.c, nf_conntrack_proto_icmpv6.c)."""
WITH_IDENTIFIER = {ICMP: frozenset({0, 8, 13, 14, 15, 16, 17, 18}), ICMPV6: frozenset({128, 129})}

HEADERS = {TCP: 20, UDP: 8, SCTP: _SCTP_INIT.size, ICMP: 8, ICMPV6: 8}
"""Bytes of what stands between the IP header and the tag."""
_PLAIN = 4  # of protocols without a header that is known here: two zeros, and a checksum over everything


def smallest(packet: Packet) -> int:
    """The least length that a packet can have on the wire, IP header included, in bytes."""
    ip = 20 if packet.version == 4 else 40
    quoted = ip + QUOTED if packet.embedded is not None else 0
    return ip + HEADERS.get(packet.protocol, _PLAIN) + quoted + TAG_LENGTH


def encode(packet: Packet, number: int) -> bytes:
    """The packet from its IP header on, `packet.length` bytes long, with all checksums right."""
    ip = 20 if packet.version == 4 else 40
    tag = _TAG.pack(MAGIC, number)
    padding = packet.length - smallest(packet)
    if padding < 0:
        raise ValueError(f"{packet} cannot be {packet.length} bytes long: it is {smallest(packet)} at least")
    payload = tag + bytes(padding)
    transport = _transport(packet, number, payload, packet.length - ip)
    return _ip_header(packet, number, len(transport)) + transport


def _ip_header(packet: Packet, number: int, length: int) -> bytes:
    source, destination = _addresses(packet.version, packet.source, packet.destination)
    if packet.version == 6:
        return _IPV6.pack(
            6 << 28 | packet.tos << 20, length, packet.protocol, packet.ttl, source, destination
        )
    identification = number & 0xFFFF
    fields = (
        0x45, packet.tos, 20 + length, identification, 0, packet.ttl, packet.protocol,
    )  # fmt: skip
    header = _IPV4.pack(*fields, 0, source, destination)
    return _IPV4.pack(*fields, checksum(header), source, destination)


def _transport(packet: Packet, number: int, payload: bytes, length: int) -> bytes:
    protocol = packet.protocol
    if protocol == TCP:
        sequence = _ACKNOWLEDGED if packet.tcp_flags & RST else _SEQUENCE
        acknowledged = _ACKNOWLEDGED if packet.tcp_flags & ACK else 0
        fields = (packet.sport, packet.dport, sequence, acknowledged, 5 << 4, packet.tcp_flags, 0xFFFF)
        whole = _TCP.pack(*fields, 0, 0) + payload
        return _TCP.pack(*fields, checksum(_pseudo(packet, length) + whole), 0) + payload
    if protocol == UDP:
        whole = _UDP.pack(packet.sport, packet.dport, length, 0) + payload
        summed = checksum(_pseudo(packet, length) + whole) or 0xFFFF
        return _UDP.pack(packet.sport, packet.dport, length, summed) + payload
    if protocol == SCTP:
        return _sctp(packet, number, payload)
    if protocol in (ICMP, ICMPV6):
        body = payload
        if packet.embedded is not None:
            body = _quoted(packet.version, packet.embedded) + payload
            rest = (0, _MTU)
        else:
            rest = (packet.sport, number & 0xFFFF)
        head = (packet.icmp_type, packet.icmp_code)
        whole = _ICMP.pack(*head, 0, *rest) + body
        pseudo = _pseudo(packet, length) if protocol == ICMPV6 else b""
        return _ICMP.pack(*head, checksum(pseudo + whole), *rest) + body
    # REJECT answers only what has a right checksum, and looks for it in every protocol (nf_reject_ipv4.c).
    return struct.pack("!HH", 0, checksum(payload)) + payload


def _quoted(version: int, about: Tuple) -> bytes:
    """The beginning of the packet that an ICMP error is about: its IP header and eight bytes."""
    packet = Packet(version, about.source, about.destination, about.protocol)
    header = _ip_header(packet, 1, QUOTED + TAG_LENGTH)
    if about.protocol in (ICMP, ICMPV6):
        return header + _ICMP.pack(about.kind >> 8, about.kind & 0xFF, 0, about.sport, 1)
    if about.protocol in (TCP, UDP, SCTP):
        return header + struct.pack("!HHI", about.sport, about.dport, 0)
    return header + bytes(QUOTED)


def _sctp(packet: Packet, number: int, payload: bytes) -> bytes:
    """An INIT chunk (RFC 9260, 3.3.2), followed by one that nobody knows and that holds the payload."""
    chunk = struct.pack("!HHI", packet.sport, packet.dport, 0)
    init = struct.pack("!BBHIIHHI", 1, 0, 20 + len(payload), number + 1, 0xFFFF, 1, 1, number)
    whole = chunk + bytes(4) + init + payload
    return chunk + struct.pack("<I", crc32c(whole)) + init + payload


def _pseudo(packet: Packet, length: int) -> bytes:
    source, destination = _addresses(packet.version, packet.source, packet.destination)
    return source + destination + struct.pack("!II", length, packet.protocol)


def _addresses(version: int, source: int, destination: int) -> tuple[bytes, bytes]:
    size = 4 if version == 4 else 16
    return source.to_bytes(size, "big"), destination.to_bytes(size, "big")


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): sums of 16 bits with carry are remainders by 65535."""
    if len(data) % 2:
        data += b"\0"
    return 0xFFFF - (int.from_bytes(data, "big") % 0xFFFF or 0xFFFF)


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """SCTP's checksum (RFC 9260, appendix A)."""
    table, value = _crc_table(), 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


# --- reading ----------------------------------------------------------------------------------------------


def decode(data: bytes) -> tuple[Packet, int | None]:
    """A packet from its IP header on, and the number that it carries, None if it carries none."""
    if data[0] >> 4 == 4:
        _, tos, length, _, _, ttl, protocol, _, source, destination = _IPV4.unpack_from(data)
        return decode_transport(4, source, destination, protocol, ttl, tos, data[(data[0] & 15) * 4 : length])
    first, length, protocol, ttl, source, destination = _IPV6.unpack_from(data)
    tos = first >> 20 & 0xFF
    return decode_transport(6, source, destination, protocol, ttl, tos, data[40 : 40 + length])


def decode_transport(
    version: int, source: bytes, destination: bytes, protocol: int, ttl: int, tos: int, data: bytes
) -> tuple[Packet, int | None]:
    """What follows an IP header, with what stood in it."""
    fields: dict[str, Any] = {}
    embedded: Tuple | None = None
    number = _number(data[HEADERS.get(protocol, _PLAIN) :])
    if protocol in (TCP, UDP, SCTP) and len(data) >= QUOTED:
        fields["sport"], fields["dport"] = struct.unpack_from("!HH", data)
    if protocol == TCP and len(data) >= 20:
        fields["tcp_flags"] = data[13] & 0x3F
    elif protocol in (ICMP, ICMPV6) and len(data) >= QUOTED:
        kind, code, _, identifier, _ = _ICMP.unpack_from(data)
        fields["icmp_type"], fields["icmp_code"] = kind, code
        if kind in WITH_IDENTIFIER[protocol]:
            fields["sport"] = identifier
        elif kind in ERRORS[protocol] and len(data) > QUOTED:
            embedded, number = _embedded(data[8:])
    packet = Packet(
        version,
        int.from_bytes(source, "big"),
        int.from_bytes(destination, "big"),
        protocol,
        ttl=ttl,
        tos=tos,
        length=len(data) + (20 if version == 4 else 40),
        embedded=embedded,
        **fields,
    )
    return packet, number


def _embedded(data: bytes) -> tuple[Tuple | None, int | None]:
    """The packet that an ICMP error quotes; its number stands behind a header that may be ours, cut short."""
    quoted, number = decode(data)
    if number is None:
        number = _number(data[(20 if quoted.version == 4 else 40) + QUOTED :])
    return quoted.tuple, number


def _number(payload: bytes) -> int | None:
    if len(payload) < TAG_LENGTH or not payload.startswith(MAGIC):
        return None
    return int(_TAG.unpack_from(payload)[1])
