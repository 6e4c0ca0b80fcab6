"""Who reaches a published port, and by which way (generation 18.05 to 27; seed document 001 section 5.2, seed
document 002 section "DNAT", seed document 003 section "Kubernetes Pod").

The host publishes port 80 of web1 on every address, 81 on the loopback, 82 on one address, and 83 not at all.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, tcp
from netverify.topology.model import DockerDaemon, Topology

Documented = Callable[[str], Topology]
EVERYBODY = ("web1", "web2", "other", "host", "neighbour", "internet")


@pytest.fixture
def published(lab: Lab, documented: Documented) -> Lab:
    """The document's host, its userland proxies running."""
    return lab.up(documented("docker-published"))


def test_published_everywhere(published: Lab) -> None:
    """0.0.0.0:8080 is reached by everybody with a route, on each of the host's addresses."""
    targets = ["host:8080", "host@172.18.0.1:8080", "host@172.17.0.1:8080"]
    assert published.reachability(tcp(80), sources=EVERYBODY, targets=targets) == matrix("""
                   host:8080  host@172.18.0.1:8080  host@172.17.0.1:8080
        web1           .               .                     .
        web2           .               .                     .
        other          .               .                     .
        host           .               .                     .
        neighbour      .               .                     .
        internet       .               U                     U
    """)


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        # DNAT keeps the source; the proxy is a connection of the host's own.
        ("neighbour", "198.51.100.20"),
        ("internet", "203.0.113.10"),
        ("other", "172.18.0.1"),
        ("web2", "172.18.0.1"),
        ("web1", "172.18.0.1"),
        ("host", "198.51.100.10"),
    ],
)
def test_what_the_service_sees(published: Lab, source: str, seen: str) -> None:
    """The source address that web1 sees tells DNAT (the client's own) from the proxy (the bridge's)."""
    cell = published.ask(tcp(80), source, "host:8080")
    assert (cell.receiver, (cell.seen_source or "").rpartition(":")[0]) == ("web1", seen)


def test_published_on_the_loopback(published: Lab) -> None:
    """127.0.0.1:8081 is for the host alone, as long as its neighbours send nothing crafted."""
    sources = ["web1", "web2", "other", "neighbour", "internet"]
    seen = published.reachability(tcp(81), sources=sources, targets=["host:8081"])
    assert not seen.delivered()
    assert not seen.errors()
    assert published.ask(tcp(81), "host", "host@127.0.0.1:8081").receiver == "web1"


def test_a_neighbour_reaches_the_loopback_publication(published: Lab) -> None:
    """moby#45610: a neighbour that routes 127.0.0.1 to the host reaches what is published there.

    DNAT rewrites the destination before the host asks whether 127.0.0.1 may come from outside. Fixed in 28.0
    by a rule in the raw table.
    """
    cell = published.ask(tcp(81), "neighbour", "host:8081")
    assert cell.outcome is Outcome.REFUSED
    published.sysctl("neighbour", "net.ipv4.conf.all.route_localnet", 1)
    published.sysctl("neighbour", "net.ipv4.conf.all.accept_local", 1)
    published.run("neighbour", "ip rule add pref 10 lookup local")
    published.run("neighbour", "ip rule del pref 0")
    published.run("neighbour", "ip rule add pref 5 to 127.0.0.1 ipproto tcp dport 8081 lookup 99")
    published.run("neighbour", "ip route add 127.0.0.1 via 198.51.100.10 src 198.51.100.20 table 99")
    cell = published.ask(tcp(81), "neighbour", "host@127.0.0.1:8081")
    assert (cell.outcome, cell.receiver) == (Outcome.DELIVERED, "web1")


def test_published_on_one_address(published: Lab) -> None:
    """198.51.100.10:8082 answers on that address and on no other."""
    sources = ["web1", "web2", "other", "host", "neighbour"]
    targets = ["host:8082", "host@172.18.0.1:8082"]
    assert published.reachability(tcp(82), sources=sources, targets=targets) == matrix("""
                   host:8082  host@172.18.0.1:8082
        web1           .               R
        web2           .               R
        other          .               R
        host           .               R
        neighbour      .               R
    """)


def test_direct_routing_to_published_and_unpublished_ports(published: Lab) -> None:
    """A neighbour with a route reaches a *published* port on the container's own address, and no other.

    With policy DROP; there is no other protection (moby#14041): see the next test.
    """
    assert published.ask(tcp(80), "neighbour", "web1").outcome is Outcome.DELIVERED
    cell = published.ask(tcp(83), "neighbour", "web1")
    assert (cell.outcome, cell.detail) == (Outcome.FILTERED, "dropped by host: filter FORWARD policy")
    assert published.ask(tcp(83), "host", "web1").outcome is Outcome.DELIVERED


def test_policy_accept_opens_every_port_to_the_lan(lab: Lab, documented: Documented) -> None:
    """On a host that forwarded already, FORWARD keeps ACCEPT, and every container port is open to the LAN."""
    daemon = DockerDaemon("24.0", forward_policy="ACCEPT")
    lab.up(documented("docker-published").with_host("host", docker=daemon))
    assert lab.ask(tcp(83), "neighbour", "web1").outcome is Outcome.DELIVERED


def test_other_bridges_reach_published_ports_only_through_the_host(published: Lab) -> None:
    """A container of another bridge is kept from the container's address, published port or not."""
    assert published.ask(tcp(80), "other", "web1").outcome is Outcome.FILTERED
    assert published.ask(tcp(80), "other", "host:8080").outcome is Outcome.DELIVERED


def test_without_the_proxy_other_networks_are_shut_out(lab: Lab, documented: Documented) -> None:
    """--userland-proxy=false: DNAT serves every source, and STAGE-2 drops what comes from another bridge."""
    daemon = DockerDaemon("24.0", userland_proxy=False)
    lab.up(documented("docker-published").with_host("host", docker=daemon))
    sources = ["web1", "web2", "other", "host", "neighbour", "internet"]
    assert lab.reachability(tcp(80), sources=sources, targets=["host:8080"]) == matrix("""
                   host:8080
        web1           .
        web2           .
        other          F
        host           .
        neighbour      .
        internet       .
    """)
    # The way back from a container to itself needs the source to be rewritten: hairpin.
    assert (lab.ask(tcp(80), "web1", "host:8080").seen_source or "").startswith("172.18.0.1:")


def test_without_the_proxy_the_host_s_loopback_needs_route_localnet(lab: Lab, documented: Documented) -> None:
    """127.0.0.1:8080 on the host is translated in OUTPUT, and leaves lo only thanks to route_localnet."""
    daemon = DockerDaemon("24.0", userland_proxy=False)
    lab.up(documented("docker-published").with_host("host", docker=daemon))
    assert lab.sysctl("host", "net/ipv4/conf/br-web/route_localnet") == "1"
    assert lab.ask(tcp(80), "host", "host@127.0.0.1:8080").receiver == "web1"
    lab.sysctl("host", "net/ipv4/conf/br-web/route_localnet", 0)
    assert lab.ask(tcp(80), "host", "host@127.0.0.1:8080").outcome is not Outcome.DELIVERED
