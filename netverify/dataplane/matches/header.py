"""Matches on what stands in a packet's headers: protocol, addresses, devices, ports, flags, ICMP, TTL, TOS.

Sources: iptables(8), iptables-extensions(8); net/ipv4/netfilter/ip_tables.c (ip_packet_match),
net/netfilter/xt_{tcpudp,multiport,sctp,dccp,length,hl,dscp,ecn,iprange}.c of Linux 6.x.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from netverify.dataplane.condition import (
    ALWAYS,
    NEVER,
    AnyOf,
    Condition,
    Masked,
    Named,
    Within,
    all_of,
    equals,
    negated_if,
)
from netverify.dataplane.matches.meaning import (
    Context,
    Meaning,
    NotModelled,
    colon_range,
    network_condition,
    number,
    of_value,
)
from netverify.dataplane.matches.names import (
    DSCP_CLASSES,
    ICMP_NAMES,
    PROTOCOLS,
    SERVICES,
    begins,
    masked_tos,
)
from netverify.dataplane.packet import ICMP, ICMPV6, SCTP, TCP, UDP
from netverify.ruleset import Match, Option

PORTED = (TCP, UDP, 33, SCTP, 136)
"""Protocols with ports that multiport takes: tcp, udp, dccp, sctp, udplite."""

FIRST_FRAGMENT = equals("fragment", 0)

# --- fields of the core ----------------------------------------------------------------------------------


def _source(value: str, context: Context) -> Condition:
    return network_condition("source", value, context.version)


def _destination(value: str, context: Context) -> Condition:
    return network_condition("destination", value, context.version)


def device(field: str, value: str) -> Condition:
    """A device's name, or all that begin so; `+` is every device, and none."""
    if value == "+":
        return ALWAYS
    return Named(field, value.removesuffix("+"), prefix=value.endswith("+"))


def _device(field: str) -> Meaning:
    return of_value(lambda value, _context: device(field, value))


def protocol_number(value: str) -> int:
    """A protocol's number by its number or name, 0 for all of them. Raises NotModelled."""
    name = value.lower()
    if name == "all":
        return 0
    if name[:1].isdigit():
        return number(name, 255)
    if name not in PROTOCOLS:
        raise NotModelled
    return PROTOCOLS[name]


_PASSED_OVER = frozenset({43, 44, 51, 60})
"""Headers of IPv6 that are passed over on the way to the packet's protocol (ipv6_ext_hdr)."""


def _protocol(value: str, context: Context) -> Condition:
    """The protocol; in IPv6 that is what comes after all extension headers, and never one of them."""
    wanted = protocol_number(value)
    if context.version == 6 and wanted in _PASSED_OVER:
        return NEVER
    return equals("protocol", wanted) if wanted else ALWAYS


def _fragment(option: Option, _match: Match, _context: Context) -> Condition:
    """A fragment that is not the first (ip_packet_match)."""
    return negated_if(equals("fragment", 1), option.negated)


# --- ports, flags, ICMP ----------------------------------------------------------------------------------


def port(text: str, top: int = 65535) -> int:
    """A port by its number or its service's name. Raises NotModelled for a name that is not known here."""
    if text[:1].isdigit():
        return number(text, top)
    if text.lower() not in SERVICES:
        raise NotModelled
    return SERVICES[text.lower()]


def _ports(protocol: int, field: str) -> Meaning:
    """`--sport`, `--dport` of a protocol's own match; a later fragment has no ports (xt_tcpudp.c)."""

    def meaning(option: Option, _match: Match, _context: Context) -> Condition:
        ports = Within(field, (colon_range(option.value, 65535, port),))
        return all_of((equals("protocol", protocol), FIRST_FRAGMENT, negated_if(ports, option.negated)))

    return meaning


_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}


def _flags(text: str) -> int:
    if text.lower().startswith("0x"):
        return number(text, 255)
    value = 0
    for name in text.split(","):
        if name.upper() not in _FLAGS:
            raise NotModelled
        value |= _FLAGS[name.upper()]
    return value


def _tcp_flags(option: Option, _match: Match, _context: Context) -> Condition:
    """`--tcp-flags MASK SET`, and `--syn`, which is `FIN,SYN,RST,ACK SYN` (xt_tcpudp.c)."""
    mask, value = (_flags(option.values[0]), _flags(option.values[1])) if option.values else (0x17, 0x02)
    tested = NEVER if value & ~mask else Masked("tcp_flags", value, mask)
    return all_of((equals("protocol", TCP), FIRST_FRAGMENT, negated_if(tested, option.negated)))


def _multiport(*fields: str) -> Meaning:
    """Any of the listed ports or ranges, at the source, the destination, or either (xt_multiport.c)."""

    def meaning(option: Option, _match: Match, _context: Context) -> Condition:
        ranges = tuple(colon_range(part, 65535, port) for part in option.value.split(","))
        ports = AnyOf(tuple(Within(field, ranges) for field in fields))
        return all_of((equals("protocol", *PORTED), FIRST_FRAGMENT, negated_if(ports, option.negated)))

    return meaning


