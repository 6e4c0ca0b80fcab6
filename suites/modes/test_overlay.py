"""Network mode overlay: one container network over two hosts (seed document 001, section 2, row overlay)."""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import shown
from netverify.kernel.lab import Lab
from netverify.reachability.flow import Direction
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, icmp, tcp, udp

pytestmark = pytest.mark.needs("vxlan")
CARDS = [("c1", "eth0"), ("host1", "eth0")]


@pytest.fixture
def two_hosts(lab: Lab, documented: Documented) -> Lab:
    """c1 on host1, c2 and c3 on host2, one network for the three, tunnelled between the hosts."""
    return lab.up(documented("overlay"))


def test_containers_reach_each_other_across_hosts(two_hosts: Lab) -> None:
    """Three containers on one subnet, although they live on two hosts; the hosts are not part of it."""
    for probe in (icmp(), udp(53), tcp(80)):
        assert two_hosts.reachability(probe, ["c1", "c2", "c3", "host1", "host2"]) == matrix("""
                    c1  c2  c3  host1  host2
            c1       .   .   .    U      U
            c2       .   .   .    U      U
            c3       .   .   .    U      U
            host1    U   U   U    .      .
            host2    U   U   U    .      .
        """)


def test_the_wire_carries_vxlan_and_the_inner_addresses_are_kept(two_hosts: Lab) -> None:
    """Between the hosts there is UDP 4789 (RFC 7348); inside it the containers' own addresses and MACs."""
    with two_hosts.capture("host1", "eth0", "udp port 4789") as wire:
        cell = two_hosts.ask(icmp(), "c1", "c2")
    assert cell.seen_source == "10.0.1.2"
    echoes = [frame.decoded for frame in wire.frames if frame.decoded.haslayer("ICMP")]
    assert len(echoes) == 2
    request, reply = echoes
    assert (request["IP"].src, request["IP"].dst) == ("192.168.50.1", "192.168.50.2")
    assert (request["UDP"].dport, request["VXLAN"].vni) == (4789, 4097)
    inner = request["VXLAN"].payload
    assert (inner["IP"].src, inner["IP"].dst) == ("10.0.1.2", "10.0.1.3")
    endpoints = {name: two_hosts.topology.container(name).endpoints[0] for name in ("c1", "c2")}
    assert (inner["Ether"].src, inner["Ether"].dst) == (endpoints["c1"].mac, endpoints["c2"].mac)
    assert (reply["IP"].src, reply["VXLAN"].payload["IP"].src) == ("192.168.50.2", "10.0.1.3")


def test_what_the_tunnel_takes_from_each_packet(two_hosts: Lab) -> None:
    """50 bytes: outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348, 5). So the containers' MTU is 1450.

    Section 2, row overlay, does not go into it; without the smaller MTU large packets would not fit.
    """
    with (
        two_hosts.capture("c1", "eth0", "icmp") as inside,
        two_hosts.capture("host1", "eth0", "udp port 4789") as wire,
    ):
        assert two_hosts.ask(icmp(), "c1", "c2").replied
    outer = [frame.length for frame in wire.frames if frame.decoded.haslayer("ICMP")]
    assert outer == [frame.length + 50 for frame in inside.frames]
    mtus = {
        (node, device): shown(two_hosts, node, f"link show dev {device}")[0]["mtu"] for node, device in CARDS
    }
    assert mtus == {("c1", "eth0"): 1450, ("host1", "eth0"): 1500}


def test_containers_of_one_host_need_no_tunnel(two_hosts: Lab) -> None:
    """c2 and c3 are on the same bridge: nothing but ARP, which is broadcast, leaves the host."""
    with two_hosts.capture("host2", "eth0", "udp port 4789") as wire:
        assert two_hosts.ask(icmp(), "c2", "c3").outcome is Outcome.DELIVERED
    sent = [frame.decoded for frame in wire.frames if frame.direction is Direction.OUT]
    assert sent
    assert all(packet.haslayer("ARP") for packet in sent)


def test_without_the_underlay_there_is_no_overlay(two_hosts: Lab) -> None:
    """When the host drops UDP 4789, the containers of the two hosts lose each other; the others stay.

    What meets the rule is the question for a MAC address, or the packet itself where the other side's own
    question has told the address already: unreachable or filtered, either will do.
    """
    two_hosts.firewall("host2").run("-A INPUT -p udp --dport 4789 -j DROP")
    seen = two_hosts.reachability(tcp(80), ["c1", "c2", "c3"])
    assert seen == matrix("""
             c1  c2  c3
        c1    .   X   X
        c2    X   .   .
        c3    X   .   .
    """)
