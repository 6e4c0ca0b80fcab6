"""One packet as a packet filter sees it: header fields, devices, marks, and what conntrack says of it.

Every field that a rule can test is a plain attribute (numbers and names), so that one table of fields serves
the run of a single packet and the encoding of packet sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from netverify.dataplane.errors import DataplaneError

Address = IPv4Address | IPv6Address

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
PROTOCOL_NUMBERS: Mapping[str, int] = MappingProxyType(
    {
        "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33, "ipv6": 41, "rsvp": 46,
        "gre": 47, "esp": 50, "ipv6-crypt": 50, "ah": 51, "ipv6-auth": 51, "icmpv6": 58, "ipv6-icmp": 58,
        "ospf": 89, "pim": 103, "ipcomp": 108, "vrrp": 112, "sctp": 132, "ipv6-mh": 135, "mh": 135,
        "mobility-header": 135, "udplite": 136,
    }
)  # fmt: skip
"""Names of protocols as iptables knows them (/etc/protocols), and their numbers (IANA)."""

WITH_PORTS = frozenset({TCP, UDP, 33, SCTP, 136})
"""Protocols whose header begins with two ports: tcp, udp, dccp, sctp, udplite."""

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


class State(IntEnum):
    """What conntrack says of a packet (nf_conntrack_common.h); INVALID also where it was never asked."""

    INVALID = 0
    NEW = 1
    ESTABLISHED = 2
    RELATED = 3
    UNTRACKED = 4


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction of a connection: who, to whom, by what.

    For ICMP both ports hold the identifier, and `kind` the type and code, type * 256 + code.
    """

    protocol: int
    source: int
    sport: int
    destination: int
    dport: int
    kind: int = 0

    @property
    def inverse(self) -> Tuple:
        """The other direction: for an ICMP question, that of its answer."""
        kind = self.kind
        if self.protocol in (ICMP, ICMPV6):
            kind = _ANSWERS.get((self.protocol, kind >> 8), kind >> 8) << 8 | kind & 0xFF
        return Tuple(self.protocol, self.destination, self.dport, self.source, self.sport, kind)


