"""What each match of a rule means, as a condition. One table, from extension and option to a function.

Sources: iptables-extensions(8) and net/netfilter/xt_*.c, net/ipv{4,6}/netfilter/*.c of Linux 6.x. A match or
an option that has no entry here becomes an unknown; nothing is guessed and nothing dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from netverify.dataplane.condition import (
    ALWAYS,
    NEVER,
    AnyOf,
    Condition,
    Masked,
    Named,
    Not,
    Unknown,
    Within,
    all_of,
    equals,
    negated_if,
)
from netverify.dataplane.packet import ICMP, ICMPV6, PROTOCOL_NUMBERS, SCTP, TCP, UDP, State
from netverify.dataplane.view import HostView
from netverify.ruleset import Match, Option, Rule


@dataclass(frozen=True, slots=True)
class Context:
    """Where a match stands: family, host and the rule's place (for unknowns that are a rule's own)."""

    version: int
    host: HostView
    place: str = ""


class NotModelled(Exception):
    """An option or a value that has no meaning here; it becomes an unknown and never leaves this module."""


Meaning = Callable[[Option, Match, Context], Condition]


def compile_match(match: Match, context: Context) -> Condition:
    """The condition that a match is; unknown where this module does not know its meaning."""
    if not match.options:
        return _bare(match)
    if not any((match.name, option.name) in MEANINGS for option in match.options):
        return _unknown(match, context)
    return all_of(_option(option, match, context) for option in match.options)


def text_of(match: Match) -> str:
    """A match in the words of iptables-save."""
    return Rule("X", (match,)).render().removeprefix("-A X ")


def _bare(match: Match) -> Condition:
    """An extension without options: for a protocol's own, the protocol that `-p` tests anyway."""
    if match.name == "rpfilter":
        return equals("reverse_path", 2)
    return ALWAYS if match.name in _WITHOUT_OPTIONS else Unknown(text_of(match), match.name == "limit")


def _option(option: Option, match: Match, context: Context) -> Condition:
    meaning = MEANINGS.get((match.name, option.name))
    if meaning is not None:
        try:
            return meaning(option, match, context)
        except (NotModelled, ValueError):
            pass
    return Unknown(text_of(Match(match.name, (option,))), option.negated)


def _unknown(match: Match, context: Context) -> Condition:
    """A match of which nothing is modelled: one unknown, and its rule's own where the match keeps count."""
    usual = any((match.name, option.name) in USUAL for option in match.options)
    usual = usual != any(option.negated for option in match.options)
    own = f" ({context.place})" if match.name in STATEFUL and context.place else ""
    return Unknown(text_of(match) + own, usual)


# --- numbers, ranges, addresses --------------------------------------------------------------------


def _number(text: str) -> int:
    return int(text, 16) if text.lower().startswith("0x") else int(text)


def _range(text: str, top: int) -> tuple[int, int]:
    low, colon, high = text.partition(":")
    if not colon:
        return _number(low), _number(low)
    return (_number(low) if low else 0), (_number(high) if high else top)


def _ranges(text: str, top: int) -> tuple[tuple[int, int], ...]:
    return tuple(_range(part, top) for part in text.split(","))


def network_condition(field: str, text: str, version: int) -> Condition:
    """An address, a network or an address with a dotted netmask, as a condition on a field."""
    bits = 32 if version == 4 else 128
    base, slash, mask = text.partition("/")
    address = ip_address(base)
    if address.version != version:
        return NEVER
    if not slash:
        value = (1 << bits) - 1
    elif mask.isdecimal():
        if int(mask) > bits:
            raise ValueError(text)
        value = ((1 << int(mask)) - 1) << (bits - int(mask))
    else:
        value = int(ip_address(mask))
    return Masked(field, int(address) & value, value) if value else ALWAYS


