"""Matches on ipsets whose contents are known: `-m set --match-set NAME src,dst`.

Sources: ipset(8); net/netfilter/xt_set.c, net/netfilter/ipset/ip_set_{core,getport,hash_gen,hash_*,bitmap_*,
list_set}.c of Linux 6.x. What these come to:

- A packet that lacks what a set asks for (ports in a later fragment, an Ethernet header) is not in it, and
  `!` turns that around. So is every packet, where fewer directions are given than the type has parts, or the
  set is of the other family.
- Among networks the most specific that the packet is in decides, and `nomatch` makes it an exception;
  `--return-nomatch` finds the exceptions instead. Of two networks in an entry the first goes first.
- In hash:net,iface, the most specific network decides, whatever device its entries name.
- A list of sets holds what one of its members holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network, summarize_address_range
from itertools import groupby, product

from netverify.dataplane.condition import (
    NEVER,
    All,
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
from netverify.dataplane.ipset import IpSet, SetEntry
from netverify.dataplane.matches.devices import mac_number
from netverify.dataplane.matches.header import FIRST_FRAGMENT, port, protocol_number
from netverify.dataplane.matches.meaning import (
    Context,
    NotModelled,
    colon_range,
    in_networks,
    number,
    text_of,
)
from netverify.dataplane.matches.names import ICMP_NAMES, begins
from netverify.dataplane.packet import ICMP, ICMPV6, SCTP, TCP, UDP
from netverify.ruleset import Match, Option

Network = IPv4Network | IPv6Network
_MODIFIERS = frozenset({"match-set", "return-nomatch", "update-counters", "update-subcounters"})
_WITH_PORTS = frozenset({TCP, UDP, SCTP, 136})


def match_set(match: Match, context: Context) -> Condition:
    """Whether the packet is in a set. Raises NotModelled for a set whose contents are not known."""
    asked = match.option("match-set")
    if asked is None or len(asked.values) != 2:
        raise NotModelled
    name, directions = asked.values
    held = context.host.sets.get(name)
    if held is None or name in context.changing:
        raise NotModelled
    known = held if isinstance(held, IpSet) else _of_networks(held, context.version)
    flags = tuple(directions.split(","))
    if any(flag not in ("src", "dst") for flag in flags):
        raise NotModelled
    reading = _Reading(name, flags, context, match.option("return-nomatch") is not None)
    inside = reading.holds(known)
    counted = tuple(option for option in match.options if option.name not in _MODIFIERS)
    if counted:  # packets and bytes that an entry has counted
        inside = All((inside, Unknown(text_of(Match(match.name, (_plain(asked), *counted))))))
    return negated_if(inside, asked.negated)


def _plain(option: Option) -> Option:
    return Option(option.name, option.values)


def _of_networks(networks: tuple[Network, ...], version: int) -> IpSet:
    own = tuple(SetEntry((str(network),)) for network in networks if network.version == version)
    return IpSet("hash:net", own, version)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One look into a set: by which addresses of the packet, and for entries or for exceptions."""

    name: str
    flags: tuple[str, ...]
    context: Context
    exceptions: bool

    def holds(self, held: IpSet) -> Condition:
        if len(self.flags) < len(held.parts) or held.version not in (None, self.context.version):
            return NEVER
        if held.kind == "list:set":
            return AnyOf(tuple(self._member(entry) for entry in held.entries))
        if held.parts == ("net", "iface"):
            return self._net_iface(held)
        if held.knows_nomatch and any(entry.nomatch for entry in held.entries):
            return self._most_specific(held)
        if self.exceptions and held.knows_nomatch:
            return NEVER
        return AnyOf(tuple(self._entry(held, entry) for entry in held.entries))

    def _member(self, entry: SetEntry) -> Condition:
        member = self.context.host.sets.get(entry.values[0])
        if member is None or entry.values[0] in self.context.changing:
            return Unknown(f"ipset {entry.values[0]}, a member of {self.name}, looked up by {self._words}")
        known = member if isinstance(member, IpSet) else _of_networks(member, self.context.version)
        found = NEVER if known.kind == "list:set" else self.holds(known)
        return self._while_there(entry, found)

    @property
    def _words(self) -> str:
        return ",".join(self.flags)

    def _while_there(self, entry: SetEntry, tested: Condition) -> Condition:
        """An entry that goes after a time: nobody here has a clock, and it was there when it was read."""
        if not entry.timeout:
            return tested
        return All((tested, Unknown(f"ipset {self.name} still holds {entry}", usual=True)))

    def _entry(self, held: IpSet, entry: SetEntry) -> Condition:
        parts = (
            self._part(held, kind, value, flag, entry)
            for kind, value, flag in zip(held.parts, entry.values, self.flags, strict=False)
        )
        return self._while_there(entry, all_of(parts))

    def _part(self, held: IpSet, kind: str, value: str, flag: str, entry: SetEntry) -> Condition:
        field = "source" if flag == "src" else "destination"
        if kind == "ip":
            return _addresses(field, value, held)
        if kind == "net":
            return in_networks(field, _networks(value))
        if kind == "port":
            return _port(value, "sport" if flag == "src" else "dport", typed=held.kind != "bitmap:port")
        if kind == "mac":
            if flag == "dst":
                raise NotModelled  # the receiver's Ethernet address
            return equals("mac", mac_number(value))
        if kind == "mark":
            return Masked("mark", number(value) & held.markmask, held.markmask)
        return _interface(value, flag, entry)

    def _most_specific(self, held: IpSet) -> Condition:
        """From the least specific entries to the most specific: each overrules those before."""
        elements: list[tuple[tuple[int, ...], SetEntry]] = []
        places = [index for index, kind in enumerate(held.parts) if kind == "net"]
        for entry in held.entries:
            for chosen in product(*(_networks(entry.values[index]) for index in places)):
                values = list(entry.values)
                for index, network in zip(places, chosen, strict=True):
                    values[index] = str(network)
                lengths = tuple(network.prefixlen for network in chosen)
                elements.append(
                    (lengths, SetEntry(tuple(values), entry.nomatch, entry.timeout, entry.wildcard))
                )
        elements.sort(key=lambda element: element[0])
        made: Condition = NEVER
        for (_lengths, found), group in groupby(
            elements, key=lambda element: (element[0], element[1].nomatch == self.exceptions)
        ):
            tested = AnyOf(tuple(self._entry(held, entry) for _, entry in group))
            if found:
                made = tested if made == NEVER else AnyOf((made, tested))
            elif made != NEVER:
                made = All((made, Not(tested)))
        return made

    def _net_iface(self, held: IpSet) -> Condition:
        field = "source" if self.flags[0] == "src" else "destination"
        by_network: dict[Network, list[SetEntry]] = {}
        for entry in held.entries:
            for network in _networks(entry.values[0]):
                by_network.setdefault(network, []).append(entry)
        made: Condition = NEVER
        for network in sorted(by_network, key=lambda each: each.prefixlen):
            here = in_networks(field, (network,))
            named = AnyOf(
                tuple(
                    self._while_there(entry, _interface(entry.values[1], self.flags[1], entry))
                    for entry in by_network[network]
                    if entry.nomatch == self.exceptions
                )
            )
            made = AnyOf((All((here, named)), All((made, Not(here)))))
        return made