def _icmp(protocol: int) -> Meaning:
    """Type and range of codes; in IPv4 type 255 is any type (ip_tables.c, icmp_type_code_match)."""

    def meaning(option: Option, _match: Match, _context: Context) -> Condition:
        named = begins(ICMP_NAMES[protocol], option.value)
        if named is None:
            kind, slash, code = option.value.partition("/")
            low, high = colon_range(code, 255) if slash else (0, 255)
            named = number(kind, 255), low, high
        kind_number, low, high = named
        tested = all_of((equals("icmp_type", kind_number), Within("icmp_code", ((low, high),))))
        if protocol == ICMP and kind_number == 255:
            tested = ALWAYS
        return all_of((equals("protocol", protocol), FIRST_FRAGMENT, negated_if(tested, option.negated)))

    return meaning


# --- the rest of the header ------------------------------------------------------------------------------


def _iprange(field: str) -> Meaning:
    """Addresses from the first to the last (xt_iprange.c)."""

    def make(value: str, context: Context) -> Condition:
        low, dash, high = value.partition("-")
        first, last = ip_address(low), ip_address(high if dash else low)
        if first.version != context.version or last.version != context.version:
            return NEVER
        return Within(field, ((int(first), int(last)),)) if first <= last else NEVER  # type: ignore[operator]

    return of_value(make)


def _within(field: str, top: int) -> Meaning:
    return of_value(lambda value, _context: Within(field, (colon_range(value.replace("-", ":"), top),)))


def _below(field: str) -> Meaning:
    return of_value(lambda value, _c: Within(field, ((0, number(value) - 1),)) if number(value) else NEVER)


def _above(field: str) -> Meaning:
    return of_value(
        lambda value, _c: Within(field, ((number(value) + 1, 255),)) if number(value) < 255 else NEVER
    )


def _tos(value: str, _context: Context) -> Condition:
    """The whole field under a mask: `tos & mask == value` (tos_mt in xt_dscp.c)."""
    wanted, mask = masked_tos(value)
    if wanted & ~mask:
        return NEVER
    return Masked("tos", wanted, mask) if mask else ALWAYS


def _dscp(value: str, _context: Context) -> Condition:
    """The field's upper six bits (dscp_mt in xt_dscp.c)."""
    return Masked("tos", number(value, 63) << 2, 0xFC)


def _dscp_class(value: str, _context: Context) -> Condition:
    if value.upper() not in DSCP_CLASSES:
        raise NotModelled
    return Masked("tos", DSCP_CLASSES[value.upper()] << 2, 0xFC)


def _ecn_bits(value: str, _context: Context) -> Condition:
    """The field's lower two bits (match_ip in xt_ecn.c)."""
    return Masked("tos", number(value, 3), 0x03)


def _ecn_flag(bit: int) -> Meaning:
    """A flag of the TCP header, ECE or CWR (match_tcp in xt_ecn.c)."""

    def meaning(option: Option, _match: Match, _context: Context) -> Condition:
        tested = Masked("tcp_flags", bit, bit)
        return all_of((equals("protocol", TCP), negated_if(tested, option.negated)))

    return meaning


MEANINGS: Mapping[tuple[str, str], Meaning] = {
    ("source", "source"): of_value(_source),
    ("destination", "destination"): of_value(_destination),
    ("in-interface", "in-interface"): _device("in_interface"),
    ("out-interface", "out-interface"): _device("out_interface"),
    ("protocol", "protocol"): of_value(_protocol),
    ("fragment", "fragment"): _fragment,
    ("ipv4", "ipv4"): lambda _option, _match, context: ALWAYS if context.version == 4 else NEVER,
    ("ipv6", "ipv6"): lambda _option, _match, context: ALWAYS if context.version == 6 else NEVER,
    **{
        (name, f"{side}port"): _ports(protocol, f"{side}port")
        for name, protocol in (("tcp", TCP), ("udp", UDP), ("sctp", SCTP), ("dccp", 33))
        for side in "sd"
    },
    ("tcp", "tcp-flags"): _tcp_flags,
    ("tcp", "syn"): _tcp_flags,
    ("multiport", "sports"): _multiport("sport"),
    ("multiport", "dports"): _multiport("dport"),
    ("multiport", "ports"): _multiport("sport", "dport"),
    ("icmp", "icmp-type"): _icmp(ICMP),
    ("icmp6", "icmpv6-type"): _icmp(ICMPV6),
    ("iprange", "src-range"): _iprange("source"),
    ("iprange", "dst-range"): _iprange("destination"),
    ("length", "length"): _within("length", 65535),
    **{(name, f"{name}-eq"): _within("ttl", 255) for name in ("ttl", "hl")},
    **{(name, f"{name}-lt"): _below("ttl") for name in ("ttl", "hl")},
    **{(name, f"{name}-gt"): _above("ttl") for name in ("ttl", "hl")},
    ("tos", "tos"): of_value(_tos),
    ("dscp", "dscp"): of_value(_dscp),
    ("dscp", "dscp-class"): of_value(_dscp_class),
    ("ecn", "ecn-ip-ect"): of_value(_ecn_bits),
    ("ecn", "ecn-tcp-ece"): _ecn_flag(0x40),
    ("ecn", "ecn-tcp-cwr"): _ecn_flag(0x80),
}
"""What (extension, option) tests."""