def in_networks(field: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> Condition:
    """A field lies in one of the networks."""
    return AnyOf(tuple(Masked(field, int(n.network_address), int(n.netmask)) for n in networks))


def _of_value(make: Callable[[str, Context], Condition]) -> Meaning:
    """A meaning that only depends on the value, and that `!` turns around."""
    return lambda option, _match, context: negated_if(make(option.value, context), option.negated)


# --- fields of the core ----------------------------------------------------------------------------


def _source(value: str, context: Context) -> Condition:
    return network_condition("source", value, context.version)


def _destination(value: str, context: Context) -> Condition:
    return network_condition("destination", value, context.version)


def _device(field: str) -> Meaning:
    def make(value: str, _context: Context) -> Condition:
        if value == "+":
            return ALWAYS
        return Named(field, value.removesuffix("+"), prefix=value.endswith("+"))

    return _of_value(make)


def _protocol(value: str, _context: Context) -> Condition:
    name = value.lower()
    if name in ("all", "0"):
        return ALWAYS
    number = int(name) if name.isdecimal() else PROTOCOL_NUMBERS.get(name)
    if number is None:
        raise NotModelled
    return equals("protocol", number)


# --- ports, flags, ICMP ----------------------------------------------------------------------------


def _ports(protocol: int, field: str) -> Meaning:
    """`--sport`, `--dport` of a protocol's own match; a later fragment has no ports (xt_tcpudp.c)."""

    def meaning(option: Option, _match: Match, _context: Context) -> Condition:
        ports = Within(field, (_range(option.value, 65535),))
        first = equals("fragment", 0)
        return all_of((equals("protocol", protocol), first, negated_if(ports, option.negated)))

    return meaning


_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}


def _flags(text: str) -> int:
    if text.lower().startswith("0x"):
        return int(text, 16)
    value = 0
    for name in text.split(","):
        if name.upper() not in _FLAGS:
            raise NotModelled
        value |= _FLAGS[name.upper()]
    return value


def _tcp_flags(option: Option, _match: Match, _context: Context) -> Condition:
    mask, value = (_flags(option.values[0]), _flags(option.values[1])) if option.values else (0x17, 0x02)
    tested = Masked("tcp_flags", value, mask)
    return all_of((equals("protocol", TCP), equals("fragment", 0), negated_if(tested, option.negated)))


_PORTED = (TCP, UDP, 33, SCTP, 136)


def _multiport(*fields: str) -> Meaning:
    """Any of the listed ports or ranges, at the source, the destination, or either (xt_multiport.c)."""

    def meaning(option: Option, _match: Match, _context: Context) -> Condition:
        ranges = _ranges(option.value, 65535)
        ports = AnyOf(tuple(Within(field, ranges) for field in fields))
        first = equals("fragment", 0)
        return all_of((equals("protocol", *_PORTED), first, negated_if(ports, option.negated)))

    return meaning


_ICMP_NAMES: Mapping[int, Mapping[str, tuple[int, int, int]]] = {
    ICMP: {
        "any": (255, 0, 255), "echo-reply": (0, 0, 255), "pong": (0, 0, 255),
        "destination-unreachable": (3, 0, 255), "network-unreachable": (3, 0, 0),
        "host-unreachable": (3, 1, 1),
        "protocol-unreachable": (3, 2, 2), "port-unreachable": (3, 3, 3), "fragmentation-needed": (3, 4, 4),
        "source-route-failed": (3, 5, 5), "network-prohibited": (3, 9, 9), "host-prohibited": (3, 10, 10),
        "communication-prohibited": (3, 13, 13), "source-quench": (4, 0, 255), "redirect": (5, 0, 255),
        "echo-request": (8, 0, 255), "ping": (8, 0, 255), "router-advertisement": (9, 0, 255),
        "router-solicitation": (10, 0, 255), "time-exceeded": (11, 0, 255), "ttl-exceeded": (11, 0, 255),
        "ttl-zero-during-transit": (11, 0, 0), "ttl-zero-during-reassembly": (11, 1, 1),
        "parameter-problem": (12, 0, 255), "timestamp-request": (13, 0, 255), "timestamp-reply": (14, 0, 255),
        "address-mask-request": (17, 0, 255), "address-mask-reply": (18, 0, 255),
    },
    ICMPV6: {
        "destination-unreachable": (1, 0, 255), "no-route": (1, 0, 0), "communication-prohibited": (1, 1, 1),
        "address-unreachable": (1, 3, 3), "port-unreachable": (1, 4, 4), "packet-too-big": (2, 0, 255),
        "time-exceeded": (3, 0, 255), "ttl-exceeded": (3, 0, 255), "parameter-problem": (4, 0, 255),
        "echo-request": (128, 0, 255), "ping": (128, 0, 255), "echo-reply": (129, 0, 255),
        "pong": (129, 0, 255), "router-solicitation": (133, 0, 255), "router-advertisement": (134, 0, 255),
        "neighbour-solicitation": (135, 0, 255), "neighbor-solicitation": (135, 0, 255),
        "neighbour-advertisement": (136, 0, 255), "neighbor-advertisement": (136, 0, 255),
        "redirect": (137, 0, 255),
    },
}  # fmt: skip


