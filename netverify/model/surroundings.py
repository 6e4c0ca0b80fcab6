"""Who is around a snapshot's host: somebody on each of its links, and somebody behind its default route."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_interface, ip_network

from netverify.dataplane.packet import Address
from netverify.dataplane.view import LOOPBACK, MAIN, HostView, InterfaceAddress, Link, Network
from netverify.host import HostSnapshot
from netverify.model.strangers import Stranger, behind, everything_by, some_address
from netverify.model.subject import Endpoint
from netverify.reachability.text import printable

LAN, INTERNET = "lan", "internet"
CARDS = frozenset({"", "bond", "team", "vlan"})
"""Kinds of devices that lead to other machines when they are a bridge's ports; a real card has no kind."""
_SOMEWHERE = ("203.0.113.9", "198.51.100.9", "192.0.2.9", "2001:db8::9")  # documentation: RFC 5737, RFC 3849


def around(snapshot: HostSnapshot, view: HostView, names: set[str]) -> tuple[list[Stranger], list[Endpoint]]:
    """The strangers around a host, and the names by which they can be asked for.

    Somebody on an outer link has routes by the host to the host's other networks, as a neighbour may have
    who wants to get there, and by the host's own gateway to everything else.
    """
    defaults: dict[tuple[str | None, int], Address | None] = {
        (route.device, route.destination.version): route.via
        for route in reversed(view.routes)
        if route.destination.prefixlen == 0 and route.kind == "unicast" and route.table == MAIN
    }
    inside = (a.ip for c in snapshot.containers for each in c.attachments for a in each.addresses)
    taken = {*view.local_addresses, *inside, *(via for via in defaults.values() if via is not None)}
    strangers: list[Stranger] = []
    endpoints: list[Endpoint] = []
    outer = outer_links(snapshot, view)
    for link in view.links:
        ours = _first_of_each(address for address in link.addresses if not address.ip.is_link_local)
        found = [some_address(address, taken) for address in ours]
        addresses = tuple(address for address in found if address is not None)
        if link.name == LOOPBACK or link.master is not None or not link.up or not addresses:
            continue
        routes = everything_by(address.ip for address in ours)
        if link in outer:
            by_gateway = (defaults.get((link.name, version)) for version in (4, 6))
            routes = (*_by_host(view, link, ours), *everything_by(via for via in by_gateway if via))
        stranger = Stranger(behind(link.name), link.name, addresses, routes)
        strangers.append(stranger)
        reached = tuple(address.ip for address in addresses)
        if link in outer:
            name = free(LAN if len(outer) == 1 else f"{LAN}-{printable(link.name)}", names)
            endpoints.append(Endpoint(name, stranger.name, reached))
        if link.name not in names:
            endpoints.append(Endpoint(printable(link.name), stranger.name, reached, shown=False))
    internet = _internet(view, defaults, free(INTERNET, names))
    if internet is not None:
        strangers.append(internet)
        somewhere = tuple(a.ip for a in internet.addresses if str(a.ip) in _SOMEWHERE)
        endpoints.append(Endpoint(internet.name, internet.name, somewhere))
    return strangers, endpoints


def _by_host(
    view: HostView, link: Link, ours: Iterable[InterfaceAddress]
) -> Iterator[tuple[Network, Address]]:
    """Routes to the networks of the host's other devices, by the host's address on a link."""
    gateways = {address.version: address.ip for address in ours}
    for other in view.links:
        if other.name in (link.name, LOOPBACK):
            continue
        for address in other.addresses:
            if not address.ip.is_link_local and address.version in gateways:
                yield ip_network(address.network), gateways[address.version]


def outer_links(snapshot: HostSnapshot, view: HostView) -> list[Link]:
    """The devices with addresses that lead out of the host: no bridge's ports, and of bridges some.

    A bridge leads on if a card is one of its ports, or if the default route goes by it; others are inside.
    """
    cards = {device.master for device in snapshot.devices if device.kind in CARDS}
    uplinks = {route.device for route in view.routes if route.destination.prefixlen == 0}
    return [
        link
        for link in view.links
        if link.up
        and link.name != LOOPBACK
        and link.master is None
        and (not link.is_bridge or link.name in cards | uplinks)
        and any(not address.ip.is_link_local for address in link.addresses)
    ]


def free(name: str, taken: set[str]) -> str:
    """A name, in brackets if a container has it."""
    return f"({name})" if name in taken else name


def _internet(
    view: HostView, defaults: Mapping[tuple[str | None, int], Address | None], name: str
) -> Stranger | None:
    """Who is behind the default route: he reaches the host's link and public networks, no private ones."""
    device = next((device for device, _version in defaults if device is not None), None)
    if device is None or view.link(device).master is not None:
        return None
    uplink = view.link(device)
    known = [address.network for link in view.links for address in link.addresses]
    addresses: list[InterfaceAddress] = []
    for version in (4, 6):
        free_ones = [
            address
            for address in map(ip_interface, _SOMEWHERE)
            if address.version == version and not any(address.ip in network for network in known)
        ]
        if (device, version) not in defaults or not free_ones:
            continue
        addresses.append(free_ones[0])
        via = defaults[device, version]
        if via is not None:
            lengths = [own.network.prefixlen for own in uplink.addresses if via in own.network]
            addresses.append(ip_interface(f"{via}/{lengths[0] if lengths else via.max_prefixlen}"))
    ours = _first_of_each(address for address in uplink.addresses if not address.ip.is_link_local)
    by_host = _by_host(view, uplink, ours)
    routes = [(network, gateway) for network, gateway in by_host if network.is_global]
    # The host's own addresses, where they are on no network that the gateway is on.
    routes += [(ip_network(address.ip), address.ip) for address in ours]
    return Stranger(name, device, tuple(addresses), tuple(routes))


def _first_of_each(addresses: Iterable[InterfaceAddress]) -> list[InterfaceAddress]:
    """The first IPv4 and the first IPv6 address."""
    found = list(addresses)
    return [a for v in (4, 6) for a in [a for a in found if a.version == v][:1]]
