"""The routing tables of a host as packet sets: for every packet at once, which way it goes.

What the longest prefix and the order of rules mean stands in `routing`; here the same rules and tables are a
list, in which the first that holds decides, and lists are cut in halves whose results are joined.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from netverify.dataplane.condition import Condition, Masked, Named, Not, all_of
from netverify.dataplane.packet import Address
from netverify.dataplane.routing import Routing
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.view import LOOPBACK, Network, Route, RoutingRule

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Way:
    """What routing says: the kind of route, the device, the gateway (None: the destination itself)."""

    kind: str
    device: str = ""
    via: Address | None = None


NO_WAY = Way("none")
_ARRIVES = frozenset({"local", "broadcast"})


@dataclass(frozen=True, slots=True)
class Asked:
    """Which fields routing is asked about: for the way back, source and destination change places.

    Without a field for the device or the mark, rules of routing see none.
    """

    destination: str = "destination"
    source: str = "source"
    in_interface: bool = True
    mark: bool = True


FORWARD = Asked()
BACK = Asked("source", "destination", in_interface=False, mark=False)
"""As reverse path filtering asks: where would a packet to this one's source go?"""
BACK_ALONE = Asked("source", "", in_interface=False, mark=False)
"""As the match rpfilter asks, by the source alone."""


class Ways:
    """The routing of one host, ready to be asked about sets."""

    def __init__(self, routing: Routing, sets: PacketSets) -> None:
        self.routing = routing
        self.sets = sets
        self._known: dict[Asked, dict[Way, Set]] = {}
        self._by_device: dict[Asked, Set] = {}

    def of(self, asked: Asked = FORWARD) -> dict[Way, Set]:
        """The packets of each way; every packet is in one."""
        found = self._known.get(asked)
        if found is None:
            items = list(self._items(asked))
            found, taken = first_of(self.sets, items)
            left = ~taken
            if left.satisfiable():
                found[NO_WAY] = found[NO_WAY] | left if NO_WAY in found else left
            self._known[asked] = found
        return found

    def of_kind(self, *kinds: str, asked: Asked = FORWARD) -> Set:
        """The packets whose way is of one of these kinds."""
        return self.sets.union([packets for way, packets in self.of(asked).items() if way.kind in kinds])

    def leaving(self, field: str, *kinds: str, asked: Asked = FORWARD) -> Set:
        """The packets whose way has one of these kinds, and leads out by the device that `field` says."""
        devices: dict[str, list[Set]] = {}
        for way, packets in self.of(asked).items():
            if way.kind in kinds:
                devices.setdefault(way.device, []).append(packets)
        return self.sets.union(
            [
                self.sets.satisfying(Named(field, device)) & self.sets.union(packets)
                for device, packets in sorted(devices.items())
            ]
        )

    def _items(self, asked: Asked) -> Iterator[tuple[Set, Way]]:
        version = self.sets.version
        for rule in self.routing.rules[version]:
            applies = self._applies(rule, asked, version)
            if not applies.satisfiable():
                continue
            for route in self.routing.by_length(rule.table, version):
                yield applies & self._inside(asked.destination, route.destination), _way(route)

    def _applies(self, rule: RoutingRule, asked: Asked, version: int) -> Set:
        parts: list[Condition] = []
        never = False
        if rule.in_interface is not None:
            parts.append(Named("in_interface", rule.in_interface))
            never = not asked.in_interface
        if rule.mark_mask:
            if asked.mark:
                parts.append(Masked("mark", rule.mark & rule.mark_mask, rule.mark_mask))
            else:
                never = never or bool(rule.mark)
            never = never or bool(rule.mark & ~rule.mark_mask)
        for network, field in ((rule.source, asked.source), (rule.destination, asked.destination)):
            if network is None:
                continue
            if network.version != version:
                never = True
            elif not field:
                never = never or int(network.network_address) != 0  # an unspecified source is 0
            else:
                parts.append(Masked(field, int(network.network_address), int(network.netmask)))
        condition = all_of(parts)
        if never:
            return self.sets.true if rule.inverted else self.sets.nothing
        return self.sets.satisfying(Not(condition) if rule.inverted else condition)

    def _inside(self, field: str, network: Network) -> Set:
        if not network.prefixlen:
            return self.sets.true
        return self.sets.satisfying(Masked(field, int(network.network_address), int(network.netmask)))


def _way(route: Route) -> Way:
    if route.kind in _ARRIVES:
        return Way(route.kind, LOOPBACK)
    return Way(route.kind, route.device or "", route.via)


def first_of(sets: PacketSets, items: Sequence[tuple[Set, K]]) -> tuple[dict[K, Set], Set]:
    """The packets for which each of these comes first in a list, and those for which one comes at all."""
    if not items:
        return {}, sets.nothing
    if len(items) == 1:
        ((packets, key),) = items
        return {key: packets}, packets
    middle = len(items) // 2
    found, taken = first_of(sets, items[:middle])
    later, more = first_of(sets, items[middle:])
    for key, packets in later.items():
        left = packets & ~taken
        if left.satisfiable():
            found[key] = found[key] | left if key in found else left
    return found, taken | more