def _icmp(protocol: int) -> Meaning:
    """Type and range of codes; in IPv4 type 255 is any type (ip_tables.c, icmp_type_code_match)."""

    def meaning(option: Option, _match: Match, _context: Context) -> Condition:
        named = _ICMP_NAMES[protocol].get(option.value.lower())
        if named is None:
            kind, slash, code = option.value.partition("/")
            low, high = _range(code, 255) if slash else (0, 255)
            named = int(kind), low, high
        kind_number, low, high = named
        tested = all_of((equals("icmp_type", kind_number), Within("icmp_code", ((low, high),))))
        if protocol == ICMP and kind_number == 255:
            tested = ALWAYS
        return all_of(
            (equals("protocol", protocol), equals("fragment", 0), negated_if(tested, option.negated))
        )

    return meaning


# --- connection tracking ---------------------------------------------------------------------------

_STATES = {state.name: int(state) for state in State}


def _states(value: str, _context: Context) -> Condition:
    """States, and the virtual ones SNAT and DNAT (xt_conntrack.c)."""
    parts: list[Condition] = []
    for name in value.upper().split(","):
        if name in _STATES:
            parts.append(equals("state", _STATES[name]))
        elif name in ("SNAT", "DNAT"):
            bit = 1 if name == "SNAT" else 2
            parts.append(all_of((equals("tracked", 1), Masked("ct_nat", bit, bit))))
        else:
            raise NotModelled
    return AnyOf(tuple(parts))


def _of_connection(make: Callable[[str, Context], Condition]) -> Meaning:
    """A property of the connection: without one it does not match, negated or not (xt_conntrack.c).

    But where the match also tests the state, that alone decides for packets without a connection.
    """

    def meaning(option: Option, match: Match, context: Context) -> Condition:
        tested = negated_if(make(option.value, context), option.negated)
        if match.option("ctstate") is not None:
            return AnyOf((equals("tracked", 0), tested))
        return all_of((equals("tracked", 1), tested))

    return meaning


def _ct_address(field: str) -> Meaning:
    return _of_connection(lambda value, context: network_condition(field, value, context.version))


def _ct_port(field: str) -> Meaning:
    return _of_connection(lambda value, _context: Within(field, (_range(value, 65535),)))


def _ct_protocol(value: str, context: Context) -> Condition:
    condition = _protocol(value, context)
    return equals("ct_protocol", condition.ranges[0][0]) if isinstance(condition, Within) else condition


def _ct_direction(value: str, _context: Context) -> Condition:
    return equals("ct_direction", {"ORIGINAL": 0, "REPLY": 1}[value.upper()])


def _ct_status(value: str, _context: Context) -> Condition:
    if value.upper() != "SEEN_REPLY":
        raise NotModelled
    return equals("ct_seen_reply", 1)


def _mark(field: str) -> Callable[[str, Context], Condition]:
    def make(value: str, _context: Context) -> Condition:
        wanted, slash, mask = value.partition("/")
        bits = _number(mask) if slash else 0xFFFFFFFF
        if _number(wanted) & ~bits:
            return NEVER
        return Masked(field, _number(wanted), bits) if bits else ALWAYS

    return make


# --- the rest --------------------------------------------------------------------------------------


def _addrtype(field: str) -> Meaning:
    """Types of addresses on this host (xt_addrtype.c): what its routing table says of them."""

    def make(value: str, context: Context) -> Condition:
        local = in_networks(field, context.host.local_networks(context.version))
        broadcast = in_networks(field, context.host.broadcasts() if context.version == 4 else ())
        multicast = network_condition(
            field, "224.0.0.0/4" if context.version == 4 else "ff00::/8", context.version
        )
        refused = {
            kind.upper(): in_networks(
                field,
                tuple(
                    route.destination
                    for route in context.host.routes
                    if route.kind == kind and route.destination.version == context.version
                ),
            )
            for kind in ("blackhole", "unreachable", "prohibit")
        }
        special: dict[str, Condition] = {
            "LOCAL": local,
            "BROADCAST": broadcast,
            "MULTICAST": multicast,
            "UNSPEC": equals(field, 0),
            **refused,
        }
        special["UNICAST"] = Not(AnyOf(tuple(special.values())))
        names = value.upper().split(",")
        if any(name not in special for name in names):
            raise NotModelled
        return AnyOf(tuple(special[name] for name in names))

    return _of_value(make)


