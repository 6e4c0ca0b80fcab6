"""Which captured packets belong to one flow, however its addresses were rewritten on the way.

Addresses and ports are what NAT changes, so a flow is known by what NAT leaves alone:

========================  ==============================  =====================================
key                       known by                        request, reply
========================  ==============================  =====================================
`Echo(id, sequence)`      both numbers                    ICMP type: echo request, echo reply
`Nonce(data)`             bytes in the payload            ICMP type; UDP and TCP: by the client's end
`Handshake(port)`         TCP's initial sequence number   SYN; what acknowledges it
========================  ==============================  =====================================

NAT may give an echo another identifier when two clients use the same one (nf_nat_core.c); where that can
happen, use a `Nonce`. NAT leaves TCP's sequence numbers alone, so a SYN is recognised although its source
port may change. An ICMP error belongs to the flow whose request it quotes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

from netverify.kernel.capture import Frame
from netverify.reachability.flow import Leg, TransportAddress

if TYPE_CHECKING:
    from scapy.packet import Packet

_ECHO_LEGS = {(4, 8): Leg.REQUEST, (4, 0): Leg.REPLY, (6, 128): Leg.REQUEST, (6, 129): Leg.REPLY}
_ERROR_TYPES = {(4, 3), (4, 4), (4, 5), (4, 11), (4, 12), (6, 1), (6, 2), (6, 3), (6, 4)}  # RFC 792, RFC 4443


@dataclass(frozen=True)
class TcpNumbers:
    """The part of a TCP header that identifies a handshake (RFC 9293)."""

    syn: bool
    ack: bool
    rst: bool
    sequence: int
    acknowledged: int


@dataclass(frozen=True)
class Header:
    """What of one packet matters for recognising its flow.

    `leg` is what the packet says of itself (ICMP types), None where only the flow's other packets tell.
    `tunnel` are the outer addresses of a packet that travels inside another, `quoted` the packet that an
    ICMP error is about, and `summary` says in words what an ICMP error says.
    """

    source: TransportAddress
    destination: TransportAddress
    payload: bytes
    leg: Leg | None = None
    identifier: int | None = None
    sequence: int | None = None
    tcp: TcpNumbers | None = None
    tunnel: str = ""
    quoted: Header | None = None
    summary: str = ""


class FlowKey(Protocol):
    """How the packets of one flow are told from all others."""

    def may_be_in(self, data: bytes) -> bool:
        """A quick look at a raw packet: False where it cannot belong to the flow."""
        ...

    def legs(self, headers: Sequence[Header]) -> list[Leg | None]:
        """For each packet, in order of time over all points: its part in the flow, None for a stranger."""
        ...


@dataclass(frozen=True)
class Echo:
    """An ICMP or ICMPv6 echo, by identifier and sequence number."""

    identifier: int
    sequence: int

    def may_be_in(self, data: bytes) -> bool:
        """See FlowKey."""
        return struct.pack("!HH", self.identifier, self.sequence) in data

    def legs(self, headers: Sequence[Header]) -> list[Leg | None]:
        """See FlowKey."""
        return [header.leg if self._is_mine(header.quoted or header) else None for header in headers]

    def _is_mine(self, header: Header) -> bool:
        return (header.identifier, header.sequence) == (self.identifier, self.sequence)

    def __str__(self) -> str:
        return f"ICMP echo id {self.identifier} seq {self.sequence}"


@dataclass(frozen=True)
class Nonce:
    """Any packet with these bytes in its payload; a reply is known because it echoes them.

    Eight bytes or more from `os.urandom` do not occur by accident; fewer than four are refused.
    """

    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) < 4:
            raise ValueError(
                f"a nonce of {len(self.data)} bytes occurs by accident; use at least 4, better 8"
            )

    def may_be_in(self, data: bytes) -> bool:
        """See FlowKey."""
        return self.data in data

    def legs(self, headers: Sequence[Header]) -> list[Leg | None]:
        """See FlowKey. A UDP or TCP packet is a reply when it goes to where a request came from."""
        clients: set[TransportAddress] = set()
        result: list[Leg | None] = []
        for header in headers:
            leg = None
            if self.data in header.payload:  # of an ICMP error, that is what it quotes
                leg = header.leg or (Leg.REPLY if header.destination in clients else Leg.REQUEST)
                if leg is Leg.REQUEST:
                    clients.add(header.source)
            result.append(leg)
        return result

    def __str__(self) -> str:
        return f"packets with nonce {self.data.hex()}"


@dataclass(frozen=True)
class Handshake:
    """A TCP handshake, by the client's own port: its SYN, and the SYN-ACK or RST that answers it.

    Needs a point where the SYN passes before its source port is rewritten, such as the client's interface.
    """

    port: int

    def may_be_in(self, data: bytes) -> bool:  # noqa: ARG002 - the number to look for is not known yet
        """See FlowKey."""
        return True

    def legs(self, headers: Sequence[Header]) -> list[Leg | None]:
        """See FlowKey."""
        ours = {h.tcp.sequence for h in headers if h.tcp and _opens(h.tcp) and h.source.port == self.port}
        return [self._leg(header, ours) for header in headers]

    @staticmethod
    def _leg(header: Header, ours: set[int]) -> Leg | None:
        if header.quoted is not None:
            quoted = header.quoted.tcp
            return Leg.ERROR if quoted and quoted.sequence in ours else None
        if header.tcp is None:
            return None
        if _opens(header.tcp):
            return Leg.REQUEST if header.tcp.sequence in ours else None
        answers = header.tcp.ack and (header.tcp.syn or header.tcp.rst)
        return Leg.REPLY if answers and (header.tcp.acknowledged - 1) % 2**32 in ours else None

    def __str__(self) -> str:
        return f"TCP handshake from port {self.port}"


def _opens(tcp: TcpNumbers) -> bool:
    return tcp.syn and not tcp.ack


def read_header(frame: Frame) -> Header | None:
    """What matters of a captured packet; None where it is not IP. Of a tunnelled packet, the inner one."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    # Not isinstance: what an ICMP error quotes (IPerror) is a subclass, and no packet of its own.
    layers: list[Packet] = [layer for layer in frame.decoded.iterpayloads() if type(layer) in (IP, IPv6)]
    if not layers:
        return None
    outer = " in ".join(f"{layer.src} -> {layer.dst}" for layer in layers[-2::-1])
    return _header(layers[-1], tunnel=f"tunnelled in {outer}" if outer else "")


