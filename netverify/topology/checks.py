"""What must hold for a topology as a whole; each rule is one function, and `check` runs them in order.

A rule may rely on those before it. Errors carry the path that the value has in a topology file.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, NoReturn

from netverify.topology.containers import Container
from netverify.topology.devices import Interface, Route
from netverify.topology.errors import Step, TopologyError, did_you_mean, quoted
from netverify.topology.hosts import Host
from netverify.topology.inventory import endpoint_path, tunnel_addresses
from netverify.topology.networks import Network, NetworkDriver
from netverify.topology.values import Address, Subnet, check_usable

if TYPE_CHECKING:
    from netverify.topology.model import Topology


def check(topology: Topology) -> None:
    """Raise TopologyError for the first rule that `topology` breaks."""
    for rule in (
        _names,
        _host_interfaces,
        _networks,
        _containers,
        _shared_namespaces,
        _cables,
        _namespaces,
        _parents,
        _overlays,
        _addresses_on_networks,
        _addresses_on_segments,
        _routes,
        _published_ports,
        _services,
    ):
        rule(topology)


def _wrong(topology: Topology, path: Iterable[Step], problem: str, expected: str) -> NoReturn:
    raise TopologyError(f"topology {quoted(topology.name)}", tuple(path), problem, expected)


def _path(node: Host | Container, *rest: Step) -> tuple[Step, ...]:
    return ("hosts" if isinstance(node, Host) else "containers", node.name, *rest)


def _names(topology: Topology) -> None:
    """Hosts and containers share their names, for both are rows of a matrix; networks and segments do not."""
    taken: dict[str, str] = {}
    for key, names in (
        ("hosts", [host.name for host in topology.hosts]),
        ("containers", [container.name for container in topology.containers]),
    ):
        for name in names:
            if name in taken:
                _wrong(
                    topology, (key, name), f"the name is taken, among the {taken[name]}", "a name of its own"
                )
            taken[name] = key
    for key, names in (
        ("segments", [segment.name for segment in topology.segments]),
        ("networks", [network.name for network in topology.networks]),
    ):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                _wrong(topology, (key, name), "the name is taken", "a name of its own")
            seen.add(name)


def _host_interfaces(topology: Topology) -> None:
    """Segments exist, and whoever is on one has addresses of its subnets."""
    segments = {segment.name: segment for segment in topology.segments}
    for host in topology.hosts:
        for interface in host.interfaces:
            if interface.segment is None:
                continue
            path = _path(host, "interfaces", interface.device)
            segment = segments.get(interface.segment)
            if segment is None:
                _wrong(
                    topology,
                    (*path, "segment"),
                    f"no segment is named {quoted(interface.segment)}",
                    did_you_mean(interface.segment, segments),
                )
            for number, address in enumerate(interface.addresses):
                pools = [subnet for subnet in segment.subnets if subnet.version == address.version]
                if pools and not any(address.ip in pool for pool in pools):
                    _wrong(
                        topology,
                        (*path, "address", number),
                        f"{address} is outside the segment {segment.name}",
                        "an address of " + " or ".join(map(str, pools)),
                    )


def _networks(topology: Topology) -> None:
    """Hosts exist; docker0 is one a host; subnets on a host do not overlap (Docker: "Pool overlaps")."""
    hosts = {host.name: host for host in topology.hosts}
    for network in topology.networks:
        for number, name in enumerate(network.hosts):
            if name not in hosts:
                _wrong(
                    topology,
                    ("networks", network.name, "hosts" if len(network.hosts) > 1 else "host", number),
                    f"no host is named {quoted(name)}",
                    did_you_mean(name, hosts),
                )
    for host in topology.hosts:
        carried = topology.networks_on(host.name)
        defaults = [network.name for network in carried if network.default_bridge]
        if len(defaults) > 1:
            _wrong(
                topology,
                ("networks", defaults[1], "default_bridge"),
                f"{host.name} has one in {defaults[0]}",
                "one default bridge a host",
            )
        for version in (4, 6):
            pools = [(pool, network) for network in carried if (pool := network.subnet(version)) is not None]
            pools.sort(key=lambda pair: (int(pair[0].network_address), pair[0].prefixlen))
            for (one, owner), (two, other) in pairwise(pools):
                if two.network_address in one:
                    later = max(owner, other, key=carried.index)
                    earlier = owner if later is other else other
                    _wrong(
                        topology,
                        ("networks", later.name, "subnet"),
                        f"{one} and {two} overlap, and {host.name} carries {earlier.name} too",
                        "a subnet of its own",
                    )


def _containers(topology: Topology) -> None:
    """A container's host exists and carries its networks, and its addresses belong there."""
    hosts = {host.name for host in topology.hosts}
    for container in topology.containers:
        if container.host not in hosts:
            _wrong(
                topology,
                _path(container, "host"),
                f"no host is named {quoted(container.host)}",
                did_you_mean(container.host, sorted(hosts)),
            )
        carried = {network.name: network for network in topology.networks_on(container.host)}
        for endpoint in container.endpoints:
            path = endpoint_path(container, endpoint)
            network = carried.get(endpoint.network)
            if network is None:
                elsewhere = any(network.name == endpoint.network for network in topology.networks)
                problem = (
                    f"host {container.host} does not carry it"
                    if elsewhere
                    else f"no network is named {quoted(endpoint.network)}"
                )
                _wrong(topology, path, problem, did_you_mean(endpoint.network, carried))
            for number, address in enumerate(endpoint.addresses):
                pool = network.subnet(address.version)
                if pool is None:
                    _wrong(
                        topology,
                        (*path, "address", number),
                        f"{address} is IPv{address.version}, and the network has no such subnet",
                        "an address of " + " or ".join(map(str, network.subnets)),
                    )
                check_usable(f"topology {quoted(topology.name)}", (*path, "address", number), address, pool)
            if endpoint.host_device is not None and not network.has_bridge:
                _wrong(
                    topology,
                    (*path, "host_device"),
                    f"driver {network.driver.value} leaves nothing on the host",
                    "it on bridges and overlays only",
                )
            if endpoint.mac is not None and network.driver is NetworkDriver.IPVLAN:
                _wrong(
                    topology, (*path, "mac"), "ipvlan endpoints share their parent's MAC address", "no mac"
                )


