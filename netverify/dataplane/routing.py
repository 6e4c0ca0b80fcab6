"""Which way a packet goes: rules of routing, tables, the longest prefix (ip-rule(8), ip-route(8))."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from netverify.dataplane.packet import Address, Packet, address
from netverify.dataplane.view import (
    LOCAL,
    LOOPBACK,
    HostView,
    InterfaceAddress,
    Network,
    Route,
    RoutingRule,
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What routing says: the kind of route ("none" without any), the device, the next hop, the source."""

    kind: str
    device: str = ""
    next_hop: Address | None = None
    source: Address | None = None
    text: str = ""


class Routing:
    """The routing tables of one host, ready to be asked."""

    def __init__(self, view: HostView) -> None:
        self.view = view
        self.rules = {version: view.rules_of(version) for version in (4, 6)}
        self._tables: dict[tuple[int, int], dict[int, dict[int, list[Route]]]] = {}
        for route in (*_local_routes(view), *view.routes):
            if route.device is not None and route.kind == "unicast" and not view.link(route.device).up:
                continue
            prefixes = self._tables.setdefault((route.table, route.destination.version), {})
            by_network = prefixes.setdefault(route.destination.prefixlen, {})
            by_network.setdefault(int(route.destination.network_address), []).append(route)

    def decide(self, packet: Packet, *, in_interface: str = "") -> Decision:
        """The way of a packet: by its destination, and whatever the rules of routing ask besides."""
        return self.lookup(
            packet.version, packet.destination, packet.source, in_interface=in_interface, mark=packet.mark
        )

    def lookup(
        self, version: int, destination: int, source: int = 0, *, in_interface: str = "", mark: int = 0
    ) -> Decision:
        """The way to a destination."""
        target = address(version, destination)
        for rule in self.rules[version]:
            if _applies(rule, version, destination, source, in_interface, mark) == rule.inverted:
                continue
            route = self._longest(rule.table, version, destination)
            if route is not None:
                return self._decision(route, target)
        return Decision("none", text="no route")

    def by_length(self, table: int, version: int) -> Iterable[Route]:
        """The routes of a table, the longest prefix first; of each network only the preferred one."""
        for _length, by_network in sorted(self._tables.get((table, version), {}).items(), reverse=True):
            for found in by_network.values():
                yield min(found, key=lambda route: route.metric)

    def _longest(self, table: int, version: int, destination: int) -> Route | None:
        prefixes = self._tables.get((table, version), {})
        bits = 32 if version == 4 else 128
        for length in sorted(prefixes, reverse=True):
            base = destination >> (bits - length) << (bits - length)
            found = prefixes[length].get(base)
            if found:
                return min(found, key=lambda route: route.metric)
        return None

    def _decision(self, route: Route, target: Address) -> Decision:
        text = f"{route.kind} {route.destination}"
        text += f" via {route.via}" if route.via else ""
        text += f" dev {route.device}" if route.device else ""
        if route.kind in ("local", "broadcast"):
            own = route.source or target  # an anycast address is nobody's to send from
            return Decision(route.kind, LOOPBACK, target, own if route.kind == "local" else None, text)
        device = route.device or ""
        next_hop = route.via or target
        return Decision(route.kind, device, next_hop, route.source, text)

    def source_for(self, decision: Decision, destination: Address) -> Address | None:
        """The address that a local socket's packet gets (inet_select_addr; RFC 6724 in its main rule)."""
        if decision.source is not None:
            if destination.version == 4 and destination.is_loopback and decision.kind == "local":
                return _LOOPBACK4  # for all of 127.0.0.0/8 (fib_add_ifaddr)
            return decision.source
        return self.address_of(decision.device, decision.next_hop or destination)

    def address_of(self, device: str, towards: Address) -> Address | None:
        """The address of a device that suits a neighbour: of its subnet, else the first, else any other's."""
        if towards.version == 6 and towards in self.view.local_addresses:
            return towards  # RFC 6724, section 5, rule 1
        candidates = self.candidates(device, towards.version)
        if towards.version == 6:
            return max(candidates, key=lambda a: _common(int(a.ip), int(towards))).ip if candidates else None
        near = [interface for interface in candidates if towards in interface.network]
        return (near or candidates)[0].ip if candidates else None

    def candidates(self, device: str, version: int) -> list[InterfaceAddress]:
        """The addresses from which `address_of` chooses: the device's own; without any, others of the host.

        An address of scope host, such as 127.0.0.1, is nobody's to send from but to itself.
        """
        own = [a for a in self.view.link(device).addresses if a.version == version]
        others = [a for link in self.view.links if link.up for a in link.addresses if a.version == version]
        if version == 6:
            return _of_global_scope(own) or _of_global_scope(others)
        return [a for a in own if not a.ip.is_loopback] or [a for a in others if not a.ip.is_loopback][:1]


_LOOPBACK4 = ip_address("127.0.0.1")


def _of_global_scope(addresses: Iterable[InterfaceAddress]) -> list[InterfaceAddress]:
    return [a for a in addresses if not a.ip.is_loopback and not a.ip.is_link_local]


def _common(left: int, right: int) -> int:
    return 128 - (left ^ right).bit_length()


def _applies(
    rule: RoutingRule, version: int, destination: int, source: int, in_interface: str, mark: int
) -> bool:
    if rule.in_interface is not None and rule.in_interface != in_interface:
        return False
    if rule.mark_mask and mark & rule.mark_mask != rule.mark:
        return False
    return all(
        network is None or (network.version == version and address(version, number) in network)
        for network, number in ((rule.source, source), (rule.destination, destination))
    )


def _local_routes(view: HostView) -> Iterable[Route]:
    for version in (4, 6):
        for network in view.local_networks(version):
            yield Route(network, device=LOOPBACK, kind="local", table=LOCAL)
    for anycast, own in view.anycasts().items():
        yield Route(anycast, device=LOOPBACK, source=own.ip, kind="local", table=LOCAL)
    known: set[Network] = set(view.local_networks(4))
    for broadcast in view.broadcasts():
        if broadcast not in known:
            known.add(broadcast)
            yield Route(broadcast, kind="broadcast", table=LOCAL)
