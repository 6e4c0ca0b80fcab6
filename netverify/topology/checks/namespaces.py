"""Within one namespace: devices, addresses, routes, published ports and services get along."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from netverify.topology.checks.report import node_path, wrong
from netverify.topology.containers import Container
from netverify.topology.devices import Interface, Route
from netverify.topology.errors import Step, did_you_mean, quoted
from netverify.topology.hosts import Host
from netverify.topology.values import Address, Subnet

if TYPE_CHECKING:
    from netverify.topology.model import Topology


def devices(topology: Topology) -> None:
    """In one namespace no device, address or MAC comes twice, and masters are bridges of that namespace."""
    for node in topology.nodes():
        interfaces = topology.interfaces_of(node.name)
        bridges = _bridges(topology, node)
        devices: set[str] = set()
        owners: dict[Address | str, str] = {}
        for interface in interfaces:
            if interface.device in devices:
                wrong(
                    topology,
                    node_path(node),
                    f"there are two devices named '{interface.device}'",
                    "a name of its own for each device of a namespace",
                )
            devices.add(interface.device)
            mac = [interface.mac] if interface.mac else []
            for value in [*(address.ip for address in interface.addresses), *mac]:
                if value in owners:
                    wrong(
                        topology,
                        node_path(node),
                        f"both {owners[value]} and {interface.device} have {value}",
                        "each address and MAC on one device of a namespace",
                    )
                owners[value] = interface.device
            if interface.master is not None and interface.master not in bridges:
                wrong(
                    topology,
                    _interface_path(topology, node, interface, "master"),
                    f"{node.name} has no bridge named {quoted(interface.master)}",
                    did_you_mean(interface.master, sorted(bridges)),
                )


def _bridges(topology: Topology, node: Host | Container) -> set[str]:
    if not isinstance(node, Host):
        return set()
    networks = topology.networks_on(node.name)
    own = {bridge.device for bridge in node.bridges}
    return own | {network.host_device for network in networks if network.has_bridge}


def _interface_path(
    topology: Topology, node: Host | Container, interface: Interface, *rest: Step
) -> tuple[Step, ...]:
    for number, cable in enumerate(topology.cables):
        for end in cable.ends:
            if end.node == node.name and end.interface is interface:
                return ("cables", number, str(end), *rest)
    return node_path(node, "interfaces", interface.device, *rest)


def routes(topology: Topology) -> None:
    """A route's device is there, its gateway is next door, and its source address is the node's own."""
    for node in topology.nodes():
        if not node.routes:
            continue
        links = _links(topology, node)
        own = set(topology.addresses_of(node.name))
        on_device: list[tuple[Subnet, str]] = [
            (subnet, device) for device, subnets in links.items() for subnet in subnets
        ]
        for number, route in enumerate(node.routes):
            path = node_path(node, "routes", number)
            if route.device is not None and route.device not in links:
                wrong(
                    topology,
                    path,
                    f"{node.name} has no device named {quoted(route.device)}",
                    did_you_mean(route.device, links),
                )
            if route.via is not None and not route.onlink and not _next_door(route, on_device):
                near = ", ".join(str(subnet) for subnet, _ in on_device) or "nothing"
                wrong(
                    topology,
                    path,
                    f"the gateway {route.via} is out of reach ({node.name} is connected to {near})",
                    "a gateway in a subnet of its own, or onlink",
                )
            if route.source is not None and route.source not in own:
                wrong(
                    topology, path, f"{route.source} is no address of {node.name}", "one of its own addresses"
                )
            if route.via is None and route.device is not None:
                on_device.append((route.destination, route.device))


def _next_door(route: Route, on_device: list[tuple[Subnet, str]]) -> bool:
    """Whether the gateway can be asked for by ARP or neighbour discovery."""
    if route.via is None:
        return False
    if route.via.is_link_local and route.via.version == 6:
        return route.device is not None
    return any(route.via in subnet and route.device in (None, device) for subnet, device in on_device)


def _links(topology: Topology, node: Host | Container) -> dict[str, list[Subnet]]:
    """Each device of a namespace and its subnets, also where an endpoint has no address yet."""
    links: dict[str, list[Subnet]] = {}
    for interface in topology.interfaces_of(node.name):
        links[interface.device] = [address.network for address in interface.addresses]
    if isinstance(node, Container):
        for endpoint, device in zip(node.endpoints, links, strict=False):
            links[device] = list(topology.network(endpoint.network).subnets)
    return links


def published_ports(topology: Topology) -> None:
    """A published port is published once a host, on an address that the host has."""
    for host in topology.hosts:
        published = [
            (container, number, mapping)
            for container in topology.containers_on(host.name)
            for number, mapping in enumerate(container.publish)
        ]
        own = set(topology.addresses_of(host.name)) if published else set()
        for container, number, mapping in published:
            address = mapping.host_address
            if address is None or address.is_unspecified or address.is_loopback or address in own:
                continue
            wrong(
                topology,
                node_path(container, "publish", number),
                f"{address} is no address of {host.name}",
                "one of " + ", ".join(map(str, sorted(map(str, own)))) + ", 127.0.0.1 or none",
            )
        for (first, _, one), (second, number, two) in combinations(published, 2):
            if one.clashes_with(two):
                wrong(
                    topology,
                    node_path(second, "publish", number),
                    f"{two} clashes with {one} of {first.name}",
                    f"another port or address of {host.name}",
                )


def services(topology: Topology) -> None:
    """In one namespace a port has one service."""
    for owner in topology.nodes():
        taken: dict[tuple[str, int], str] = {}
        for name in topology.inhabitants(owner.name):
            node = topology.node(name)
            for number, pair in enumerate(node.listens):
                if pair in taken:
                    wrong(
                        topology,
                        node_path(node, "listen", number),
                        f"{taken[pair]} listens on {pair[0]}/{pair[1]} in the same namespace",
                        "another port",
                    )
                taken[pair] = name