def _shared_namespaces(topology: Topology) -> None:
    """`container:NAME` names a container of the same host, and following the names ends somewhere."""
    containers = {container.name: container for container in topology.containers}
    for container in topology.containers:
        path = _path(container, "mode")
        trail = [container.name]
        shares = container.shares if container.mode != "host" else None
        while shares is not None:
            partner = containers.get(shares)
            if partner is None or partner.host != container.host:
                on_host = [
                    c.name for c in topology.containers if c.host == container.host and c is not container
                ]
                _wrong(
                    topology,
                    path,
                    f"{container.host} has no container named {quoted(shares)}",
                    did_you_mean(shares, on_host),
                )
            if shares in trail:
                _wrong(
                    topology,
                    path,
                    "nobody in " + " -> ".join([*trail, shares]) + " has a namespace",
                    "one of them with networks of its own",
                )
            trail.append(shares)
            shares = partner.shares if partner.mode != "host" else None


def _cables(topology: Topology) -> None:
    """Cable ends are in namespaces that exist."""
    owners = [node.name for node in topology.nodes()]
    for number, cable in enumerate(topology.cables):
        for end in cable.ends:
            if end.node not in owners:
                sharing = any(container.name == end.node for container in topology.containers)
                problem = (
                    f"{end.node} has no namespace of its own"
                    if sharing
                    else f"no host or container is named {quoted(end.node)}"
                )
                _wrong(topology, ("cables", number, str(end)), problem, did_you_mean(end.node, owners))