def _header(ip: Packet, tunnel: str = "") -> Header:
    from scapy.layers.inet import ICMP, TCP, UDP
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6EchoReply,
        ICMPv6EchoRequest,
        ICMPv6PacketTooBig,
        ICMPv6ParamProblem,
        ICMPv6TimeExceeded,
    )

    icmp = (
        ICMP,
        ICMPv6EchoRequest,
        ICMPv6EchoReply,
        ICMPv6DestUnreach,
        ICMPv6PacketTooBig,
        ICMPv6TimeExceeded,
        ICMPv6ParamProblem,
    )
    header = Header(
        TransportAddress(ip_address(ip.src)),
        TransportAddress(ip_address(ip.dst)),
        ip.payload.original,
        tunnel=tunnel,
    )
    for layer in ip.payload.iterpayloads():  # over IPv6 extension headers, if any
        if isinstance(layer, TCP | UDP):
            return _with_ports(header, layer, layer if isinstance(layer, TCP) else None)
        if isinstance(layer, icmp):
            return _with_icmp(header, layer)
    return header


def _with_ports(header: Header, upper: Packet, tcp: Packet | None) -> Header:
    numbers = None
    if tcp is not None:
        flags = str(tcp.flags or "")  # an ICMP error may quote no more than ports and sequence number
        numbers = TcpNumbers("S" in flags, "A" in flags, "R" in flags, tcp.seq, tcp.ack or 0)
    return replace(
        header,
        source=replace(header.source, port=upper.sport),
        destination=replace(header.destination, port=upper.dport),
        tcp=numbers,
    )


def _with_icmp(header: Header, icmp: Packet) -> Header:
    from scapy.layers.inet import IPerror
    from scapy.layers.inet6 import IPerror6

    kind = (header.source.host.version, int(icmp.type))
    if kind in _ECHO_LEGS:
        return replace(header, leg=_ECHO_LEGS[kind], identifier=icmp.id, sequence=icmp.seq)
    if kind in _ERROR_TYPES and isinstance(icmp.payload, IPerror | IPerror6):
        quoted = _header(icmp.payload)
        words = icmp.sprintf("{0}.type% {0}.code%".format(f"%{type(icmp).__name__}"))
        summary = f"{words}, about {quoted.source} -> {quoted.destination}"
        return replace(header, leg=Leg.ERROR, quoted=quoted, summary=summary)
    return header
