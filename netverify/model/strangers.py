"""Who is beyond a host's devices and is not described: neighbours, so that every packet has two ends.

A stranger has a namespace without rules, one device, and addresses. Behind a bridge each stranger hangs on a
port of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network

from netverify.dataplane.packet import Address
from netverify.dataplane.view import (
    DEFAULT,
    LOCAL,
    LOOPBACK,
    MAIN,
    HostView,
    InterfaceAddress,
    Link,
    Network,
    Route,
    RoutingRule,
)
from netverify.dataplane.world import Plug, Wire

DEVICE = "eth0"
LOOPBACK_ADDRESS = ip_network("127.0.0.1")
_STRANGE = 99
_MISLED = (
    RoutingRule(5, _STRANGE, destination=LOOPBACK_ADDRESS),
    RoutingRule(10, LOCAL),
    RoutingRule(32766, MAIN),
    RoutingRule(32767, DEFAULT),
)
"""The routing of somebody whose table `local` is not asked first."""
EVERYWHERE: Mapping[int, Network] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True)
class Stranger:
    """Somebody behind `device` of a host.

    `addresses` are its own, the first of each IP version is what it sends from. `routes` are networks beyond
    its link, each with the gateway on the link that it uses for them. `loopback_by` is a gateway to which it
    sends what is for 127.0.0.1, instead of keeping it (moby#45610).
    """

    name: str
    device: str
    addresses: tuple[InterfaceAddress, ...] = ()
    routes: tuple[tuple[Network, Address], ...] = ()
    loopback_by: Address | None = None

    def also(self, *addresses: Address) -> Stranger:
        """The same with more addresses, which it sends from first."""
        return replace(self, addresses=(*(ip_interface(address) for address in addresses), *self.addresses))

    def view(self) -> HostView:
        """Its namespace."""
        own = (*map(ip_interface, ("127.0.0.1/8", "::1/128")),)
        links = (Link(LOOPBACK, own), Link(DEVICE, self.addresses))
        if self.loopback_by is None:
            return HostView(self.name, links, tuple(self._routes()))
        source = next(own.ip for own in self.addresses if own.version == 4)
        abroad = Route(LOOPBACK_ADDRESS, self.loopback_by, DEVICE, source, table=_STRANGE)
        return HostView(self.name, links, (*self._routes(), abroad), _MISLED)

    def _routes(self) -> Iterable[Route]:
        sources = {version: own.ip for own in reversed(self.addresses) for version in (own.version,)}
        for own in self.addresses:
            yield Route(ip_network(own.network), device=DEVICE, source=sources[own.version])
        for network, gateway in self.routes:
            if gateway.version in sources:
                source = sources[gateway.version]
                yield Route(ip_network(gateway), device=DEVICE, source=source)
                yield Route(network, gateway, DEVICE, source)


def everything_by(gateways: Iterable[Address]) -> tuple[tuple[Network, Address], ...]:
    """Default routes."""
    return tuple((EVERYWHERE[gateway.version], gateway) for gateway in gateways)


def behind(device: str) -> str:
    """What the namespace is called of whoever is behind a device."""
    return f"(behind {device})"


def attach(
    host: HostView, strangers: Iterable[Stranger], known: Iterable[Wire] = ()
) -> tuple[HostView, tuple[Wire, ...]]:
    """The host with the ports that strangers hang on; and the known wires, with the strangers on them."""
    ports: list[Link] = []
    wires = list(known)
    shared: dict[str, list[Plug]] = {}
    for stranger in strangers:
        plug = (stranger.name, DEVICE)
        if not host.link(stranger.device).is_bridge:
            shared.setdefault(stranger.device, []).append(plug)
            continue
        port = _free(f"{stranger.device}-port{len(ports)}", host)
        ports.append(Link(port, master=stranger.device))
        wires.append(Wire(frozenset({(host.name, port), plug})))
    for device, plugs in shared.items():
        plug = (host.name, device)
        joined = next((wire for wire in wires if plug in wire.plugs), Wire(frozenset({plug})))
        wires = [wire for wire in wires if wire is not joined]
        wires.append(Wire(joined.plugs | set(plugs), joined.apart))
    return replace(host, links=(*host.links, *ports)), tuple(wires)


def _free(wanted: str, host: HostView) -> str:
    while host.has_link(wanted):
        wanted += "-"
    return wanted


def some_address(network: InterfaceAddress, taken: Iterable[Address]) -> InterfaceAddress | None:
    """An address of a device's network that nobody has: the first that is free, None where there is none."""
    used = set(taken)
    inside = network.network
    if inside.prefixlen == inside.max_prefixlen:
        return None
    first, last = int(inside.network_address), int(inside.broadcast_address)
    ends = {first, last} if inside.version == 4 and inside.prefixlen < 31 else {first}
    for number in range(first, min(last, first + len(used) + len(ends) + 1) + 1):
        candidate = type(network)((number, inside.prefixlen))
        if number not in ends and candidate.ip not in used:
            return candidate
    return None
