"""Publications and translations of special kinds: families, ranges, SCTP, chosen sources, routed networks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from netverify.docker import DockerError, DockerHost, docker_host
from netverify.docker.version import BINDING_PER_FAMILY, HOST_IPV4, ROUTED_MODE, ROUTED_PORTS_ALWAYS_OPEN
from netverify.kernel.lab import Lab
from netverify.kernel.sctp import send_init
from netverify.reachability.probe import tcp
from netverify.topology.model import Container, Endpoint, PortMapping, Topology
from suites.docker.grid import setting
from suites.docker.releases import Release
from suites.docker.scene import HOST, Scene

pytestmark = pytest.mark.needs("br_netfilter", "nft", "match set")


def publishing(release: Release, *texts: str) -> Topology:
    """The grid's topology with web1 publishing this alone."""
    ports = tuple(port for text in texts for port in PortMapping.parse_range(text))
    return setting("default").topology(release).with_container("web1", publish=ports)


# --- addresses of the host ---------------------------------------------------------------------------------


def test_all_addresses_of_one_family(lab: Lab, release: Release) -> None:
    """`--publish 0.0.0.0:8086:86` is IPv4's alone, `[::]:8087:87` IPv6's.

    Before 20.10 the proxy's socket took both families, whatever was asked for.
    """
    scene = Scene.of(lab, publishing(release, "0.0.0.0:8086:86", "[::]:8087:87"))
    found = scene.answers(
        ("neighbour", f"host:{8000 + port}", tcp(port, version=version))
        for port in (86, 87)
        for version in (4, 6)
    )
    by_family = [".", "R", "R", "."]
    assert list(found.values()) == (by_family if release.version.has(BINDING_PER_FAMILY) else ["."] * 4)


def test_a_chosen_source(lab: Lab, release: Release) -> None:
    """com.docker.network.host_ipv4: what leaves the network has that address of the host, and no other.

    Without the proxy so has what the host itself sends into it.
    """
    if not release.version.has(HOST_IPV4):
        with pytest.raises(DockerError, match=r"host_ipv4: not before Docker 20\.10"):
            _with_source(release)
        return
    scene = Scene.of(lab, setting("no proxy").topology(release))
    scene.start(_with_source(release))
    scene.answers(asked := [("web1", "neighbour", tcp(80)), ("host", "host@127.0.0.1:8080", tcp(80))])
    seen = [(cell.seen_source or "").rpartition(":")[0] for cell in scene.cells(asked).values()]
    assert seen == ["172.17.0.1", "172.17.0.1"]


def _with_source(release: Release) -> DockerHost:
    """The grid's host without the proxy, its network web with docker0's address as its source."""
    engine = docker_host(setting("no proxy").topology(release).resolved(), HOST)
    web = replace(engine.network("web"), host_ipv4=IPv4Address("172.17.0.1"))
    return replace(engine, networks=tuple(web if one.name == "web" else one for one in engine.networks))


# --- ranges ------------------------------------------------------------------------------------------------


def test_each_port_of_a_range(lab: Lab, release: Release) -> None:
    """`--publish 9090-9092:90-92`: each port of the host leads to its own port, and the next one nowhere.

    The container's own ports are as open to the LAN as published ports are, and the next ones are not.
    """
    scene = Scene.of(lab, publishing(release, "9090-9092:90-92"))
    by_host = [("neighbour", f"host:{9000 + port}", tcp(port)) for port in (89, 90, 92, 93)]
    assert list(scene.answers(by_host).values()) == ["R", ".", ".", "R"]
    directly = [("neighbour", "web1", tcp(port)) for port in (89, 90, 92, 93)]
    published = "." if release.generation.name in ("A0", "A") else "F"
    assert list(scene.answers(directly).values()) == ["F", published, published, "F"]


# --- SCTP --------------------------------------------------------------------------------------------------

PORT, INNER = 36412, 36413


def test_sctp(lab: Lab, release: Release) -> None:
    """A port published over SCTP is translated, its checksum kept right, and opened; the next one is not.

    The userland proxy, which needs SCTP in the kernel, has no part in what comes from the LAN.
    """
    lab.up(publishing(release, f"{PORT}:{INNER}/sctp"))

    def seen(address: str, port: int) -> tuple[str, int, bool] | None:
        # Each time from another port: connection tracking knows what it saw before.
        found = send_init(lab, "neighbour", address, next(ports), port, seen_at="web1")
        return None if found is None else (found.source, found.dport, found.intact)

    ports = itertools.count(40_000)
    arrived = ("198.51.100.20", INNER, True)
    assert seen("198.51.100.10", PORT) == arrived
    assert seen("198.51.100.10", PORT + 1) is None
    direct = release.generation.name in ("A0", "A")
    assert seen("172.18.0.2", INNER) == (arrived if direct else None)
    assert seen("172.18.0.2", INNER + 1) is None


# --- a routed network that is not the gateway --------------------------------------------------------------


def test_ports_in_a_routed_network_beside_the_gateway_s(lab: Lab, release: Release) -> None:
    """A container of two networks: its gateway is one with translation, the other is routed.

    It publishes through its gateway. On its address in the routed network the port is open since 29.0; until
    28.5 only where that network is the gateway.
    """
    if not release.version.has(ROUTED_MODE):
        assert not setting("routed").exists_in(release)
        return
    both = Container(
        "both",
        HOST,
        endpoints=(Endpoint("bridge"), Endpoint("web")),
        publish=(PortMapping.parse("8085:85"),),
    )
    scene = Scene.of(lab, setting("routed").topology(release).adding(both))
    on_web = next(one for one in lab.topology.container("both").endpoints if one.network == "web")
    (four, six) = (on_web.address(version) for version in (4, 6))
    found = scene.answers(
        [
            ("neighbour", "host:8085", tcp(85)),
            ("neighbour", f"both@{four}", tcp(85)),
            ("neighbour", f"both@[{six}]", tcp(85, version=6)),
            ("neighbour", f"both@{four}", tcp(86)),
        ]
    )
    opened = "." if release.version.has(ROUTED_PORTS_ALWAYS_OPEN) else "F"
    assert list(found.values()) == [".", opened, opened, "F"]