def _mac(option: Option, _match: Match, _context: Context) -> Condition:
    """The sender's Ethernet address; without an Ethernet header it never matches (xt_mac.c)."""
    number = int(option.value.replace(":", ""), 16)
    tested = equals("mac", number)
    return all_of((Within("mac", ((0, (1 << 48) - 1),)), negated_if(tested, option.negated)))


def _iprange(field: str) -> Meaning:
    def make(value: str, _context: Context) -> Condition:
        low, dash, high = value.partition("-")
        return Within(field, ((int(ip_address(low)), int(ip_address(high if dash else low))),))

    return _of_value(make)


def _within(field: str, top: int) -> Meaning:
    return _of_value(lambda value, _context: Within(field, (_range(value.replace("-", ":"), top),)))


def _below(field: str) -> Meaning:
    return _of_value(
        lambda value, _context: Within(field, ((0, _number(value) - 1),)) if _number(value) else NEVER
    )


def _above(field: str) -> Meaning:
    return _of_value(lambda value, _context: Within(field, ((_number(value) + 1, 255),)))


def _owner(field: str) -> Meaning:
    """The user or group of the local socket; a packet without one has -1 (xt_owner.c)."""

    def make(value: str, _context: Context) -> Condition:
        low, dash, high = value.partition("-")
        return Within(field, ((int(low), int(high if dash else low)),))

    return _of_value(make)


def _pkttype(value: str, _context: Context) -> Condition:
    return equals("pkttype", {"unicast": 0, "broadcast": 1, "multicast": 2}[value.lower()])


def _set(option: Option, match: Match, context: Context) -> Condition:
    """Sets of addresses and networks whose members are known."""
    name, directions = option.values
    if name not in context.host.sets or directions not in ("src", "dst") or len(match.options) != 1:
        raise NotModelled
    field = "source" if directions == "src" else "destination"
    members = tuple(n for n in context.host.sets[name] if n.version == context.version)
    return negated_if(in_networks(field, members), option.negated)


def _policy(option: Option, match: Match, _context: Context) -> Condition:
    """IPsec policies: no packet here was ever under one."""
    chosen = match.option("pol")
    if option.name == "dir" or chosen is None:
        return ALWAYS
    return ALWAYS if (chosen.value == "none") != chosen.negated else NEVER


def _rpfilter(option: Option, match: Match, _context: Context) -> Condition:
    """Whether the way back leads out where the packet came in (xt_rpfilter); all options decide as one."""
    if match.options[0] is not option:
        return ALWAYS
    names = {each.name for each in match.options}
    if "validmark" in names or "accept-local" in names:
        raise NotModelled
    passed = Within("reverse_path", ((1 if "loose" in names else 2, 2),))
    return negated_if(passed, "invert" in names)


def _recent(option: Option, match: Match, context: Context) -> Condition:
    """`--set` always matches; whether an address is listed already is unknown, usually not (xt_recent.c)."""
    if option.name == "set":
        return negated_if(ALWAYS, option.negated)
    if option.name in ("rcheck", "update", "remove"):
        return Unknown(f"{text_of(match)} ({context.place})", option.negated)
    return ALWAYS


def _always(_option: Option, _match: Match, _context: Context) -> Condition:
    return ALWAYS


def _flag(field: str) -> Meaning:
    return lambda option, _match, _context: negated_if(equals(field, 1), option.negated)


def _has_device(field: str) -> Meaning:
    return lambda option, _match, _context: negated_if(Not(Named(field, "")), option.negated)