def _namespaces(topology: Topology) -> None:
    """In one namespace no device, address or MAC comes twice, and masters are bridges of that namespace."""
    for node in topology.nodes():
        interfaces = topology.interfaces_of(node.name)
        bridges = _bridges(topology, node)
        devices: set[str] = set()
        owners: dict[Address | str, str] = {}
        for interface in interfaces:
            if interface.device in devices:
                _wrong(
                    topology,
                    _path(node),
                    f"there are two devices named '{interface.device}'",
                    "a name of its own for each device of a namespace",
                )
            devices.add(interface.device)
            mac = [interface.mac] if interface.mac else []
            for value in [*(address.ip for address in interface.addresses), *mac]:
                if value in owners:
                    _wrong(
                        topology,
                        _path(node),
                        f"both {owners[value]} and {interface.device} have {value}",
                        "each address and MAC on one device of a namespace",
                    )
                owners[value] = interface.device
            if interface.master is not None and interface.master not in bridges:
                _wrong(
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
    return _path(node, "interfaces", interface.device, *rest)


def _parents(topology: Topology) -> None:
    """The parent of a macvlan or ipvlan is there and free.

    A device has one receive handler (net/core/dev.c, netdev_rx_handler_register): so it belongs to one
    of bridge, macvlan and ipvlan.
    """
    users: dict[tuple[str, str], Network] = {}
    for network in topology.networks:
        if network.has_bridge:
            continue
        path = ("networks", network.name, "parent")
        devices = {interface.device: interface for interface in topology.interfaces_of(network.host)}
        parent = devices.get(network.host_device)
        if parent is None:
            _wrong(
                topology,
                path,
                f"{network.host} has no device named {quoted(network.host_device)}",
                did_you_mean(network.host_device, devices),
            )
        if parent.master is not None:
            _wrong(
                topology,
                path,
                f"{parent.device} is a port of the bridge {parent.master}",
                "a device of its own",
            )
        other = users.setdefault((network.host, parent.device), network)
        if other.driver is not network.driver:
            _wrong(
                topology,
                path,
                f"{parent.device} is the parent of the {other.driver.value} {other.name} already",
                "one of macvlan and ipvlan on a device",
            )
        alone = network.mode == "passthru" and len(topology.endpoints_on(network.name)) > 1
        if alone or (other is not network and "passthru" in (network.mode, other.mode)):
            _wrong(
                topology,
                ("networks", network.name, "mode"),
                f"passthru gives the whole of {parent.device} to one endpoint, and there are more",
                "one endpoint, or another mode",
            )


def _overlays(topology: Topology) -> None:
    """Overlays have an identifier of their own, and their hosts meet somewhere."""
    owners: dict[int, str] = {}
    for network in topology.networks:
        if network.vni is None:
            continue
        if network.vni in owners:
            _wrong(
                topology,
                ("networks", network.name, "vni"),
                f"{owners[network.vni]} has {network.vni} too",
                "a VXLAN network identifier of its own",
            )
        owners[network.vni] = network.name
        tunnel_addresses(topology, network)


def _addresses_on_networks(topology: Topology) -> None:
    """On a network no address and no MAC comes twice, and the gateway's is nobody else's."""
    for network in topology.networks:
        taken: dict[Address | str, str] = {}
        for subnet in network.subnets:
            gateway = network.gateway(subnet.version)
            if gateway is not None:
                taken[gateway] = "the gateway"
        for container, endpoint in topology.endpoints_on(network.name):
            values = [*(("address", number, a) for number, a in enumerate(endpoint.addresses))]
            for key, number, address in values:
                if address in taken:
                    _wrong(
                        topology,
                        (*endpoint_path(container, endpoint), key, number),
                        f"{taken[address]} has {address}",
                        "an address of its own",
                    )
                taken[address] = container.name
            if endpoint.mac is not None:
                if endpoint.mac in taken:
                    _wrong(
                        topology,
                        (*endpoint_path(container, endpoint), "mac"),
                        f"{taken[endpoint.mac]} has {endpoint.mac}",
                        "a MAC of its own",
                    )
                taken[endpoint.mac] = container.name


def _addresses_on_segments(topology: Topology) -> None:
    """On a segment no address and no MAC comes twice, macvlan and ipvlan endpoints included."""
    owners: dict[tuple[str, Address | str], str] = {}

    def take(segment: str, value: Address | str, owner: str, path: tuple[Step, ...]) -> None:
        known = owners.setdefault((segment, value), owner)
        if known != owner:
            _wrong(topology, path, f"{known} has {value} on {segment}", "an address of its own")

    for host in topology.hosts:
        for interface in host.interfaces:
            if interface.segment is not None:
                owner, path = f"{host.name}:{interface.device}", _path(host, "interfaces", interface.device)
                for number, address in enumerate(interface.addresses):
                    take(interface.segment, address.ip, owner, (*path, "address", number))
                if interface.mac is not None:
                    take(interface.segment, interface.mac, owner, (*path, "mac"))
    for network in topology.networks:
        segment = None if network.has_bridge else topology.parent_segment(network)
        for container, endpoint in topology.endpoints_on(network.name) if segment else ():
            for number, ip in enumerate(endpoint.addresses):
                path = (*endpoint_path(container, endpoint), "address", number)
                take(str(segment), ip, container.name, path)


def _routes(topology: Topology) -> None:
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
            path = _path(node, "routes", number)
            if route.device is not None and route.device not in links:
                _wrong(
                    topology,
                    path,
                    f"{node.name} has no device named {quoted(route.device)}",
                    did_you_mean(route.device, links),
                )
            if route.via is not None and not route.onlink and not _next_door(route, on_device):
                near = ", ".join(str(subnet) for subnet, _ in on_device) or "nothing"
                _wrong(
                    topology,
                    path,
                    f"the gateway {route.via} is out of reach ({node.name} is connected to {near})",
                    "a gateway in a subnet of its own, or onlink",
                )
            if route.source is not None and route.source not in own:
                _wrong(
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


def _published_ports(topology: Topology) -> None:
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
            _wrong(
                topology,
                _path(container, "publish", number),
                f"{address} is no address of {host.name}",
                "one of " + ", ".join(map(str, sorted(map(str, own)))) + ", 127.0.0.1 or none",
            )
        for (first, _, one), (second, number, two) in combinations(published, 2):
            if one.clashes_with(two):
                _wrong(
                    topology,
                    _path(second, "publish", number),
                    f"{two} clashes with {one} of {first.name}",
                    f"another port or address of {host.name}",
                )


def _services(topology: Topology) -> None:
    """In one namespace a port has one service."""
    for owner in topology.nodes():
        taken: dict[tuple[str, int], str] = {}
        for name in topology.inhabitants(owner.name):
            node = topology.node(name)
            for number, pair in enumerate(node.listens):
                if pair in taken:
                    _wrong(
                        topology,
                        _path(node, "listen", number),
                        f"{taken[pair]} listens on {pair[0]}/{pair[1]} in the same namespace",
                        "another port",
                    )
                taken[pair] = name
