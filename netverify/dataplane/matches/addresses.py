"""Matches on what a host's addresses and routes say of an address: addrtype, rpfilter.

Sources: net/netfilter/xt_addrtype.c, net/ipv4/fib_frontend.c (__inet_dev_addr_type), net/ipv6/addrconf_core.c
(__ipv6_addr_type), net/ipv{4,6}/netfilter/ip{,6}t_rpfilter.c of Linux 6.x.

The two families differ a lot. IPv4 asks the table `local` alone, so that routes of the table `main` give no
type: an address behind a blackhole is UNICAST, and the types of refusing routes never occur. IPv6 asks the
whole routing, and of several types in one option, those that an address has by itself (UNICAST, MULTICAST,
UNSPEC) must all hold, together with one of LOCAL, ANYCAST and UNREACHABLE, where some of these are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from itertools import groupby

from netverify.dataplane.condition import (
    NEVER,
    All,
    AnyOf,
    Condition,
    Named,
    Not,
    Unknown,
    Within,
    all_of,
    equals,
    negated_if,
)
from netverify.dataplane.matches.meaning import Context, NotModelled, in_networks, network_condition, text_of
from netverify.dataplane.view import DEFAULT, DEFAULT_RULES, LOCAL, LOOPBACK, MAIN, HostView
from netverify.ruleset import Match, Option

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Known:
    """What a routing table says of a network: a kind, and the device of its route."""

    network: Network
    kind: str
    device: str


def longest(field: str, entries: Iterable[Known], wanted: frozenset[Known]) -> Condition:
    """The most specific entry for an address is one of `wanted`."""
    ordered = sorted(entries, key=lambda entry: entry.network.prefixlen)
    made: Condition = NEVER
    before: list[Network] = []
    for _length, group in groupby(ordered, key=lambda entry: entry.network.prefixlen):
        same = list(group)
        inside = [e.network for e in same if e in wanted]
        taken = [e.network for e in same if e not in wanted and _within_some(e.network, before)]
        if taken:
            made = All((made, Not(in_networks(field, taken))))
        if inside:
            more = in_networks(field, inside)
            made = more if made == NEVER else AnyOf((made, more))
        before += inside
    return made


def _by_device(
    device: str, field: str, table: tuple[Known, ...], wanted: frozenset[Known]
) -> Iterator[Condition]:
    """For each device: it is the packet's, and the most specific entry is a wanted one of its own."""
    own: dict[str, list[Condition]] = {}
    for entry in table:
        if entry in wanted:
            own.setdefault(entry.device, []).append(_this_one(field, entry, table))
    for name, parts in own.items():
        yield All((Named(device, name), AnyOf(tuple(parts))))


def _this_one(field: str, entry: Known, table: tuple[Known, ...]) -> Condition:
    """The most specific entry is this one."""
    length = entry.network.prefixlen
    here = in_networks(field, (entry.network,))
    if length == entry.network.max_prefixlen:
        return here
    longer = (other.network for other in table if other.network.prefixlen > length)
    inside = [network for network in longer if _within_some(network, [entry.network])]
    return All((here, Not(in_networks(field, inside)))) if inside else here


def _within_some(network: Network, others: list[Network]) -> bool:
    return any(network.subnet_of(other) for other in others if other.version == network.version)  # type: ignore[arg-type]


# --- addrtype --------------------------------------------------------------------------------------------

