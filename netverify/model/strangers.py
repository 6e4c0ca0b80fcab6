"""Who is beyond a host's devices and is not described: neighbours that exist only so that packets have two ends.

A stranger has a namespace without rules, one device, and addresses. Behind a bridge each stranger hangs on a
port of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network

from netverify.dataplane.packet import Address
from netverify.dataplane.view import LOOPBACK, HostView, InterfaceAddress, Link, Network, Route
from netverify.dataplane.world import Plug, Wire

DEVICE = "eth0"
_EVERYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True)
class Stranger:
    """Somebody behind `device` of a host.

    `addresses` are its own, the first of each IP version is what it sends from. `gateways` are addresses of
    the host through which it sends what is not on its link; `through` narrows that down to some networks.
    """

    name: str
    device: str
    addresses: tuple[InterfaceAddress, ...] = ()
    gateways: tuple[Address, ...] = ()
    through: tuple[Network, ...] | None = None

    def also(self, *addresses: Address) -> Stranger:
        """The same with more addresses, which it sends from first."""
        return replace(self, addresses=(*(ip_interface(address) for address in addresses), *self.addresses))

    def view(self) -> HostView:
        """Its namespace."""
        own = (*map(ip_interface, ("127.0.0.1/8", "::1/128")),)
        return HostView(self.name, (Link(LOOPBACK, own), Link(DEVICE, self.addresses)), tuple(self._routes()))

    def _routes(self) -> Iterable[Route]:
        for version in (4, 6):
            own = [address for address in self.addresses if address.version == version]
            if not own:
                continue
            source = own[0].ip
            for address in own:
                yield Route(ip_network(address.network), device=DEVICE, source=source)
            for gateway in self.gateways:
                if gateway.version != version:
                    continue
                yield Route(ip_network(gateway), device=DEVICE, source=source)
                networks = (_EVERYWHERE[version],) if self.through is None else self.through
                for network in networks:
                    if network.version == version:
                        yield Route(network, gateway, DEVICE, source)


def attach(host: HostView, strangers: Iterable[Stranger]) -> tuple[HostView, tuple[Wire, ...]]:
    """The host with the ports that strangers hang on, and the wires to them."""
    ports: list[Link] = []
    wires: list[Wire] = []
    shared: dict[str, list[Plug]] = {}
    for stranger in strangers:
        plug = (stranger.name, DEVICE)
        if not host.link(stranger.device).is_bridge:
            shared.setdefault(stranger.device, []).append(plug)
            continue
        port = _free(f"{stranger.device}-{stranger.name}", host)
        ports.append(Link(port, master=stranger.device))
        wires.append(Wire(frozenset({(host.name, port), plug})))
    for device, plugs in shared.items():
        wires.append(Wire(frozenset({(host.name, device), *plugs})))
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