_QUESTIONS = {
    (ICMP, 8): 0,
    (ICMP, 13): 14,
    (ICMP, 15): 16,
    (ICMP, 17): 18,
    (ICMPV6, 128): 129,
    (ICMPV6, 139): 140,
}
_ANSWERS = {**_QUESTIONS, **{(protocol, answer): kind for (protocol, kind), answer in _QUESTIONS.items()}}


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet at one moment of its way. Addresses are numbers here; `source_address` gives them back.

    `sport` and `dport` are 0 for protocols without ports; for ICMP echo, `sport` holds the identifier.
    `uid` and `gid` are -1 without a local socket, `mac` is None without an Ethernet header. `embedded` is,
    for an ICMP error, the tuple of the packet that it is about.
    """

    version: int
    source: int
    destination: int
    protocol: int
    sport: int = 0
    dport: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    tcp_flags: int = 0
    in_interface: str = ""
    out_interface: str = ""
    physdev_in: str = ""
    physdev_out: str = ""
    bridged: int = 0
    state: int = State.INVALID
    tracked: int = 0  # 1 when there is a conntrack entry, whose fields are the ct_ ones
    ct_direction: int = 0  # 0 original, 1 reply
    ct_nat: int = 0  # 1 source, 2 destination translated
    ct_seen_reply: int = 0
    ct_protocol: int = 0
    ct_source: int = 0  # of the original direction
    ct_destination: int = 0
    ct_sport: int = 0
    ct_dport: int = 0
    reply_source: int = 0  # of the reply direction
    reply_destination: int = 0
    reply_sport: int = 0
    reply_dport: int = 0
    mark: int = 0
    connmark: int = 0
    length: int = 60
    ttl: int = 64
    tos: int = 0
    fragment: int = 0  # 1 for a fragment that is not the first
    mac: int | None = None
    pkttype: int = 0  # 0 unicast, 1 broadcast, 2 multicast
    uid: int = -1
    gid: int = -1
    reverse_path: int = 2  # 0 no route back, 1 by another device, 2 by the device that it came from
    embedded: Tuple | None = None

    def __post_init__(self) -> None:
        if self.version not in (4, 6):
            raise DataplaneError(f"IP version {self.version}: expected 4 or 6")

    @classmethod
    def of(
        cls,
        source: str | Address,
        destination: str | Address,
        protocol: str | int = "icmp",
        **fields: Any,
    ) -> Packet:
        """A packet in people's words: `Packet.of("10.0.0.2", "10.0.0.3", "tcp", dport=80)`.

        ICMP is an echo request unless `icmp_type` says otherwise; TCP begins a connection (SYN). Raises
        DataplaneError for addresses of two families or an unknown protocol.
        """
        sender, receiver = _address(source), _address(destination)
        if sender.version != receiver.version:
            raise DataplaneError(f"{sender} -> {receiver}: two addresses of different families")
        number = _protocol(protocol, sender.version)
        defaults: dict[str, Any] = {"sport": 40000} if number in WITH_PORTS else {}
        if number == TCP:
            defaults["tcp_flags"] = SYN
        elif number == ICMP:
            defaults |= {"icmp_type": 8, "sport": 1, "length": 84}
        elif number == ICMPV6:
            defaults |= {"icmp_type": 128, "sport": 1, "length": 104}
        return cls(sender.version, int(sender), int(receiver), number, **{**defaults, **fields})

    @property
    def source_address(self) -> Address:
        """The source as an address."""
        return address(self.version, self.source)

    @property
    def destination_address(self) -> Address:
        """The destination as an address."""
        return address(self.version, self.destination)

    @property
    def tuple(self) -> Tuple:
        """What conntrack knows it by."""
        if self.protocol in (ICMP, ICMPV6):
            kind = self.icmp_type << 8 | self.icmp_code
            return Tuple(self.protocol, self.source, self.sport, self.destination, self.sport, kind)
        return Tuple(self.protocol, self.source, self.sport, self.destination, self.dport)

    @property
    def is_icmp_error(self) -> bool:
        """Whether it is an ICMP error about another packet."""
        return self.embedded is not None

    def with_(self, **fields: Any) -> Packet:
        """The packet with other fields. Raises KeyError for a field that packets do not have."""
        values = list(_values(self))
        for name, value in fields.items():
            values[_INDEX[name]] = value
        return Packet(*values)

    def reply(self) -> Packet:
        """What the receiver answers: echo reply, SYN+ACK, a datagram back; with no marks and no devices."""
        flags = SYN | ACK if self.protocol == TCP else 0
        kind = {8: 0, 128: 129}.get(self.icmp_type, 0)
        ports = (self.dport, self.sport) if self.protocol in WITH_PORTS else (self.sport, self.dport)
        return Packet(
            self.version,
            self.destination,
            self.source,
            self.protocol,
            *ports,
            icmp_type=kind,
            tcp_flags=flags,
            length=self.length,
        )

    def __str__(self) -> str:
        ports = self.protocol in WITH_PORTS
        sender, receiver = str(self.source_address), str(self.destination_address)
        if ports:
            bracket = "[{}]" if self.version == 6 else "{}"
            sender = f"{bracket.format(sender)}:{self.sport}"
            receiver = f"{bracket.format(receiver)}:{self.dport}"
        return f"{protocol_name(self.protocol)} {sender} -> {receiver}{self._detail()}"

    def _detail(self) -> str:
        if self.protocol in (ICMP, ICMPV6):
            names = {8: "echo request", 0: "echo reply", 128: "echo request", 129: "echo reply"}
            return f" ({names.get(self.icmp_type, f'type {self.icmp_type} code {self.icmp_code}')})"
        if self.protocol == TCP:
            bits = (("SYN", SYN), ("ACK", ACK), ("RST", RST), ("FIN", FIN))
            return f" ({'+'.join(name for name, bit in bits if self.tcp_flags & bit) or 'no flags'})"
        return ""


_INDEX = {field.name: index for index, field in enumerate(fields(Packet))}
_values = attrgetter(*_INDEX)  # `replace` asks each field by itself, and packets are changed at every step


def address(version: int, number: int) -> Address:
    """A number as an address of that family."""
    return IPv4Address(number) if version == 4 else IPv6Address(number)


def protocol_name(number: int) -> str:
    """The name that iptables gives a protocol, or its number."""
    return _PROTOCOL_NAMES.get(number, str(number))


_PROTOCOL_NAMES = {number: name for name, number in reversed(tuple(PROTOCOL_NUMBERS.items()))}


def _address(given: str | Address) -> Address:
    if not isinstance(given, str):
        return given
    try:
        return ip_address(given)
    except ValueError as error:
        raise DataplaneError(f"{given!r} is not an IP address") from error


def _protocol(given: str | int, version: int) -> int:
    if isinstance(given, int):
        return given
    if given in ("icmp", "icmpv6", "ipv6-icmp"):
        return ICMP if version == 4 else ICMPV6
    if given.isdecimal() and int(given) < 256:
        return int(given)
    if given not in PROTOCOL_NUMBERS:
        raise DataplaneError(f"protocol {given!r}: expected a number or one of {', '.join(PROTOCOL_NUMBERS)}")
    return PROTOCOL_NUMBERS[given]
