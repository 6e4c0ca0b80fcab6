"""A topology's host as its Docker daemon sees it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest

from netverify.docker import (
    Attachment,
    BridgeNetwork,
    DockerError,
    DockerHost,
    PublishedPort,
    docker_host,
    rules,
)
from netverify.topology.model import (
    Container,
    DockerDaemon,
    Endpoint,
    Host,
    Interface,
    Network,
    NetworkDriver,
    PortMapping,
    Topology,
)


def network(name: str, *subnets: str, driver: NetworkDriver = NetworkDriver.BRIDGE, **options) -> Network:
    return Network(name, driver, ("h",), tuple(map(ip_network, subnets)), **options)


def container(name: str, *networks: str, publish: tuple[str, ...] = ()) -> Container:
    mappings = tuple(map(PortMapping.parse, publish))
    return Container(name, "h", tuple(map(Endpoint, networks)), publish=mappings)


WEB = network("web", "172.18.0.0/16", "fd00:18::/64", device="br-web", icc=False, masquerade=False)
DB = network("db", "172.19.0.0/16", device="br-db", internal=True)
LAN = network("lan", "198.51.100.0/24", driver=NetworkDriver.MACVLAN, device="eth0")
HOST = Host("h", interfaces=(Interface("eth0"),), docker=DockerDaemon("24.0", True, False, "ACCEPT"))
TOPOLOGY = Topology(
    "t",
    hosts=(HOST, Host("bare")),
    networks=(WEB, DB),
    containers=(
        container("w", "web", "db", publish=("8080:80", "127.0.0.1:53:53/udp")),
        container("d", "db", "web", publish=("5432:5432",)),
    ),
)


def test_daemon_networks_and_ports():
    w, w6, d, d6 = "172.18.0.2", "fd00:18::2", "172.18.0.3", "fd00:18::3"
    assert docker_host(TOPOLOGY, "h") == DockerHost(
        "24.0",
        (
            BridgeNetwork(
                "web",
                "br-web",
                IPv4Network("172.18.0.0/16"),
                IPv6Network("fd00:18::/64"),
                icc=False,
                masquerade=False,
            ),
            BridgeNetwork("db", "br-db", IPv4Network("172.19.0.0/16"), internal=True),
        ),
        (
            PublishedPort("web", IPv4Address(w), 80, 8080, container6=IPv6Address(w6)),
            PublishedPort("web", IPv4Address(w), 53, 53, "udp", IPv4Address("127.0.0.1"), IPv6Address(w6)),
            # An internal network holds no default route, so it is not the one to publish through.
            PublishedPort("web", IPv4Address(d), 5432, 5432, container6=IPv6Address(d6)),
        ),
        forward_policy="ACCEPT",
        userland_proxy=False,
        ip6tables=True,
        attached=(
            Attachment("web", IPv4Address(w), IPv6Address(w6), "w"),
            Attachment("db", IPv4Address("172.19.0.2"), None, "w"),
            Attachment("db", IPv4Address("172.19.0.3"), None, "d"),
            Attachment("web", IPv4Address(d), IPv6Address(d6), "d"),
        ),
    )


def test_options_of_the_newer_generations():
    daemon = DockerDaemon(
        "29.0",
        forward_policy6="ACCEPT",
        ip_forward_no_drop=True,
        allow_direct_routing=True,
        accept_fwmark="1",
    )
    topology = TOPOLOGY.with_host("h", docker=daemon).with_network(
        "web",
        gateway_mode="routed",
        gateway_mode6="nat-unprotected",
        host_binding=IPv4Address("127.0.0.1"),
        trusted=("eth0",),
    )
    found = docker_host(topology, "h")
    assert (found.forward_policy6, found.ip_forward_no_drop, found.allow_direct_routing) == (
        "ACCEPT",
        True,
        True,
    )
    assert found.accept_fwmark == "1"
    web = found.network("web")
    assert (web.gateway_mode, web.gateway_mode6, web.trusted) == ("routed", "nat-unprotected", ("eth0",))
    assert web.host_binding == IPv4Address("127.0.0.1")
    with pytest.raises(DockerError, match=r"accept_fwmark: not before Docker 29\.0, and this is 28\.5"):
        docker_host(topology.with_host("h", docker=replace(daemon, version="28.5")), "h")


def test_the_nftables_backend_needs_a_host_that_forwards():
    daemon = DockerDaemon("29.0", backend="nftables")
    with pytest.raises(DockerError, match="Docker does not turn forwarding on"):
        docker_host(TOPOLOGY.with_host("h", docker=daemon), "h")
    ready = TOPOLOGY.with_host("h", docker=daemon, forwarding=frozenset({"ipv4"}))
    assert docker_host(ready, "h").generation.name == "N"


def test_docker0_is_the_default_bridge():
    topology = TOPOLOGY.adding(network("bridge", "172.17.0.0/16", default_bridge=True))
    found = docker_host(topology, "h").networks[-1]
    assert (found.bridge, found.default) == ("docker0", True)


@pytest.mark.parametrize("driver", [NetworkDriver.MACVLAN, NetworkDriver.IPVLAN])
def test_other_drivers_have_no_rules_and_publish_nothing(driver):
    outside = TOPOLOGY.adding(
        replace(LAN, driver=driver),
        container("m", "lan", publish=("9000:9000",)),
        container("n", "lan", "web"),
    )
    assert outside.container("m").publish
    assert rules(docker_host(outside, "h")) == rules(docker_host(TOPOLOGY, "h"))


def test_a_container_on_internal_networks_alone_publishes_nothing():
    more = TOPOLOGY.adding(container("x", "db", publish=("9000:9000",)))
    assert docker_host(more, "h").published == docker_host(TOPOLOGY, "h").published


def test_a_host_without_a_daemon_is_refused():
    with pytest.raises(DockerError, match="host bare of topology t has no Docker daemon: give it docker"):
        docker_host(TOPOLOGY, "bare")


def test_a_network_without_ipv4_is_refused():
    with pytest.raises(DockerError, match="network six needs an IPv4 subnet"):
        docker_host(TOPOLOGY.adding(network("six", "fd00:6::/64")), "h")
