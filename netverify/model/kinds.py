"""Which namespaces of a subject are of one kind: alike but for their own addresses and their ports' names.

Two namespaces are of one kind where exchanging them would change nothing that a packet meets on its way but
rules that name an address or a port. That holds if they have no rules, services or sets of their own, the
same devices and routes (their own addresses apart), each device on a cable of its own to a port like the
other's, and addresses that are in the same of all networks that any routing speaks of. Somebody's gateway is
like nobody else. All of this is about IPv4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from netverify.dataplane.packet import Address
from netverify.dataplane.view import LOOPBACK, HostView, Link, Network
from netverify.dataplane.world import Plug, Wire
from netverify.model.subject import Subject, has_rules

Value = int | str | None
"""An address as a number, or the name of a device."""

_OPAQUE = frozenset({"bridge", "netdev", "arp"})
"""Families of nftables whose chains hang on single devices."""


@dataclass(frozen=True)
class Kind:
    """A namespace's kind, and what it has of its own: `values` in an order that is the same for the kind.

    `words` are those by which texts may speak of it. A namespace that is alone of its kind has no `values`.
    """

    kind: object
    values: tuple[Value, ...]
    words: frozenset[str]


class Kinds:
    """The kinds of a subject's namespaces, found as they are asked for."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._stacks = subject.world.stacks
        self._known: dict[str, Kind] = {}
        self._slots: dict[str, dict[Value, int]] = {}

    @cached_property
    def possible(self) -> bool:
        """Whether anything can be of one kind: not where frames are filtered device by device."""
        views = (stack.view for stack in self._stacks.values())
        return not any(table.family in _OPAQUE for view in views for table in view.nft.tables)

    def of(self, node: str) -> Kind:
        """The kind of a namespace."""
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = self._kind(node)
            self._slots[node] = {value: slot for slot, value in enumerate(found.values)}
        return found

    def slot(self, ends: tuple[str, str], value: Value) -> tuple[int, int] | None:
        """Whose own a value is: which of the two ends, and which of its values; None for nobody's."""
        for side, end in enumerate(ends):
            slot = self._slots[end].get(value)
            if slot is not None:
                return side, slot
        return None

    # --- what is compared -----------------------------------------------------------------------------------

    def _kind(self, node: str) -> Kind:
        view = self._stacks[node].view
        shape = None if node == self._subject.host else self._shape(view)
        if shape is None:
            return Kind(("alone", node), (), frozenset())
        own = _own(view)
        ports = [self._cables[node, link.name][1] for link in _cards(view)]
        values: tuple[Value, ...] = (*(int(each) for each in own), *ports)
        numbers = tuple(self._networks_around(number) for number in map(int, own))
        words = frozenset({node, *map(str, own), *ports})
        return Kind((shape, numbers), values, words)

    def _shape(self, view: HostView) -> object | None:
        """Everything about a namespace but its own addresses; None where it is unlike any other."""
        own = {address: number for number, address in enumerate(_own(view))}
        if has_rules(view) or view.services or view.sets:
            return None
        if any(self._owners[each] > 1 or each in self._gateways for each in own):
            return None
        wired = []
        for link in _cards(view):
            cable = self._cables.get((view.name, link.name))
            port = None if cable is None else self._stacks[cable[0]].view.link(cable[1])
            if cable is None or port is None or port.addresses or link.is_bridge or link.master:
                return None
            around = (port.master, port.up, port.hairpin, port.asks, port.is_bridge)
            wired.append(
                (link.name, link.up, link.asks, link.mac is None, cable[0], around, self._set(cable))
            )
        addresses = tuple(
            (
                link.name,
                link.up,
                tuple((a.network, own.get(a.ip, a.ip)) for a in link.addresses if a.version == 4),
            )
            for link in view.links
        )

        def personal(held: Address | None) -> object:
            return held if held is None else own.get(held, held)

        routes = tuple(
            (
                personal(r.destination.network_address)
                if r.destination.num_addresses == 1
                else r.destination,
                r.destination.prefixlen,
                personal(r.via),
                r.device,
                personal(r.source),
                r.kind,
                r.table,
                r.metric,
            )
            for r in view.routes
            if r.destination.version == 4
        )
        return tuple(wired), addresses, routes, view.routing_rules, frozenset(view.sysctls.items())

    def _set(self, cable: Plug) -> object:
        """The sysctls that name a port."""
        return self._named.get(cable, frozenset())

    def _networks_around(self, number: int) -> frozenset[Network]:
        """The networks that any routing speaks of, and that hold an address."""
        return frozenset(network for first, last, network in self._networks if first <= number <= last)

    # --- what is known of everybody -------------------------------------------------------------------------

    @cached_property
    def _cables(self) -> dict[Plug, Plug]:
        """For each device that is on a cable of its own, the other end."""
        on: Counter[Plug] = Counter(plug for wire in self._subject.world.wires for plug in wire.plugs)
        found: dict[Plug, Plug] = {}
        for wire in self._subject.world.wires:
            if _is_cable(wire) and all(on[plug] == 1 for plug in wire.plugs):
                near, far = wire.plugs
                found[near], found[far] = far, near
        return found

    @cached_property
    def _gateways(self) -> frozenset[object]:
        """The next hops of all routes."""
        views = (stack.view for stack in self._stacks.values())
        return frozenset(route.via for view in views for route in view.routes if route.via is not None)

    @cached_property
    def _owners(self) -> Counter[object]:
        """How many devices have each address."""
        views = (stack.view for stack in self._stacks.values())
        return Counter(address.ip for view in views for link in view.links for address in link.addresses)

    @cached_property
    def _named(self) -> dict[Plug, frozenset[tuple[str, str]]]:
        """The sysctls of single devices, by the device, without its name."""
        found: dict[Plug, set[tuple[str, str]]] = {}
        for node, stack in self._stacks.items():
            names = {link.name for link in stack.view.links}
            for key, value in stack.view.sysctls.items():
                for device in names.intersection(part.replace("/", ".") for part in key.split(".")) | (
                    names.intersection(key.split("/"))
                ):
                    found.setdefault((node, device), set()).add((key.replace(device, "*"), value))
        return {plug: frozenset(settings) for plug, settings in found.items()}

    @cached_property
    def _networks(self) -> list[tuple[int, int, Network]]:
        """Every IPv4 network of routes, of rules of routing, of devices, and every broadcast address."""
        found = dict.fromkeys(each for stack in self._stacks.values() for each in _spoken_of(stack.view))
        return [
            (int(each.network_address), int(each.broadcast_address), each)
            for each in found
            if each.version == 4 and each.prefixlen
        ]


def _spoken_of(view: HostView) -> Iterator[Network]:
    own = set(_own(view))
    for route in view.routes:
        if not (route.destination.num_addresses == 1 and route.destination.network_address in own):
            yield route.destination
    for rule in view.routing_rules:
        yield from (each for each in (rule.source, rule.destination) if each is not None)
    yield from view.broadcasts()
    for link in view.links:
        yield from (address.network for address in link.addresses if address.network.num_addresses > 1)


def _own(view: HostView) -> list[Address]:
    """A namespace's own IPv4 addresses, in order."""
    cards = (link for link in view.links if link.name != LOOPBACK)
    return [a.ip for link in cards for a in link.addresses if a.version == 4 and not a.ip.is_loopback]


def _cards(view: HostView) -> Iterable[Link]:
    return (link for link in view.links if link.name != LOOPBACK)


def _is_cable(wire: Wire) -> bool:
    return len(wire.plugs) == 2 and not wire.apart
