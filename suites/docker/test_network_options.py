"""--internal and icc=false in the classic generation (18.05 to 27; seed document 001, section 2, bridge)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, icmp, tcp
from netverify.topology.model import Topology

Documented = Callable[[str], Topology]


@pytest.fixture
def options(lab: Lab, documented: Documented) -> Lab:
    """A host with an ordinary network, a sealed (--internal) one, and one without icc."""
    return lab.up(documented("docker-published"))


@pytest.mark.parametrize("probe", [icmp(), tcp(80)], ids=str)
def test_internal_network_is_sealed(options: Lab, probe) -> None:  # type: ignore[no-untyped-def]
    """Containers on an --internal network reach each other and nothing else: they have no default route."""
    parties = ["sealed1", "sealed2", "web1", "other"]
    assert options.reachability(probe, parties) == matrix("""
                 sealed1  sealed2  web1  other
        sealed1     .        .      U      U
        sealed2     .        .      U      U
        web1        F        F      .      F
        other       F        F      F      .
    """)
    outside = options.reachability(probe, sources=["sealed1"], targets=["host", "neighbour", "internet"])
    assert not outside.delivered()
    assert not outside.errors()


def test_internal_network_with_a_route_still_meets_the_rules(options: Lab) -> None:
    """Up to 24.0 internal containers had a default route; the two subnet rules of STAGE-1 stop them then."""
    options.run("sealed1", "ip route add default via 172.19.0.1")
    seen = options.reachability(icmp(), sources=["sealed1"], targets=["web1", "neighbour", "internet"])
    assert seen == matrix("""
                 web1  neighbour  internet
        sealed1   F        F         F
    """)
    cell = options.explain(icmp(), "sealed1", "internet")
    rule = "-A DOCKER-ISOLATION-STAGE-1 ! -d 172.19.0.0/16 -i br-sealed -j DROP"
    assert cell.detail.endswith(rule)
    # And up to 24.0 they reached every address of the host that way: INPUT is not Docker's.
    assert options.ask(icmp(), "sealed1", "host").outcome is Outcome.DELIVERED


def test_internal_network_and_its_host(options: Lab) -> None:
    """The host reaches internal containers, and they reach the bridge's address."""
    assert options.ask(icmp(), "host", "sealed1").replied
    assert options.ask(icmp(), "sealed1", "host@172.19.0.1").replied


@pytest.mark.needs("br_netfilter")
def test_icc_false_keeps_containers_of_one_bridge_apart(options: Lab) -> None:
    """icc=false: the DROP at the end of FORWARD stops bridged packets, which br_netfilter brings there."""
    assert options.sysctl("host", "net.bridge.bridge-nf-call-iptables") == "1"
    assert options.reachability(tcp(81), ["apart1", "apart2", "host"]) == matrix("""
                apart1  apart2  host
        apart1    .       F      .
        apart2    F       .      .
        host      .       .      .
    """)
    cell = options.explain(tcp(81), "apart1", "apart2")
    assert cell.detail.endswith("-A FORWARD -i br-apart -o br-apart -j DROP")


@pytest.mark.needs("br_netfilter")
def test_icc_false_without_br_netfilter_is_no_protection(options: Lab) -> None:
    """With bridge-nf-call-iptables=0 the same rule never sees the packet: the containers reach each other."""
    options.sysctl("host", "net.bridge.bridge-nf-call-iptables", 0)
    assert options.reachability(tcp(81), ["apart1", "apart2"]) == matrix("""
                apart1  apart2
        apart1    .       .
        apart2    .       .
    """)


def test_icc_false_spares_published_ports(options: Lab) -> None:
    """A neighbour container reaches what is published through the host all the same."""
    assert options.ask(tcp(80), "apart2", "host:8090").receiver == "apart1"


def test_icc_true_lets_containers_of_one_bridge_talk(options: Lab) -> None:
    """The default: every port of every container on the same bridge, published or not."""
    for port in (80, 83, 12345):
        assert options.ask(tcp(port), "web2", "web1").outcome is Outcome.DELIVERED
