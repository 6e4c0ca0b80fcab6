"""What a namespace holds, seen from inside: its devices, addresses and routes.

Networks, endpoints and cables are described where people think of them; here they are turned into what
`ip addr` and `ip route` would show in each namespace. It works on any topology, but addresses that IPAM has
not given out yet are missing until `Topology.resolved()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from netverify.topology.containers import Container, Endpoint
from netverify.topology.devices import EVERYTHING, Interface, Route
from netverify.topology.errors import TopologyError, quoted
from netverify.topology.hosts import Host
from netverify.topology.networks import Network, NetworkDriver
from netverify.topology.values import Address, InterfaceAddress

if TYPE_CHECKING:
    from netverify.topology.model import Topology

_LAYER_3 = ("l3", "l3s")


@dataclass(frozen=True)
class Attachment:
    """A container on a network with everything decided: what the lab builds for one endpoint.

    `host_device` is None for macvlan and ipvlan, `mac` for ipvlan (it shares its parent's).
    """

    container: str
    host: str
    network: Network
    device: str
    addresses: tuple[InterfaceAddress, ...]
    mac: str | None
    host_device: str | None


def attachments(topology: Topology, container: Container) -> tuple[Attachment, ...]:
    """The container's endpoints, in order. Raises TopologyError where the topology is not resolved."""
    found = []
    for endpoint in container.endpoints:
        network = topology.network(endpoint.network)
        if endpoint.device is None or len(endpoint.addresses) < len(network.subnets):
            raise TopologyError(
                f"topology {quoted(topology.name)}",
                ("containers", container.name, "networks", network.name),
                "nobody has given it a device and addresses yet",
                "a topology from Topology.resolved()",
            )
        found.append(
            Attachment(
                container.name,
                container.host,
                network,
                endpoint.device,
                tuple(map(network.with_prefix, endpoint.addresses)),
                endpoint.mac,
                endpoint.host_device,
            )
        )
    return tuple(found)


def endpoint_devices(topology: Topology, container: Container) -> tuple[str, ...]:
    """The devices of the container's endpoints: eth0, eth1, ... where nobody named them."""
    taken = {endpoint.device for endpoint in container.endpoints}
    taken |= {interface.device for interface in topology.cable_ends(container.name)}
    free = (
        name
        for name in map("eth{}".format, range(len(taken) + len(container.endpoints)))
        if name not in taken
    )
    return tuple(endpoint.device or next(free) for endpoint in container.endpoints)


def interfaces_of(topology: Topology, node: Host | Container) -> Iterator[Interface]:
    """Every device in the namespace of `node`, but for lo, in the order in which they come to be there."""
    if isinstance(node, Host):
        yield from node.interfaces
        yield from node.bridges
        for network in topology.networks_on(node.name):
            if network.has_bridge:
                yield Interface(network.host_device, network.bridge_addresses, mtu=network.mtu)
        for container in topology.containers_on(node.name):
            for endpoint in container.endpoints:
                if endpoint.host_device is not None:
                    yield Interface(
                        endpoint.host_device, master=topology.network(endpoint.network).host_device
                    )
    else:
        for endpoint, device in zip(node.endpoints, endpoint_devices(topology, node), strict=True):
            network = topology.network(endpoint.network)
            addresses = tuple(map(network.with_prefix, endpoint.addresses))
            yield Interface(device, addresses, mac=endpoint.mac, mtu=network.mtu)
    yield from topology.cable_ends(node.name)


def routes_of(topology: Topology, node: Host | Container) -> tuple[Route, ...]:
    """The routes to set in the namespace of `node`, in order: its own, then a container's default routes.

    A container gets one default route for each family for which it has none of its own: through the first of
    its networks that offers one. A network offers none if it is internal or says so; nor does an overlay, on
    which nobody has the gateway's address. An ipvlan in layer 3 has no neighbours: its route is the device.
    """
    if isinstance(node, Host):
        return node.routes
    routes = list(node.routes)
    for version, everything in EVERYTHING.items():
        if any(route.destination == everything for route in routes):
            continue
        for endpoint, device in zip(node.endpoints, endpoint_devices(topology, node), strict=True):
            network = topology.network(endpoint.network)
            gateway = network.gateway(version)
            if gateway is None or not offers_default_route(network):
                continue
            layer_3 = network.mode in _LAYER_3
            routes.append(Route(everything, device=device) if layer_3 else Route(everything, via=gateway))
            break
    return tuple(routes)


def offers_default_route(network: Network) -> bool:
    """Whether containers may get their default route through this network."""
    return network.default_route and not network.internal and network.driver is not NetworkDriver.OVERLAY


def addresses_of(
    topology: Topology, node: Host | Container, version: int | None = None
) -> tuple[Address, ...]:
    """The addresses of the namespace of `node`, of one family or of both, 127.0.0.1 and ::1 left out."""
    return tuple(
        address.ip
        for interface in interfaces_of(topology, node)
        for address in interface.addresses
        if version in (None, address.version)
    )


def tunnel_addresses(topology: Topology, network: Network) -> dict[str, Address]:
    """For each host of an overlay, the address that its VXLAN packets come from.

    It is the host's first address on the first segment that all of the overlay's hosts are plugged into.
    Raises TopologyError if there is none.
    """
    hosts = [topology.host(name) for name in network.hosts]
    for segment in topology.segments:
        for version in (4, 6):
            ends = {host.name: _on_segment(host, segment.name, version) for host in hosts}
            found = {name: address for name, address in ends.items() if address is not None}
            if len(found) == len(hosts):
                return found
    raise TopologyError(
        f"topology {quoted(topology.name)}",
        ("networks", network.name, "hosts"),
        "its hosts do not meet anywhere",
        "hosts with addresses on one common segment, over which VXLAN can go",
    )


def digits(*words: str) -> str:
    """Hex digits that depend on `words` alone, where Docker and the kernel draw lots."""
    return sha256("/".join(words).encode()).hexdigest()


def words_mac(prefix: str, *words: str) -> str:
    """A MAC address that depends on `words` alone: two bytes of `prefix`, then four."""
    return f"{prefix}:" + bytes.fromhex(digits(*words)[:8]).hex(":")


def address_mac(address: Address) -> str:
    """The MAC that Docker gives an endpoint: 02:42 and the IPv4 address (moby: netutils.GenerateMACFromIP).

    Docker draws lots where there is IPv6 alone; we take the hash of the address.
    """
    if address.version == 4:
        return "02:42:" + address.packed.hex(":")
    return words_mac("02:42", str(address))


def _on_segment(host: Host, segment: str, version: int) -> Address | None:
    for interface in host.interfaces:
        if interface.segment == segment:
            for address in interface.addresses:
                if address.version == version:
                    return address.ip
    return None


def endpoint_path(container: Container, endpoint: Endpoint) -> tuple[str, ...]:
    """The path of an endpoint in a topology file."""
    return ("containers", container.name, "networks", endpoint.network)