def _networks(value: str) -> tuple[Network, ...]:
    """One network, or the networks that a range comes to."""
    low, dash, high = value.partition("-")
    if not dash:
        return (ip_network(value, strict=False),)
    return tuple(summarize_address_range(ip_address(low), ip_address(high)))


def _addresses(field: str, value: str, held: IpSet) -> Condition:
    """An address, a network or a range; with a netmask only the first bits are looked at."""
    bits = 128 if held.version == 6 else 32
    mask = ((1 << held.netmask) - 1) << (bits - held.netmask) if held.netmask is not None else (1 << bits) - 1
    low, dash, high = value.partition("-")
    if dash or "/" in low:
        network = None if dash else ip_network(low, strict=False)
        first = int(ip_address(low)) if network is None else int(network.network_address)
        last = int(ip_address(high)) if network is None else int(network.broadcast_address)
        return Within(field, ((first & mask, last | ((1 << bits) - 1) & ~mask),))
    return Masked(field, int(ip_address(low)) & mask, mask)


def _port(value: str, field: str, *, typed: bool) -> Condition:
    """`[PROTOCOL:]PORT[-PORT]`, tcp if none is named; in bitmap:port tcp and udp alike (ip_set_getport.c)."""
    name, colon, rest = value.rpartition(":")
    if not typed:
        ports = Within(field, (colon_range(value, 65535, port, "-"),))
        return All((equals("protocol", TCP, UDP), FIRST_FRAGMENT, ports))
    protocol = protocol_number(name) if colon else TCP
    if protocol in (ICMP, ICMPV6):
        named = begins(ICMP_NAMES[protocol], rest)
        kind, _, code = rest.partition("/")
        wanted = (number(kind, 255), number(code or "0", 255)) if named is None else named[:2]
        tested = All((equals("icmp_type", wanted[0]), equals("icmp_code", wanted[1])))
        return All((equals("protocol", protocol), FIRST_FRAGMENT, tested))
    if protocol not in _WITH_PORTS:
        return equals("protocol", protocol)
    ports = Within(field, (colon_range(rest, 65535, port, "-"),))
    return All((equals("protocol", protocol), FIRST_FRAGMENT, ports))


def _interface(value: str, flag: str, entry: SetEntry) -> Condition:
    """The device that a packet came in by or leaves by; none is in no set."""
    if value.startswith("physdev:"):
        return Unknown(f"ipset entry {entry}")
    return Named("in_interface" if flag == "src" else "out_interface", value, prefix=entry.wildcard)