MEANINGS: Mapping[tuple[str, str], Meaning] = {
    ("source", "source"): _of_value(_source),
    ("destination", "destination"): _of_value(_destination),
    ("in-interface", "in-interface"): _device("in_interface"),
    ("out-interface", "out-interface"): _device("out_interface"),
    ("protocol", "protocol"): _of_value(_protocol),
    ("fragment", "fragment"): _flag("fragment"),
    ("ipv4", "ipv4"): lambda _option, _match, context: ALWAYS if context.version == 4 else NEVER,
    ("ipv6", "ipv6"): lambda _option, _match, context: ALWAYS if context.version == 6 else NEVER,
    **{
        (name, f"{side}port"): _ports(number, f"{side}port")
        for name, number in (("tcp", TCP), ("udp", UDP), ("sctp", SCTP), ("dccp", 33))
        for side in "sd"
    },
    ("tcp", "tcp-flags"): _tcp_flags,
    ("tcp", "syn"): _tcp_flags,
    ("multiport", "sports"): _multiport("sport"),
    ("multiport", "dports"): _multiport("dport"),
    ("multiport", "ports"): _multiport("sport", "dport"),
    ("icmp", "icmp-type"): _icmp(ICMP),
    ("icmp6", "icmpv6-type"): _icmp(ICMPV6),
    ("state", "state"): _of_value(_states),
    ("conntrack", "ctstate"): _of_value(_states),
    ("conntrack", "ctproto"): _of_connection(_ct_protocol),
    ("conntrack", "ctdir"): _of_connection(_ct_direction),
    ("conntrack", "ctstatus"): _of_connection(_ct_status),
    ("conntrack", "ctorigsrc"): _ct_address("ct_source"),
    ("conntrack", "ctorigdst"): _ct_address("ct_destination"),
    ("conntrack", "ctreplsrc"): _ct_address("reply_source"),
    ("conntrack", "ctrepldst"): _ct_address("reply_destination"),
    ("conntrack", "ctorigsrcport"): _ct_port("ct_sport"),
    ("conntrack", "ctorigdstport"): _ct_port("ct_dport"),
    ("conntrack", "ctreplsrcport"): _ct_port("reply_sport"),
    ("conntrack", "ctrepldstport"): _ct_port("reply_dport"),
    ("mark", "mark"): _of_value(_mark("mark")),
    ("connmark", "mark"): _of_connection(_mark("connmark")),
    ("addrtype", "src-type"): _addrtype("source"),
    ("addrtype", "dst-type"): _addrtype("destination"),
    ("mac", "mac-source"): _mac,
    ("iprange", "src-range"): _iprange("source"),
    ("iprange", "dst-range"): _iprange("destination"),
    ("length", "length"): _within("length", 65535),
    ("ttl", "ttl-eq"): _within("ttl", 255),
    ("ttl", "ttl-lt"): _below("ttl"),
    ("ttl", "ttl-gt"): _above("ttl"),
    ("hl", "hl-eq"): _within("ttl", 255),
    ("hl", "hl-lt"): _below("ttl"),
    ("hl", "hl-gt"): _above("ttl"),
    ("owner", "uid-owner"): _owner("uid"),
    ("owner", "gid-owner"): _owner("gid"),
    ("pkttype", "pkt-type"): _of_value(_pkttype),
    ("physdev", "physdev-in"): _device("physdev_in"),
    ("physdev", "physdev-out"): _device("physdev_out"),
    ("physdev", "physdev-is-in"): _has_device("physdev_in"),
    ("physdev", "physdev-is-out"): _has_device("physdev_out"),
    ("physdev", "physdev-is-bridged"): _flag("bridged"),
    ("set", "match-set"): _set,
    ("policy", "dir"): _policy,
    ("policy", "pol"): _policy,
    **{("rpfilter", name): _rpfilter for name in ("loose", "validmark", "accept-local", "invert")},
    **{
        ("recent", name): _recent
        for name in ("set", "rcheck", "update", "remove", "seconds", "reap", "hitcount", "rttl", "name")
    },
    **{("recent", name): _recent for name in ("mask", "rsource", "rdest")},
    # No packet here carries a routing header (RFC 8200, 4.4).
    **{("rt", name): lambda _o, _m, _c: NEVER for name in ("rt-type", "rt-segsleft", "rt-len")},
    ("comment", "comment"): _always,
}
"""What (extension, option) tests. Options of one match must all hold."""


_WITHOUT_OPTIONS = frozenset({"tcp", "udp", "sctp", "dccp", "icmp", "icmp6", "comment"})

STATEFUL = frozenset({"limit", "hashlimit", "connlimit", "statistic", "quota", "recent", "connbytes"})
"""Matches that keep count: two rules with the same words can decide differently."""

USUAL = frozenset(
    {("limit", "limit"), ("hashlimit", "hashlimit-upto"), ("connlimit", "connlimit-upto"), ("quota", "quota")}
)
"""Unknowns whose sensible reading is that they match: a rate or a number that is not exceeded."""
