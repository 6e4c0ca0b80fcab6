"""What a host finds for packets by its addresses and sysctls, as sets.

Whom it does not believe stands in `martians`, and which address a translation takes in `routing`, for one
packet; this is the same for all packets at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_network
from types import MappingProxyType

from netverify.dataplane.condition import ALWAYS, All, AnyOf, Condition, Masked, Named, Not, Within, equals
from netverify.dataplane.diagrams import Set
from netverify.dataplane.ends import Refusal
from netverify.dataplane.outcomes import ROUTE_ANSWERS
from netverify.dataplane.packet import Address
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.targets import Reject
from netverify.dataplane.tracking import Found
from netverify.dataplane.view import DEFAULT_RULES, LOOPBACK, HostView, InterfaceAddress
from netverify.dataplane.ways import BACK, FORWARD, Ways

Refusals = tuple[Refusal, ...]
"""In the order in which they are asked."""
LOOPBACKS = {4: ("127.0.0.0/8",), 6: ("::1/128",)}
GROUPS = {4: ("224.0.0.0/4",), 6: ("ff00::/8",)}


def within(field: str, *networks: str) -> Condition:
    """An address field lies in one of the networks."""
    found = [ip_network(network) for network in networks]
    return AnyOf(tuple(Masked(field, int(n.network_address), int(n.netmask)) for n in found))


def named(field: str, devices: Iterable[str]) -> Condition:
    """A field is one of the devices."""
    return AnyOf(tuple(Named(field, device) for device in sorted(devices)))


def refused_at_once(sets: PacketSets) -> Refusals:
    """What IPv6 takes no notice of (`martians.refused_at_once`)."""
    if sets.version == 4:
        return ()
    loopback, group = LOOPBACKS[6], GROUPS[6]
    strange = AnyOf((within("source", *loopback, *group), within("destination", *loopback)))
    packets = sets.satisfying(All((Not(Named("in_interface", LOOPBACK)), strange)))
    return (Refusal("IPv6 does not believe it", packets),)


def martians(view: HostView, sets: PacketSets, ways: Ways) -> tuple[Refusals, Refusals]:
    """What IPv4's routing refuses: at once (`martians.impossible`), and where there is a way on.

    By reasons, in the order in which they are looked for (`martians.without_way_back`).
    """
    if sets.version == 6:
        return (), ()
    devices = [link.name for link in view.links if link.name != LOOPBACK]
    names = ("route_localnet", "accept_local", "rp_filter")
    settings = {d: tuple(max(view.device_sysctl("ipv4", d, name)) for name in names) for d in devices}
    on = {
        key: sets.satisfying(named("in_interface", (d for d in devices if test(*settings[d]))))
        for key, test in _TESTS.items()
    }
    impossible = tuple(
        Refusal(reason, on[key] & sets.satisfying(condition)) for key, reason, condition in _IMPOSSIBLE
    )
    back = {kind: ways.of_kind(kind, asked=BACK) for kind in ("local", "broadcast", "unicast")}
    broadcasts = on["looked at"] if view.rules_of(4) != DEFAULT_RULES else on["filtered"]
    elsewhere = back["unicast"] & ~ways.leaving("in_interface", "unicast", asked=BACK)
    somebody = sets.satisfying(Not(equals("source", 0)))  # who has no address yet asks everybody (DHCP)
    reasons = [
        ("martian source: it is this host's own", on["no local"] & back["local"]),
        ("martian source: it is a broadcast address", broadcasts & back["broadcast"]),
        ("reverse path filter: no route back", on["filtered"] & ~(back["unicast"] | back["local"])),
        ("reverse path filter: the way back is another device", on["strict"] & elsewhere),
    ]
    return impossible, tuple(Refusal(reason, packets & somebody) for reason, packets in reasons)


def cannot_leave(view: HostView, sets: PacketSets, ways: Ways) -> Refusals:
    """The host's own packets that IPv4 has no way out for (`martians.cannot_leave`)."""
    if sets.version == 6:
        return ()
    closed = {
        link.name
        for link in view.links
        if link.name != LOOPBACK and not any(view.device_sysctl("ipv4", link.name, "route_localnet"))
    }
    out = sets.union([packets for way, packets in ways.of().items() if way.device in closed])
    packets = out & sets.satisfying(within("source", *LOOPBACKS[4]))
    return (Refusal("its source is nobody's outside this host", packets),)


