"""Building a lab from a topology, in the order in which the parts depend on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netverify.dataplane.world import Plug, World
from netverify.kernel import netlink, sysctls
from netverify.kernel.docker_host import start_docker
from netverify.kernel.drivers import bridge_mac, container_device, network_device
from netverify.kernel.netlink import Request
from netverify.kernel.plan import Plan
from netverify.model.topologies import world_of
from netverify.topology.model import (
    Address,
    Host,
    NetworkDriver,
    Topology,
)

if TYPE_CHECKING:
    from netverify.kernel.lab import Lab

VOID = "(void)"
# The kernel's neighbour table is one for the whole machine and holds 1,024 entries by default (gc_thresh3,
# arp(7)); permanent entries are exempt. A question that could need more than a part of it brings its own.
NEIGHBOURS_LEFT_TO_THE_KERNEL = 400
# Networks whose devices are bridges of the host: they must stand before anything is plugged into them.
BRIDGED = (NetworkDriver.BRIDGE, NetworkDriver.OVERLAY)


def build(lab: Lab, topology: Topology) -> None:
    """Make everything that `topology` describes; on return it is ready for the first packet."""
    topology = topology.resolved()
    lab.topology = topology
    versions = tuple(sorted({4, *topology.versions}))  # 4 in any case: lo has it
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
        if container.has_namespace:
            plan.loopback(container.name)
        for endpoint in container.endpoints:
            network = topology.network(endpoint.network)
            drivers[network.driver].connect(network, container.name, endpoint, container.host)
    for node in topology.nodes():
        for route in topology.routes_of(node.name):
            plan.route(node.name, route)
    lab.flush()
    _settings(lab, topology)


def segment_name(segment: str) -> str:
    """The namespace of a segment's switch; no host can be called that."""
    return f"({segment})"


def _names(topology: Topology) -> list[str]:
    """Every namespace to make: switches, hosts, and the containers that have one of their own."""
    names = [segment_name(segment.name) for segment in topology.segments]
    names += [node.name for node in topology.nodes()]
    if any(interface.segment is None for host in topology.hosts for interface in host.interfaces):
        names.append(VOID)
    return names


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


def introduce(lab: Lab, pairs: int) -> None:
    """Before a question about many pairs: give everybody the neighbours that it could need, once."""
    if lab.introduced or pairs <= NEIGHBOURS_LEFT_TO_THE_KERNEL:
        return
    lab.introduced = True
    world = world_of(lab.topology) if 6 in lab.plan.versions else World((), ())
    _permanent_neighbours(lab.plan, lab.topology, world)
    lab.flush()


def _permanent_neighbours(plan: Plan, topology: Topology, world: World) -> None:
    """Tell everybody on a bridge everybody else's MAC address, so that nobody has to ask.

    What ARP itself does is then out of the question asked; probes over ARP answer that one. Nobody is told
    what it could not find out by asking, because rules stop neighbour discovery.
    """
    for network in topology.networks:
        if network.driver not in BRIDGED:
            continue
        members = [
            (
                container,
                endpoint,
                [(known, netlink.add_neighbour(0, known, mac)) for known in endpoint.addresses],
            )
            for container, endpoint in topology.endpoints_on(network.name)
            if (mac := endpoint.mac) is not None  # every endpoint of a bridge has one
        ]
        mac = bridge_mac(network)
        gateways = [
            (known, netlink.add_neighbour(0, known, mac)) for known in network.gateways if mac is not None
        ]
        for container, endpoint, own in members:
            others = [entry for _, _, theirs in members if theirs is not own for entry in theirs]
            _introduce(plan, world, (container.name, container_device(endpoint)), [*others, *gateways])
            _introduce(plan, world, (container.host, network_device(network)), own)


def _introduce(plan: Plan, world: World, plug: Plug, neighbours: list[tuple[Address, Request]]) -> None:
    node, device = plug
    index = plan.device(node, device)
    plan.settings[node] += [
        netlink.same_neighbour(request, index)
        for address, request in neighbours
        if address.version == 4 or world.learns(node, device, address)
    ]


def _settings(lab: Lab, topology: Topology) -> None:
    """Forwarding, what a Docker engine leaves, sysctls and rules: last, since they may name devices."""
    for host in topology.hosts:
        forwarding = [(f"net/{family}/{_FORWARDING[family]}", "1") for family in sorted(host.forwarding)]
        _write(lab, host.name, forwarding)
        if host.docker is not None:
            start_docker(lab, host.name)
        _write(lab, host.name, list(host.sysctls.items()))
        for version, rules in ((4, host.rules), (6, host.rules6)):
            if rules is not None:
                lab.firewall(host.name).restore(rules, version=version)
    for container in topology.containers:
        _write(lab, container.name, list(container.sysctls.items()))


def _write(lab: Lab, node: str, wanted: list[tuple[str, str]]) -> None:
    if wanted:
        lab.visit(node, lambda: sysctls.write_all(wanted))


_FORWARDING = {"ipv4": "ip_forward", "ipv6": "conf/all/forwarding"}
