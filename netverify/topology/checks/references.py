"""Names: whatever is named exists, nobody has two meanings, and addresses belong to the network named."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from netverify.topology.checks.report import node_path, wrong
from netverify.topology.errors import did_you_mean, quoted
from netverify.topology.inventory import endpoint_path
from netverify.topology.networks import NetworkDriver
from netverify.topology.values import check_usable

if TYPE_CHECKING:
    from netverify.topology.model import Topology


def names(topology: Topology) -> None:
    """Hosts and containers share their names, for both are rows of a matrix; networks and segments do not."""
    taken: dict[str, str] = {}
    for key, names in (
        ("hosts", [host.name for host in topology.hosts]),
        ("containers", [container.name for container in topology.containers]),
    ):
        for name in names:
            if name in taken:
                wrong(
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
                wrong(topology, (key, name), "the name is taken", "a name of its own")
            seen.add(name)


def host_interfaces(topology: Topology) -> None:
    """Segments exist, and whoever is on one has addresses of its subnets."""
    segments = {segment.name: segment for segment in topology.segments}
    for host in topology.hosts:
        for interface in host.interfaces:
            if interface.segment is None:
                continue
            path = node_path(host, "interfaces", interface.device)
            segment = segments.get(interface.segment)
            if segment is None:
                wrong(
                    topology,
                    (*path, "segment"),
                    f"no segment is named {quoted(interface.segment)}",
                    did_you_mean(interface.segment, segments),
                )
            for number, address in enumerate(interface.addresses):
                pools = [subnet for subnet in segment.subnets if subnet.version == address.version]
                if pools and not any(address.ip in pool for pool in pools):
                    wrong(
                        topology,
                        (*path, "address", number),
                        f"{address} is outside the segment {segment.name}",
                        "an address of " + " or ".join(map(str, pools)),
                    )


def networks(topology: Topology) -> None:
    """Hosts exist; docker0 is one a host; subnets on a host do not overlap (Docker: "Pool overlaps")."""
    hosts = {host.name: host for host in topology.hosts}
    for network in topology.networks:
        for number, name in enumerate(network.hosts):
            if name not in hosts:
                wrong(
                    topology,
                    ("networks", network.name, "hosts" if len(network.hosts) > 1 else "host", number),
                    f"no host is named {quoted(name)}",
                    did_you_mean(name, hosts),
                )
    for host in topology.hosts:
        carried = topology.networks_on(host.name)
        defaults = [network.name for network in carried if network.default_bridge]
        if len(defaults) > 1:
            wrong(
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
                    wrong(
                        topology,
                        ("networks", later.name, "subnet"),
                        f"{one} and {two} overlap, and {host.name} carries {earlier.name} too",
                        "a subnet of its own",
                    )


def containers(topology: Topology) -> None:
    """A container's host exists and carries its networks, and its addresses belong there."""
    hosts = {host.name for host in topology.hosts}
    for container in topology.containers:
        if container.host not in hosts:
            wrong(
                topology,
                node_path(container, "host"),
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
                wrong(topology, path, problem, did_you_mean(endpoint.network, carried))
            for number, address in enumerate(endpoint.addresses):
                pool = network.subnet(address.version)
                if pool is None:
                    wrong(
                        topology,
                        (*path, "address", number),
                        f"{address} is IPv{address.version}, and the network has no such subnet",
                        "an address of " + " or ".join(map(str, network.subnets)),
                    )
                check_usable(f"topology {quoted(topology.name)}", (*path, "address", number), address, pool)
            if endpoint.host_device is not None and not network.has_bridge:
                wrong(
                    topology,
                    (*path, "host_device"),
                    f"driver {network.driver.value} leaves nothing on the host",
                    "it on bridges and overlays only",
                )
            if endpoint.mac is not None and network.driver is NetworkDriver.IPVLAN:
                wrong(topology, (*path, "mac"), "ipvlan endpoints share their parent's MAC address", "no mac")


def shared_namespaces(topology: Topology) -> None:
    """`container:NAME` names a container of the same host, and following the names ends somewhere."""
    containers = {container.name: container for container in topology.containers}
    for container in topology.containers:
        path = node_path(container, "mode")
        trail = [container.name]
        shares = container.shares if container.mode != "host" else None
        while shares is not None:
            partner = containers.get(shares)
            if partner is None or partner.host != container.host:
                on_host = [
                    c.name for c in topology.containers if c.host == container.host and c is not container
                ]
                wrong(
                    topology,
                    path,
                    f"{container.host} has no container named {quoted(shares)}",
                    did_you_mean(shares, on_host),
                )
            if shares in trail:
                wrong(
                    topology,
                    path,
                    "nobody in " + " -> ".join([*trail, shares]) + " has a namespace",
                    "one of them with networks of its own",
                )
            trail.append(shares)
            shares = partner.shares if partner.mode != "host" else None


def cables(topology: Topology) -> None:
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
                wrong(topology, ("cables", number, str(end)), problem, did_you_mean(end.node, owners))
