"""Building a lab from a topology, in the order in which the parts depend on each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from netverify.kernel import netlink, sysctls
from netverify.kernel.docker_host import start_docker
from netverify.kernel.plan import Plan
from netverify.topology.model import (
    Address,
    Container,
    Endpoint,
    Host,
    Interface,
    Network,
    NetworkDriver,
    Topology,
)

if TYPE_CHECKING:
    from netverify.kernel.lab import Lab

VOID = "(void)"
# The kernel's neighbour table is one for the whole machine and holds 1,024 entries by default (gc_thresh3,
# arp(7)); permanent entries are exempt. A lab that could need more than a part of it brings its own.
NEIGHBOURS_LEFT_TO_THE_KERNEL = 400
# Networks whose devices are bridges of the host: they must stand before anything is plugged into them.
BRIDGED = (NetworkDriver.BRIDGE, NetworkDriver.OVERLAY)


def build(lab: Lab, topology: Topology) -> None:
    """Make everything that `topology` describes; on return it is ready for the first packet."""
    topology = topology.resolved()
    lab.topology = topology
    versions = _versions(topology)
    lab.create_namespaces(_names(topology), ipv6=6 in versions)
    plan = lab.plan = Plan({name: space for name, (space, _) in lab.channels.items()}, versions)
    drivers = lab.drivers

    for segment in topology.segments:
        plan.bridge(segment_name(segment.name), "switch")
    for host in topology.hosts:
        if host.loopback:
            plan.loopback(host.name)
        for bridge in host.bridges:
            plan.bridge(host.name, bridge.device, mac=bridge.mac, mtu=bridge.mtu)
            plan.attach(host.name, bridge)
    for network in topology.networks:
        if network.driver in BRIDGED:
            drivers[network.driver].create(network)
    for host in topology.hosts:
        _cards(plan, host)
    _cables(plan, topology)
    for network in topology.networks:
        if network.driver not in BRIDGED:
            drivers[network.driver].create(network)
    for container in topology.containers:
        _container(lab, topology, container)
    for host in topology.hosts:
        for route in host.routes:
            plan.route(host.name, route)
    if _neighbour_count(topology) > NEIGHBOURS_LEFT_TO_THE_KERNEL:
        _permanent_neighbours(plan, topology)
    lab.flush()
    _settings(lab, topology)


def segment_name(segment: str) -> str:
    """The namespace of a segment's switch; no host can be called that."""
    return f"({segment})"


def _names(topology: Topology) -> list[str]:
    """Every namespace to make: switches, hosts, and the containers that have one of their own."""
    names = [segment_name(segment.name) for segment in topology.segments]
    names += [host.name for host in topology.hosts]
    names += [
        container.name
        for container in topology.containers
        if topology.namespace_of(container.name) == container.name
    ]
    if any(interface.segment is None for host in topology.hosts for interface in host.interfaces):
        names.append(VOID)
    return names


def _versions(topology: Topology) -> tuple[int, ...]:
    """The IP versions that occur in the topology; 4 always does, if only on lo."""
    found = {4}
    for network in topology.networks:
        found |= {subnet.version for subnet in network.subnets}
    for interface in _interfaces(topology):
        found |= {address.version for address in interface.addresses}
    return tuple(sorted(found))


def _interfaces(topology: Topology) -> Iterator[Interface]:
    for host in topology.hosts:
        yield from host.interfaces
        yield from host.bridges
    for cable in topology.cables:
        yield from (end.interface for end in cable.ends)


def _cards(plan: Plan, host: Host) -> None:
    for interface in host.interfaces:
        if interface.segment is None:
            near, master = (VOID, plan.spare_name("void")), None
        else:
            switch = segment_name(interface.segment)
            near, master = (switch, plan.spare_name("port")), plan.device(switch, "switch")
        far = (host.name, interface.device)
        plan.veth(near, far, master=master, mac=interface.mac, mtu=interface.mtu)
        plan.attach(host.name, interface)


def _cables(plan: Plan, topology: Topology) -> None:
    for cable in topology.cables:
        near, far = cable.ends
        plan.veth(
            (near.node, near.interface.device),
            (far.node, far.interface.device),
            mac=far.interface.mac,
            near_mac=near.interface.mac,
            mtu=near.interface.mtu,
        )
        for end in cable.ends:
            plan.attach(end.node, end.interface)


def _container(lab: Lab, topology: Topology, container: Container) -> None:
    if topology.namespace_of(container.name) != container.name:
        return  # it shares somebody's namespace, and brings nothing of its own
    lab.plan.loopback(container.name)
    gateways: dict[int, Address] = {}
    for endpoint in container.endpoints:
        network = topology.network(endpoint.network)
        lab.drivers[network.driver].connect(network, container.name, endpoint, container.host)
        if network.default_route and not network.internal:
            for gateway in network.gateways:
                gateways.setdefault(gateway.version, gateway)
    for gateway in gateways.values():
        lab.plan.default_route(container.name, gateway)
    for route in container.routes:
        lab.plan.route(container.name, route)


def _endpoints(topology: Topology, network: Network) -> list[tuple[Container, Endpoint]]:
    return [
        (container, endpoint)
        for container in topology.containers
        for endpoint in container.endpoints
        if endpoint.network == network.name
    ]


def _neighbour_count(topology: Topology) -> int:
    """How many neighbour entries a full matrix could need, counting each bridge's pairs and its gateway."""
    sizes = (len(_endpoints(topology, network)) for network in topology.networks)
    return sum(size * (size + 1) for size in sizes)


def _permanent_neighbours(plan: Plan, topology: Topology) -> None:
    """Tell everybody on a bridge everybody else's MAC address, so that nobody has to ask.

    What ARP itself does is then out of the question asked; probes over ARP answer that one.
    """
    for network in topology.networks:
        if network.driver not in BRIDGED:
            continue
        members = _endpoints(topology, network)
        for container, endpoint in members:
            index = plan.device(container.name, endpoint.device or "eth0")
            for _other, known in members:
                if known is endpoint or known.mac is None:
                    continue
                plan.settings[container.name] += [
                    netlink.add_neighbour(index, address, known.mac) for address in known.addresses
                ]
            host_device = plan.device(container.host, network.device or "")
            if endpoint.mac is not None:
                plan.settings[container.host] += [
                    netlink.add_neighbour(host_device, address, endpoint.mac) for address in endpoint.addresses
                ]


def _settings(lab: Lab, topology: Topology) -> None:
    """Forwarding, sysctls and rules: last, since they may name devices."""
    for host in topology.hosts:
        wanted = [(f"net/{family}/{_FORWARDING[family]}", "1") for family in sorted(host.forwarding)]
        wanted += list(host.sysctls.items())
        if wanted:
            lab.visit(host.name, lambda wanted=wanted: sysctls.write_all(wanted))  # type: ignore[misc]
    for container in topology.containers:
        if container.sysctls:
            settings = list(container.sysctls.items())
            lab.visit(container.name, lambda settings=settings: sysctls.write_all(settings))  # type: ignore[misc]
    for host in topology.hosts:
        if host.docker is not None:
            start_docker(lab, host)
        for version, rules in ((4, host.rules), (6, host.rules6)):
            if rules is not None:
                lab.firewall(host.name).restore(rules, version=version)


_FORWARDING = {"ipv4": "ip_forward", "ipv6": "conf/all/forwarding"}
