"""A lab's topology as the dataplane's facts: what the model predicts from, when the lab is what is observed.

Nothing here asks the kernel: it says what `build` makes of a topology, in the words of `netverify.dataplane`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_interface

from netverify import docker
from netverify.dataplane.view import LOOPBACK, HostView, Link, Route, Service
from netverify.dataplane.world import Plug, Wire, World
from netverify.docker.from_topology import docker_host
from netverify.errors import InputError
from netverify.model.subject import Endpoint, Subject
from netverify.ruleset import NftRuleset, Ruleset
from netverify.topology.model import Address, Host, Network, NetworkDriver, Topology
from netverify.topology.model import Route as TopologyRoute

BRIDGE_NETFILTER = {
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
}
"""What a new namespace begins with where the module is loaded (br_netfilter's own defaults)."""

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_STACKED = (NetworkDriver.MACVLAN, NetworkDriver.IPVLAN)


def world_of(topology: Topology) -> World:
    """Every namespace of a topology and the wires between them, as the lab builds them."""
    topology = topology.resolved()
    return World((view_of(topology, node.name) for node in topology.nodes()), _wires(topology))


def view_of(topology: Topology, node: str) -> HostView:
    """One namespace of a topology: a host's, or a container's own."""
    topology = topology.resolved()
    owner = topology.node(topology.namespace_of(node))
    links = tuple(_links(topology, owner.name))
    routes = tuple(_route(links, route) for route in topology.routes_of(owner.name))
    settings: dict[str, str] = {}
    ipv4, ipv6 = Ruleset("ipv4"), Ruleset("ipv6")
    services: tuple[Service, ...] = ()
    nft, sets = NftRuleset(), {}
    if isinstance(owner, Host):
        settings |= {_FORWARDING[family]: "1" for family in owner.forwarding}
        if owner.docker is not None:
            engine = docker_host(topology, owner.name)
            settings |= BRIDGE_NETFILTER if docker.loads_br_netfilter(engine) else {}
            settings |= docker.sysctls(engine)
            ipv4, ipv6 = docker.rules(engine)
            nft, sets = docker.Daemon(engine).nft, docker.ipsets(engine)
            services = services_of(engine)
        ipv4 = ipv4 if owner.rules is None else Ruleset.parse(owner.rules, family="ipv4")
        ipv6 = ipv6 if owner.rules6 is None else Ruleset.parse(owner.rules6, family="ipv6")
    settings |= dict(owner.sysctls)
    view = HostView(
        owner.name,
        links,
        routes,
        sysctls=settings,
        ipv4=ipv4,
        ipv6=ipv6,
        services=services,
        sets=sets,
        nft=nft,
    )
    return view.with_connected_routes()


def services_of(engine: docker.DockerHost) -> tuple[Service, ...]:
    """The sockets that a Docker engine holds on its host."""
    return tuple(
        Service(
            _PROTOCOLS[listener.protocol],
            listener.port,
            None if listener.address.is_unspecified else listener.address,
            listener.target,
            listener.address.version,
            answers=listener.target is not None,
            answers_as_asked=listener.answers_as_asked,
        )
        for listener in docker.listeners(engine)
    )


def subject_of(topology: Topology) -> Subject:
    """A topology to ask questions about; its parties are the endpoints, containers first."""
    topology = topology.resolved()
    names = [*(container.name for container in topology.containers), *(host.name for host in topology.hosts)]
    endpoints = tuple(
        Endpoint(
            name,
            topology.namespace_of(name),
            tuple(address for version in (4, 6) for address in topology.addresses_of(name, version)),
        )
        for name in names
    )
    views = tuple(view_of(topology, node.name) for node in topology.nodes())
    return Subject(f"topology {topology.name}", views, tuple(_wires(topology)), endpoints)


def with_rules(world: World, rules: Mapping[str, Ruleset]) -> World:
    """The same world with other rules on some hosts: what was loaded or changed after the lab was built."""
    views = []
    for name, stack in world.stacks.items():
        given = rules.get(name)
        if given is None:
            views.append(stack.view)
        elif given.family == "ipv4":
            views.append(replace(stack.view, ipv4=given))
        else:
            views.append(replace(stack.view, ipv6=given))
    return World(views, world.wires)


_FORWARDING = {"ipv4": "net.ipv4.ip_forward", "ipv6": "net.ipv6.conf.all.forwarding"}


def _links(topology: Topology, node: str) -> Iterator[Link]:
    owner = topology.node(node)
    loopback = not isinstance(owner, Host) or owner.loopback
    own = ["127.0.0.1/8", "::1/128"] if 6 in topology.versions else ["127.0.0.1/8"]
    yield Link(LOOPBACK, tuple(map(ip_interface, own)) if loopback else (), up=loopback)
    bridges = {network.host_device for network in _bridged(topology, node)}
    hairpin: set[str] = set()
    if isinstance(owner, Host):
        bridges |= {bridge.device for bridge in owner.bridges}
        if owner.docker is not None and not owner.docker.userland_proxy:
            hairpin = {network.host_device for network in _bridged(topology, node)}
    for interface in topology.interfaces_of(node):
        yield Link(
            interface.device,
            interface.addresses,
            is_bridge=interface.device in bridges,
            master=interface.master,
            up=interface.up,
            hairpin=interface.master in hairpin,
            mac=None if interface.mac is None else int(interface.mac.replace(":", ""), 16),
        )
    for network in _bridged(topology, node):
        if network.driver is NetworkDriver.OVERLAY:
            yield Link(_tunnel(network), master=network.host_device)


def _bridged(topology: Topology, node: str) -> list[Network]:
    if not isinstance(topology.node(node), Host):
        return []
    return [network for network in topology.networks_on(node) if network.has_bridge]


def _tunnel(network: Network) -> str:
    return f"vxlan{network.vni}"


def _route(links: tuple[Link, ...], route: TopologyRoute) -> Route:
    device = route.device
    if device is None and route.via is not None:
        device = _towards(links, route.via)
    return Route(route.destination, route.via, device, route.source, route.kind)


def _towards(links: tuple[Link, ...], via: Address) -> str:
    """The device behind which a gateway is."""
    for link in links:
        if any(via in address.network for address in link.addresses):
            return link.name
    raise InputError(f"no device of {', '.join(link.name for link in links)} has the subnet of gateway {via}")


def _wires(topology: Topology) -> Iterator[Wire]:
    stacked = {network.name: network for network in topology.networks if network.driver in _STACKED}
    children: dict[Plug, list[Plug]] = {}
    for container in topology.containers:
        for endpoint in container.endpoints:
            network = topology.network(endpoint.network)
            plug = (topology.namespace_of(container.name), endpoint.device or "eth0")
            if network.name in stacked:
                children.setdefault((network.host, network.host_device), []).append(plug)
            elif endpoint.host_device is not None:
                yield Wire(frozenset({(container.host, endpoint.host_device), plug}))
    for segment in topology.segments:
        plugs = {
            (host.name, interface.device)
            for host in topology.hosts
            for interface in host.interfaces
            if interface.segment == segment.name
        }
        yield _shared(plugs, {parent: children.pop(parent) for parent in plugs & children.keys()})
    for parent, hanging in children.items():
        yield _shared({parent}, {parent: hanging})
    for cable in topology.cables:
        yield Wire(frozenset((topology.namespace_of(end.node), end.interface.device) for end in cable.ends))
    for network in topology.networks:
        if network.driver is NetworkDriver.OVERLAY:
            yield Wire(frozenset((host, _tunnel(network)) for host in network.hosts))


def _shared(plugs: set[Plug], children: Mapping[Plug, list[Plug]]) -> Wire:
    """A switch, and the devices that stand on those plugged into it; those do not hear their parent."""
    apart = {(parent, child) for parent, hanging in children.items() for child in hanging}
    everybody = plugs | {child for hanging in children.values() for child in hanging}
    return Wire(frozenset(everybody), frozenset(apart))