def no_way(sets: PacketSets, ways: Ways) -> Refusals:
    """The packets that routing leads nowhere, and what their senders are told."""
    found = []
    for kind in sorted({way.kind for way in ways.of()} - {"unicast", "local", "broadcast"}):
        answers = ROUTE_ANSWERS.get(kind)
        answer = answers[sets.version] if answers else None
        reason = "no route" if kind == "none" else f"route of kind {kind}"
        fate = "dropped" if answer is None else "unreachable"
        found.append(Refusal(reason, ways.of_kind(kind), fate, answer))
    return tuple(found)


def not_received(view: HostView, sets: PacketSets) -> Refusal:
    """What comes in for others by devices that do not forward."""
    forwarding = (link.name for link in view.links if view.forwards(sets.version, link.name))
    packets = ~sets.satisfying(named("in_interface", forwarding))
    return Refusal("not addressed to this host, which does not forward", packets)


def worn_out(sets: PacketSets) -> Refusals:
    """What is not forwarded for what its frame and its header say."""
    everybody = ~sets.satisfying(equals("pkttype", 0))
    old = sets.satisfying(Within("ttl", ((0, 1),)))
    answer = Reject(11 if sets.version == 4 else 3, 0)
    return (
        Refusal("its frame was for everybody, and such packets are not forwarded", everybody),
        Refusal("its time to live is over", old, "unreachable", answer),
    )


def groups(view: HostView, sets: PacketSets) -> tuple[Set, Refusals]:
    """What comes in for an IPv6 group that the kernel has joined, and why others are refused.

    What programs have joined is unknown; here it is taken to be nothing.
    """
    if sets.version == 4:
        return sets.nothing, ()
    joined = (
        All(
            (
                Named("in_interface", link.name),
                equals("destination", *map(int, sorted(view.groups(link.name)))),
            )
        )
        for link in view.links
    )
    every = sets.satisfying(within("destination", *GROUPS[6]))
    reason = "nobody has joined its group here"
    return sets.satisfying(AnyOf(tuple(joined))), (Refusal(reason, every),)


def not_forwarded(view: HostView, sets: PacketSets) -> Refusals:
    """Whose packets IPv6 does not forward to another device (`martians.not_forwarded`)."""
    if sets.version == 4:
        return ()
    nobody = sets.satisfying(AnyOf((equals("source", 0), within("source", *LOOPBACKS[6], *GROUPS[6]))))
    back = sets.union(
        [
            sets.satisfying(All((Named("in_interface", link.name), Named("out_interface", link.name))))
            for link in view.links
        ]
    )
    return (Refusal("its source is nobody's to be forwarded", nobody & ~back),)


_TESTS: Mapping[str, Callable[[int, int, int], bool]] = MappingProxyType(
    {
        "all": lambda _localnet, _local, _strictness: True,
        "localnet": lambda localnet, _local, _strictness: bool(localnet),
        "no localnet": lambda localnet, _local, _strictness: not localnet,
        "no local": lambda _localnet, local, _strictness: not local,
        "looked at": lambda _localnet, local, strictness: bool(strictness) or not local,
        "filtered": lambda _localnet, _local, strictness: bool(strictness),
        "strict": lambda _localnet, _local, strictness: strictness == 1,
    }
)
"""Kinds of devices by their route_localnet, accept_local and rp_filter."""


_NO_HOST = "0.0.0.0/32"  # not its whole network, since Linux 5.3
_NOT_LIMITED = Not(equals("destination", 0xFFFFFFFF))
_TO_LOOPBACK = within("destination", *LOOPBACKS[4])
_IMPOSSIBLE: tuple[tuple[str, str, Condition], ...] = (
    (
        "all",
        "martian source: a group or broadcast address",
        AnyOf((within("source", *GROUPS[4]), equals("source", 0xFFFFFFFF))),
    ),
    ("all", "martian source", All((_NOT_LIMITED, within("source", _NO_HOST)))),
    ("all", "martian destination", within("destination", _NO_HOST)),
    ("no localnet", "martian destination: a loopback address", _TO_LOOPBACK),
    (
        "no localnet",
        "martian source: a loopback address",
        All((_NOT_LIMITED, within("source", *LOOPBACKS[4]), Not(_TO_LOOPBACK))),
    ),
)
"""Kinds of devices, and what cannot come in by them."""

# --- addresses ---------------------------------------------------------------------------------------------


