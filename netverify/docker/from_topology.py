"""A host of a topology as the Docker daemon on it sees it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import cast

from netverify.docker.config import (
    Attachment,
    BridgeNetwork,
    DockerHost,
    ForwardPolicy,
    Protocol,
    PublishedPort,
)
from netverify.docker.errors import DockerError
from netverify.docker.options import GatewayMode
from netverify.docker.version import Backend
from netverify.topology.inventory import offers_default_route
from netverify.topology.model import Container, Endpoint, Network, NetworkDriver, Topology


def docker_host(topology: Topology, host_name: str) -> DockerHost:
    """What the daemon on that host knows: its options, bridge networks and published ports.

    Networks are taken to be created, and containers to be started, in the topology's order. Networks of
    other drivers are left out, because Docker writes no rules for them. Ports of a container are published
    through the bridge network that holds its default route; where that is no bridge network, Docker does not
    publish them, and neither are they here.

    Raises DockerError when the host has no daemon or the daemon would refuse something, and TopologyError
    for a host that the topology does not have.
    """
    topology = topology.resolved()
    daemon = topology.host(host_name).docker
    if daemon is None:
        raise DockerError(
            f"host {host_name} of topology {topology.name} has no Docker daemon: give it docker"
        )
    if daemon.backend == "nftables" and "ipv4" not in topology.host(host_name).forwarding:
        raise DockerError(
            f"host {host_name} of topology {topology.name}: Docker does not turn forwarding on with the "
            "nftables backend, and refuses to start; give the host forwarding: [ipv4]"
        )
    there = topology.containers_on(host_name)
    return DockerHost(
        daemon.version,
        tuple(map(_bridge_network, filter(_is_bridge, topology.networks_on(host_name)))),
        tuple(port for one in there for port in _published(topology, one)),
        forward_policy=cast(ForwardPolicy, daemon.forward_policy),  # checked by DockerDaemon, like the others
        userland_proxy=daemon.userland_proxy,
        ip6tables=daemon.ipv6,
        forward_policy6=cast(ForwardPolicy, daemon.forward_policy6),
        ip_forward_no_drop=daemon.ip_forward_no_drop,
        allow_direct_routing=daemon.allow_direct_routing,
        raw_rules=daemon.raw_rules,
        accept_fwmark=daemon.accept_fwmark,
        backend=cast(Backend, daemon.backend),
        attached=tuple(place for one in there for place in _attachments(topology, one)),
    )


def _is_bridge(network: Network) -> bool:
    return network.driver is NetworkDriver.BRIDGE


def _bridge_network(network: Network) -> BridgeNetwork:
    subnet, subnet6 = network.subnet(4), cast(IPv6Network | None, network.subnet(6))
    if not isinstance(subnet, IPv4Network):
        raise DockerError(f"network {network.name} needs an IPv4 subnet: Docker before 28 has none without")
    return BridgeNetwork(
        network.name,
        network.host_device,
        subnet,
        subnet6,
        default=network.default_bridge,
        internal=network.internal,
        icc=network.icc,
        masquerade=network.masquerade,
        host_binding=network.host_binding,
        gateway_mode=cast(GatewayMode, network.gateway_mode),
        gateway_mode6=cast(GatewayMode, network.gateway_mode6),
        trusted=network.trusted,
    )


def _attachments(topology: Topology, container: Container) -> Iterator[Attachment]:
    for endpoint in container.endpoints:
        if _is_bridge(topology.network(endpoint.network)):
            address = cast(IPv4Address, endpoint.address(4))  # every bridge network has an IPv4 subnet
            address6 = cast(IPv6Address | None, endpoint.address(6))
            yield Attachment(endpoint.network, address, address6, container.name)


def _published(topology: Topology, container: Container) -> Iterator[PublishedPort]:
    endpoint = _publishing_endpoint(topology, container)
    if endpoint is None:
        return
    address = cast(IPv4Address, endpoint.address(4))  # every bridge network has an IPv4 subnet
    address6 = cast(IPv6Address | None, endpoint.address(6))
    for mapping in container.publish:
        yield PublishedPort(
            endpoint.network,
            address,
            mapping.container_port,
            mapping.host_port,
            cast(Protocol, mapping.protocol),  # checked by PortMapping
            mapping.host_address,
            address6,
        )


def _publishing_endpoint(topology: Topology, container: Container) -> Endpoint | None:
    """The endpoint that holds the container's default route, if it is on a bridge network."""
    for endpoint in container.endpoints:
        network = topology.network(endpoint.network)
        if offers_default_route(network):
            return endpoint if _is_bridge(network) else None
    return None