_NEVER_IN_IPV4 = frozenset({"UNSPEC", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE"})
"""The lookup of such routes fails, or gives another type (fib_props in net/ipv4/fib_semantics.c)."""
_ROUTED_IN_IPV4 = frozenset({"LOCAL", "BROADCAST", "ANYCAST", "MULTICAST"})
_STATIC_IN_IPV6 = frozenset({"UNICAST", "MULTICAST", "UNSPEC"})
_LOOKED_UP_IN_IPV6 = frozenset({"LOCAL", "ANYCAST", "UNREACHABLE"})


def addrtype(match: Match, context: Context) -> Condition:
    """Types of the source and the destination, perhaps only as far as one device knows them."""
    limit = "in_interface" if match.option("limit-iface-in") else ""
    limit = "out_interface" if match.option("limit-iface-out") else limit
    parts = []
    for name, field in (("src-type", "source"), ("dst-type", "destination")):
        option = match.option(name)
        if option is not None:
            parts.append(_typed(option, field, limit, match, context))
    return all_of(parts)


def _typed(option: Option, field: str, limit: str, match: Match, context: Context) -> Condition:
    names = frozenset(option.value.upper().split(","))
    try:
        make = _types4 if context.version == 4 else _types6
        return negated_if(make(names, field, limit, context), option.negated)
    except NotModelled:
        limits = [each for each in match.options if each.name.startswith("limit")]
        return Unknown(text_of(Match(match.name, (option, *limits))), option.negated)


def _types4(names: frozenset[str], field: str, limit: str, context: Context) -> Condition:
    if names - _NEVER_IN_IPV4 - _ROUTED_IN_IPV4 - {"UNICAST"}:
        raise NotModelled
    table = tuple(local_table4(context.host))
    by_kind = {kind: _of_kind4(kind, table, field, limit) for kind in _ROUTED_IN_IPV4}
    parts = [by_kind[name] for name in sorted(names & _ROUTED_IN_IPV4)]
    if "UNICAST" in names:
        parts.append(Not(AnyOf(tuple(by_kind[kind] for kind in sorted(by_kind)))))
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def _of_kind4(kind: str, table: tuple[Known, ...], field: str, limit: str) -> Condition:
    """Addresses of one type; some are of theirs by themselves, whatever the table says."""
    broadcast = equals(field, 0, 0xFFFFFFFF)
    multicast = network_condition(field, "224.0.0.0/4", 4)
    wanted = frozenset(entry for entry in table if entry.kind == kind.lower())
    routed = _limited(table, wanted, field, limit) if wanted else NEVER
    if routed != NEVER:
        routed = All((Not(AnyOf((broadcast, multicast))), routed))
    if kind == "BROADCAST":
        return broadcast if routed == NEVER else AnyOf((broadcast, routed))
    if kind == "MULTICAST":
        return multicast if routed == NEVER else AnyOf((multicast, routed))
    return routed


def _limited(table: tuple[Known, ...], wanted: frozenset[Known], field: str, limit: str) -> Condition:
    if not limit:
        return longest(field, table, wanted)
    parts: list[Condition] = [All((Named(limit, ""), longest(field, table, wanted)))]
    return AnyOf((*parts, *_by_device(limit, field, table, wanted)))


def local_table4(host: HostView) -> Iterator[Known]:
    """The IPv4 routes of the table `local` that follow from a host's addresses (fib_add_ifaddr).

    An address stays local while its device is down; the broadcast address goes with the device.
    """
    made: dict[Network, Known] = {}
    for route in host.routes:
        if route.table == LOCAL and route.destination.version == 4:
            made.setdefault(route.destination, Known(route.destination, route.kind, route.device or LOOPBACK))
    for link in host.links:
        own = [address for address in link.addresses if address.version == 4]
        for address in own:
            single = ip_network(address.ip)
            made.setdefault(single, Known(single, "local", link.name))
        if not link.up:
            continue
        for address in own:
            network = address.network
            if link.name == LOOPBACK and network.prefixlen < 32:
                made.setdefault(network, Known(network, "local", link.name))
            if network.prefixlen < 31:
                last = ip_network(network.broadcast_address)
                made.setdefault(last, Known(last, "broadcast", link.name))
    yield from made.values()


def _types6(names: frozenset[str], field: str, limit: str, context: Context) -> Condition:
    if names - _STATIC_IN_IPV6 - _LOOKED_UP_IN_IPV6:
        raise NotModelled  # the kernel refuses such a rule
    parts: list[Condition] = []
    if "MULTICAST" in names:
        parts.append(network_condition(field, "ff00::/8", 6))
    if "UNICAST" in names:
        mapped = network_condition(field, "::ffff:0:0/96", 6)
        parts.append(Not(AnyOf((equals(field, 0), mapped, network_condition(field, "ff00::/8", 6)))))
    if "UNSPEC" in names:
        parts.append(equals(field, 0))
    looked_up = names & _LOOKED_UP_IN_IPV6
    if looked_up:
        rules = context.host.rules_of(6)
        # Where the table `local` is asked first, the other rules say nothing of the host's own addresses.
        own_alone = looked_up == {"LOCAL"} and rules[:1] == DEFAULT_RULES[:1]
        if (rules != DEFAULT_RULES and not own_alone) or (limit and looked_up != {"LOCAL"}):
            raise NotModelled  # sources, marks and devices then decide which table is asked
        parts.append(AnyOf(tuple(_LOOKUPS6[name](context.host, field, limit) for name in sorted(looked_up))))
    return all_of(parts)


def _local6(host: HostView, field: str, limit: str) -> Condition:
    parts: list[Condition] = []
    for link in host.links:
        own = [ip_network(a.ip) for a in link.addresses if a.version == 6] if link.up else []
        if own:
            here = in_networks(field, own)
            parts.append(All((Named(limit, link.name), here)) if limit else here)
    if limit:
        parts.append(All((Named(limit, ""), _local6(host, field, ""))))
    return AnyOf(tuple(parts))


def _unreachable6(host: HostView, field: str, _limit: str) -> Condition:
    """No route, or one that refuses, in the tables `local`, `main` and `default`, asked in this order."""
    own = [ip_network(a) for a in host.local_addresses if a.version == 6]
    if any(link.up and link.name != LOOPBACK for link in host.links):
        own.append(IPv6Network("ff00::/8"))
    reached: list[Condition] = [in_networks(field, own)]
    refused: list[Condition] = []
    for number in (LOCAL, MAIN, DEFAULT):
        table = _table6(host, number)
        passing = frozenset(entry for entry in table if entry.kind in ("unicast", "local"))
        before = AnyOf((*reached, *refused))
        refused.append(All((longest(field, table, frozenset(table) - passing), Not(before))))
        reached.append(All((longest(field, table, passing), Not(before))))
    return Not(AnyOf(tuple(reached)))


def _anycast6(host: HostView, field: str, _limit: str) -> Condition:
    """The first address of a network on a device of the host: its routers' anycast address (RFC 4291, 2.6.1).

    By ipv6_anycast_destination, whether the host is a router or not.
    """
    own = {ip_network(a) for a in host.local_addresses if a.version == 6}
    found = []
    for route in host.routes:
        network = route.destination
        if route.kind == "unicast" and route.via is None and network.version == 6 and network.prefixlen < 127:
            first = ip_network(network.network_address)
            if first not in own and host.has_link(route.device or "") and host.link(route.device or "").up:
                found.append(first)
    return in_networks(field, dict.fromkeys(found))


_LOOKUPS6 = {"LOCAL": _local6, "UNREACHABLE": _unreachable6, "ANYCAST": _anycast6}


def _table6(host: HostView, number: int) -> tuple[Known, ...]:
    made: dict[Network, Known] = {}
    for route in sorted(host.routes, key=lambda route: route.metric):
        down = route.device is not None and host.has_link(route.device) and not host.link(route.device).up
        if route.table == number and route.destination.version == 6 and not down:
            made.setdefault(route.destination, Known(route.destination, route.kind, route.device or ""))
    return tuple(made.values())


# --- rpfilter --------------------------------------------------------------------------------------------


def rpfilter(match: Match, context: Context) -> Condition:
    """Whether the way back to the source leads out where the packet came in (ip{,6}t_rpfilter.c).

    `--validmark` looks for the way back with the packet's mark, which only matters where a rule of the
    routing asks for marks: then it is unknown. Local sources fail unless `--accept-local` is given; IPv4 then
    still wants the address to be the device's own, unless it is `--loose`. On a router, IPv6 lets no anycast
    address be a source.
    """
    names = {option.name for option in match.options}
    if "validmark" in names and any(rule.mark_mask for rule in context.host.rules_of(context.version)):
        kept = tuple(option for option in match.options if option.name != "invert")
        inverted = "invert" in names
        return negated_if(Unknown(text_of(Match(match.name, kept)), usual=True), inverted)
    passed: Condition = Within("reverse_path", ((1 if "loose" in names else 2, 2),))
    if "accept-local" in names:
        passed = AnyOf((passed, _local_source(context, loose="loose" in names)))
    if context.version == 6 and context.host.forwards(6, ""):
        passed = All((passed, Not(_anycast6(context.host, "source", ""))))
    exempt = _exempt4() if context.version == 4 else equals("source", 0)
    accepted = AnyOf((Named("in_interface", LOOPBACK), exempt, passed))
    return negated_if(accepted, "invert" in names)


def _exempt4() -> Condition:
    """Who has no address yet may ask everybody (DHCP)."""
    everybody = AnyOf(
        (
            equals("destination", int(IPv4Address("255.255.255.255"))),
            network_condition("destination", "224.0.0.0/24", 4),
        )
    )
    return All((equals("source", 0), everybody))


def _local_source(context: Context, *, loose: bool) -> Condition:
    host = context.host
    if context.version == 6:
        return _local6(host, "source", "")
    table = tuple(local_table4(host))
    local = frozenset(entry for entry in table if entry.kind == "local")
    if loose:
        return longest("source", table, local)
    return AnyOf(tuple(_by_device("in_interface", "source", table, local)))