_LOOPBACK6, _LINK_LOCAL6 = within("destination", "::1/128"), within("destination", "fe80::/10")
_SCOPES: tuple[tuple[Condition, Callable[[Address], bool]], ...] = (
    (_LOOPBACK6, lambda address: address.is_loopback),
    (_LINK_LOCAL6, lambda address: address.is_link_local),
    (
        Not(AnyOf((_LOOPBACK6, _LINK_LOCAL6))),
        lambda address: not address.is_loopback and not address.is_link_local,
    ),
)
"""IPv6's scopes: who was asked for one gets an address of the same (nf_nat_redirect_ipv6)."""


def of_arrival(view: HostView, sets: PacketSets) -> Found:
    """What REDIRECT takes of a packet that came in: the first address of its device."""
    by_address: dict[int, Set] = {}
    for link in view.links:
        own = [a.ip for a in link.addresses if a.version == sets.version]
        arrived = sets.satisfying(Named("in_interface", link.name))
        for scope in _SCOPES if sets.version == 6 else ((ALWAYS, lambda _address: True),):
            asked, has = scope
            number = next((int(address) for address in own if has(address)), None)
            if number is not None:
                packets = arrived & sets.satisfying(asked)
                by_address[number] = by_address[number] | packets if number in by_address else packets
    return Found.of(sets, by_address)


def of_departure(view: HostView, sets: PacketSets, ways: Ways) -> Found:
    """What MASQUERADE takes of a packet that leaves: `Routing.address_of`, towards its next hop."""
    by_address: dict[int, list[Set]] = {}
    for link in view.links:
        leaves = sets.satisfying(Named("out_interface", link.name))
        if sets.version == 6 and link.name == LOOPBACK:  # to itself: RFC 6724, section 5, rule 1
            for own in view.local_addresses:
                if own.version == 6:
                    there = leaves & sets.satisfying(equals("destination", int(own)))
                    by_address.setdefault(int(own), []).append(there)
            continue
        candidates = ways.routing.candidates(link.name, sets.version)
        if len(candidates) == 1:
            by_address.setdefault(int(candidates[0].ip), []).append(leaves)
            continue
        if not candidates:
            continue
        for towards, packets in _towards(ways):
            for address, condition in _choices(candidates, sets.version, towards):
                packets_there = leaves & packets & sets.satisfying(condition)
                if packets_there.satisfiable():
                    by_address.setdefault(int(address.ip), []).append(packets_there)
    return Found.of(sets, {address: sets.union(packets) for address, packets in by_address.items()})


def _towards(ways: Ways) -> Iterator[tuple[Address | None, Set]]:
    """The gateways of a host, None for the destination itself, with the packets that go there."""
    found: dict[Address | None, list[Set]] = {}
    for way, packets in ways.of(FORWARD).items():
        found.setdefault(way.via, []).append(packets)
    return ((via, ways.sets.union(packets)) for via, packets in found.items())


def _choices(
    candidates: list[InterfaceAddress], version: int, towards: Address | None
) -> Iterator[tuple[InterfaceAddress, Condition]]:
    """Which candidate is taken for which destinations; with a gateway, one for all."""
    if version == 4:
        taken: list[Condition] = []
        for candidate in candidates:
            inside = within("destination", str(candidate.network))
            if towards is not None:
                if towards in candidate.network:
                    yield candidate, ALWAYS
                    return
            else:
                yield candidate, All((*map(Not, taken), inside))
                taken.append(inside)
        yield candidates[0], All(tuple(map(Not, taken)))
        return
    for index, candidate in enumerate(candidates):
        parts: list[Condition] = []
        for other_index, other in enumerate(candidates):
            if other.ip == candidate.ip:
                continue
            nearer = candidate if other_index < index else other
            closer = _closer(nearer, other if nearer is candidate else candidate)
            holds = (
                closer if towards is None else (ALWAYS if _is_closer(nearer, closer, towards) else AnyOf())
            )
            parts.append(holds if nearer is candidate else Not(holds))
        yield candidate, All(tuple(parts))


def _closer(one: InterfaceAddress, other: InterfaceAddress) -> Condition:
    """The destinations that have a longer prefix in common with one address than with the other."""
    length = 128 - (int(one.ip) ^ int(other.ip)).bit_length() + 1
    mask = ((1 << length) - 1) << (128 - length)
    return Masked("destination", int(one.ip) & mask, mask)


def _is_closer(_one: InterfaceAddress, closer: Condition, towards: Address) -> bool:
    return isinstance(closer, Masked) and int(towards) & closer.mask == closer.value
