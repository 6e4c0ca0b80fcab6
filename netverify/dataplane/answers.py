"""What a host's kernel itself says about a packet: ICMP errors, TCP resets, echo replies.

Sources: net/ipv4/icmp.c (`__icmp_send`, `icmp_reply`), net/ipv6/icmp.c (`icmp6_send`, `icmpv6_echo_reply`),
net/ipv4/tcp_ipv4.c and net/ipv6/tcp_ipv6.c (`tcp_v4_send_reset`), net/ipv4/netfilter/nf_reject_ipv4.c and
its IPv6 twin; RFC 1122, 3.2.2: no error is sent about an ICMP error, a broadcast, a multicast or a later
fragment.
"""

from __future__ import annotations

from dataclasses import replace

from netverify.dataplane.packet import ACK, ICMP, ICMPV6, RST, TCP, UDP, Address, Packet
from netverify.dataplane.routing import Routing
from netverify.dataplane.targets import Reject

DEFAULT_TTL = 64  # net.ipv4.ip_default_ttl, net.ipv6.conf.*.hop_limit

_QUOTED = {4: 576 - 28, 6: 1280 - 48}
"""How many bytes of a packet an ICMP error quotes at most (RFC 1812, 4.3.2.3; RFC 4443, 2.4 c)."""
_INTERNET_CONTROL = 0xC0  # the precedence of IPv4's errors (RFC 1812, 4.3.2.5)
_ECN = 0x03
_TIMESTAMPS = 40  # bytes of a timestamp reply (RFC 792)
_ANSWERED_TYPES = {ICMP: {0, 8, 13, 14, 15, 16, 17, 18}}
_ECHO = {(ICMP, 8): 0, (ICMP, 13): 14, (ICMPV6, 128): 129}
PORT_UNREACHABLE = {4: Reject(3, 3, words="port unreachable"), 6: Reject(1, 4, words="port unreachable")}


def refusal(packet: Packet, reject: Reject, routing: Routing, *, filtered: bool = False) -> Packet | None:
    """What tells the sender that its packet was not wanted; None where nobody may be told.

    `filtered` when a rule said so: its resets do not repeat the packet's type of service.
    """
    if reject.reset:
        return None if _is_for_many(packet, routing) else reset(packet, filtered=filtered)
    return error(packet, reject, routing)


def reset(packet: Packet, *, filtered: bool = False) -> Packet | None:
    """The reset that answers a TCP segment (RFC 9293, 3.5.2); None for a reset."""
    if packet.protocol != TCP or packet.tcp_flags & RST or packet.fragment:
        return None
    flags = RST if packet.tcp_flags & ACK else RST | ACK
    return Packet(
        packet.version,
        packet.destination,
        packet.source,
        TCP,
        packet.dport,
        packet.sport,
        tcp_flags=flags,
        length=40 if packet.version == 4 else 60,
        ttl=DEFAULT_TTL,
        tos=0 if filtered else packet.tos & ~_ECN,
    )


def error(packet: Packet, reject: Reject, routing: Routing) -> Packet | None:
    """The ICMP error about a packet; None where none may be sent, or the host has no address to send from."""
    if packet.fragment or packet.pkttype or _is_error(packet) or not _may_be_told(packet, routing):
        return None
    source = _speaker(packet, routing)
    if source is None:
        return None
    header = 28 if packet.version == 4 else 48
    return Packet(
        packet.version,
        int(source),
        packet.source,
        ICMP if packet.version == 4 else ICMPV6,
        icmp_type=reject.icmp_type,
        icmp_code=reject.icmp_code,
        embedded=packet.tuple,
        length=header + min(packet.length, _QUOTED[packet.version]),
        ttl=DEFAULT_TTL,
        tos=packet.tos & 0x1E | _INTERNET_CONTROL if packet.version == 4 else 0,
    )


def of_host(packet: Packet, routing: Routing) -> Packet | None:
    """What the kernel answers to a packet that is delivered where nobody listens; None where it is silent."""
    if packet.protocol == TCP:
        return None if packet.pkttype or _is_for_many(packet, routing) else reset(packet)
    if packet.protocol == UDP:
        return error(packet, PORT_UNREACHABLE[packet.version], routing)
    kind = _ECHO.get((packet.protocol, packet.icmp_type))
    if kind is None or packet.fragment or not _may_be_told(packet, routing):
        return None
    return replace(
        Packet(
            packet.version,
            packet.destination,
            packet.source,
            packet.protocol,
            packet.sport,
            icmp_type=kind,
            length=_TIMESTAMPS if kind == 14 else packet.length,
            ttl=DEFAULT_TTL,
        ),
        tos=packet.tos,
    )


def _is_error(packet: Packet) -> bool:
    """Whether nothing may be said about an ICMP packet."""
    if packet.protocol == ICMP:
        return packet.icmp_type not in _ANSWERED_TYPES[ICMP]
    return packet.protocol == ICMPV6 and packet.icmp_type < 128


def _may_be_told(packet: Packet, routing: Routing) -> bool:
    """Whether both addresses are one host's (RFC 1122, 3.2.2)."""
    source = packet.source_address
    return not (source.is_multicast or source.is_unspecified or _is_for_many(packet, routing))


def _is_for_many(packet: Packet, routing: Routing) -> bool:
    if packet.destination_address.is_multicast:
        return True
    return routing.lookup(packet.version, packet.destination).kind == "broadcast"


def _speaker(packet: Packet, routing: Routing) -> Address | None:
    """The address that an error comes from: the packet's own destination where it is the host's.

    Else, in IPv4, the one that routing gives a packet to the sender, and in IPv6 one of the device by which
    the packet came in (icmp6_send), unless it is only bridged.
    """
    destination, sender = packet.destination_address, packet.source_address
    if destination in routing.view.local_addresses or (packet.version == 4 and destination.is_loopback):
        return destination
    if packet.version == 6 and packet.in_interface and not packet.bridged:
        return routing.address_of(_device_of(packet, routing), sender)
    decision = routing.lookup(packet.version, packet.source)
    return routing.source_for(decision, sender) if decision.device else None


def _device_of(packet: Packet, routing: Routing) -> str:
    """The device by which a packet came in, as IPv6 sees it.

    A packet from a bridge's port that got a new destination there has been routed already, and counts as come
    in by the device by which it will leave (ip6_rcv_core takes it from the route).
    """
    told = packet.reply_destination if packet.ct_direction else packet.ct_destination
    if packet.physdev_in and packet.tracked and told != packet.destination:
        return routing.decide(packet).device
    return packet.in_interface
