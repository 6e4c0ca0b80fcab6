"""The classic generation over IPv6, ip6tables on as by default in 27 (seed document 001, section 5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netverify.kernel.lab import Lab
from netverify.reachability.changes import changed, opened
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp
from netverify.topology.model import DockerDaemon, PortMapping, Topology

Documented = Callable[[str], Topology]
CONTAINERS = ("c17a", "c17b", "c18a", "c18b", "c19a", "c19b", "c21a", "c21b")
PARTIES = (*CONTAINERS, "host", "neighbour", "internet")
BR18, BR19 = "br-cbd0f56841ce", "br-9559b3f84d38"


@pytest.mark.parametrize("probe", [icmp(version=6), udp(7000, version=6), tcp(7000, version=6)], ids=str)
def test_four_bridges_are_apart(lab: Lab, documented: Documented, probe: Probe) -> None:
    """As over IPv4; FORWARD has policy DROP for IPv6 whenever ip6tables is on (20.10 to 27)."""
    lab.up(documented("docker-three-bridges-ipv6"))
    assert lab.reachability(probe, PARTIES) == matrix("""
                   c17a c17b c18a c18b c19a c19b c21a c21b host neighbour internet
        c17a        .    .    F    F    F    F    F    F    .    .         .
        c17b        .    .    F    F    F    F    F    F    .    .         .
        c18a        F    F    .    .    F    F    F    F    .    .         .
        c18b        F    F    .    .    F    F    F    F    .    .         .
        c19a        F    F    F    F    .    .    F    F    .    .         .
        c19b        F    F    F    F    .    .    F    F    .    .         .
        c21a        F    F    F    F    F    F    .    .    .    .         .
        c21b        F    F    F    F    F    F    .    .    .    .         .
        host        .    .    .    .    .    .    .    .    .    .         .
        neighbour   F    F    F    F    F    F    F    F    .    .         .
        internet    U    U    U    U    U    U    U    U    .    .         .
    """)


def test_ipv4_beside_it_is_the_same_as_without(lab: Lab, documented: Documented) -> None:
    """A second family changes nothing for the first: both rule sets are written alike."""
    lab.up(documented("docker-three-bridges-ipv6"))
    containers = lab.reachability(icmp(), CONTAINERS)
    assert not changed(containers, lab.reachability(icmp(version=6), CONTAINERS))


def test_without_ip6tables_ipv6_is_open(lab: Lab, documented: Documented) -> None:
    """Up to 26 ip6tables is off by default: networks with IPv6 subnets are not isolated over IPv6 at all."""
    topology = documented("docker-three-bridges-ipv6")
    lab.up(topology.with_host("host", docker=DockerDaemon("24.0", ipv6=False)))
    over4 = lab.reachability(tcp(80), ["c18a", "c19a", "neighbour"])
    over6 = lab.reachability(tcp(80, version=6), ["c18a", "c19a", "neighbour"])
    assert over4.symbol("c18a", "c19a") == "F"
    assert over6 == matrix("""
                   c18a  c19a  neighbour
        c18a         .     .      .
        c19a         .     .      .
        neighbour    .     .      .
    """)


def test_outgoing_traffic_is_masqueraded(lab: Lab, documented: Documented) -> None:
    """An internet host sees the docker host's own address, not the container's unique local one."""
    lab.up(documented("docker-three-bridges-ipv6"))
    cell = lab.ask(tcp(80, version=6), "c18a", "internet")
    assert (cell.seen_source or "").startswith("[2001:db8:1::10]:")


def test_a_published_port(lab: Lab, documented: Documented) -> None:
    """8080:80 is published on [::] too, and DNAT keeps the client's address."""
    publish = (PortMapping.parse("8080:80"),)
    lab.up(documented("docker-three-bridges-ipv6").with_container("c18a", publish=publish))
    cell = lab.ask(tcp(80, version=6), "neighbour", "host:8080")
    assert (cell.outcome, cell.receiver) == (Outcome.DELIVERED, "c18a")
    assert (cell.seen_source or "").startswith("[2001:db8:1::20]:")
    assert lab.ask(tcp(80, version=6), "neighbour", "c18a").outcome is Outcome.DELIVERED
    assert lab.ask(tcp(81, version=6), "neighbour", "c18a").outcome is Outcome.FILTERED


def test_unblocking_two_bridges(lab: Lab, documented: Documented) -> None:
    """The document's two commands, said to ip6tables, open the same pair over IPv6 and leave IPv4 shut."""
    lab.up(documented("docker-three-bridges-ipv6"))
    before = lab.reachability(udp(53, version=6), CONTAINERS)
    for pair in (f"-i {BR19} -o {BR18}", f"-i {BR18} -o {BR19}"):
        lab.firewall("host").run(f"-I DOCKER-ISOLATION-STAGE-1 {pair} -j ACCEPT", version=6)
    after = lab.reachability(udp(53, version=6), CONTAINERS)
    assert opened(before, after) == {
        (f"c{one}{x}", f"c{other}{y}")
        for one, other in (("18", "19"), ("19", "18"))
        for x in "ab"
        for y in "ab"
    }
    assert lab.ask(udp(53), "c18a", "c19a").outcome is Outcome.FILTERED


@pytest.fixture
def options(lab: Lab, documented: Documented) -> Lab:
    """The same host with c18a's port published on [::1], an internal network, and one without icc."""
    topology = documented("docker-three-bridges-ipv6")
    topology = topology.with_container("c18a", publish=(PortMapping.parse("[::1]:8081:81"),))
    return lab.up(topology.with_network("net19", internal=True).with_network("net21", icc=False))


def test_internal_network_is_sealed(options: Lab) -> None:
    """--internal over IPv6: the two subnet rules of STAGE-1 in ip6tables, and no default route."""
    seen = options.reachability(tcp(80, version=6), ["c19a", "c19b", "c18a", "neighbour"])
    assert seen == matrix("""
                   c19a  c19b  c18a  neighbour
        c19a         .     .     U      U
        c19b         .     .     U      U
        c18a         F     F     .      .
        neighbour    F     F     F      .
    """)
    options.run("c19a", "ip -6 route add default via fd00:19::1")
    assert options.ask(tcp(80, version=6), "c19a", "internet").outcome is Outcome.FILTERED


@pytest.mark.needs("br_netfilter")
def test_icc_false_needs_br_netfilter_for_ipv6(options: Lab) -> None:
    """icc=false is one more rule in ip6tables' FORWARD, which bridged packets reach by br_netfilter only.

    There it drops neighbour discovery too, which is ICMPv6 and not, like ARP, a protocol of its own: the
    containers do not even find each other.
    """
    assert options.ask(tcp(80, version=6), "c21a", "c21b").outcome is Outcome.UNREACHABLE
    cell = options.explain(icmp(version=6), "c21a", "c21b")
    assert any("-i br-cfcd23a5f04c -o br-cfcd23a5f04c -j DROP" in rule for rule in cell.rules)
    options.sysctl("host", "net.bridge.bridge-nf-call-ip6tables", 0)
    assert options.ask(tcp(80, version=6), "c21a", "c21b").outcome is Outcome.DELIVERED


def test_published_on_the_loopback(options: Lab) -> None:
    """[::1]:8081 is reached from the host and from nowhere else."""
    assert options.ask(tcp(81, version=6), "host", "host@[::1]:8081").receiver == "c18a"
    seen = options.reachability(
        tcp(81, version=6), sources=["c18b", "c21a", "neighbour", "internet"], targets=["host:8081"]
    )
    assert not seen.delivered()
    assert not seen.errors()
