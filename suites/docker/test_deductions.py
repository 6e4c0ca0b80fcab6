"""What follows from the rules of each generation, and surprises: by-passes, and what still stops them.

None of these is a use that Docker intends. Each is a fact of the rules' order, shown with packets.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from netverify import docker
from netverify.docker import BridgeNetwork, Generation, Ingress, docker_host
from netverify.kernel.lab import Lab
from netverify.reachability.probe import Outcome, tcp, udp
from suites.docker.flows import generations_topology

pytestmark = pytest.mark.needs("br_netfilter", "nft", "match set")

RAW_DROPS_PORTS = ("B0", "B1")
RAW_DROPS_CONTAINERS = ("B2", "C", "N")


def test_a_neighbour_reaches_a_loopback_publication(lab: Lab, generation: Generation) -> None:
    """moby#45610: until 27 a neighbour that routes 127.0.0.1 to the host reaches what is published there.

    DNAT rewrites the destination before the host asks whether 127.0.0.1 may come from outside. Since 28.0 the
    raw table (nftables: raw-PREROUTING) drops it.
    """
    lab.up(generations_topology(generation))
    lab.sysctl("neighbour", "net.ipv4.conf.all.route_localnet", 1)
    lab.sysctl("neighbour", "net.ipv4.conf.all.accept_local", 1)
    lab.run("neighbour", "ip rule add pref 10 lookup local")
    lab.run("neighbour", "ip rule del pref 0")
    lab.run("neighbour", "ip rule add pref 5 to 127.0.0.1 ipproto tcp dport 8081 lookup 99")
    lab.run("neighbour", "ip route add 127.0.0.1 via 198.51.100.10 src 198.51.100.20 table 99")
    cell = lab.ask(tcp(81), "neighbour", "host@127.0.0.1:8081")
    open_until_27 = generation.name in ("A0", "A")
    assert cell.outcome is (Outcome.DELIVERED if open_until_27 else Outcome.FILTERED)
    assert cell.receiver == ("web1" if open_until_27 else None)


def test_a_forged_source_enters_an_internal_network(lab: Lab, generation: Generation) -> None:
    """The internal network's drop asks for the subnet and not for the bridge: whoever claims an address of
    it gets in.

    One way only, and only where rp_filter is not strict. The nftables backend asks for the bridge, and
    drops it.
    """
    lab.up(generations_topology(generation))
    for device in ("all", "docker0"):
        lab.sysctl("host", f"net.ipv4.conf.{device}.rp_filter", 0)
    honest = lab.ask(udp(7000), "other", "sealed1")
    assert honest.outcome is Outcome.FILTERED
    lab.run("other", "ip address add 172.19.0.99/32 dev lo")
    lab.run("other", "ip route add 172.19.0.0/16 via 172.17.0.1 src 172.19.0.99")
    forged = lab.ask(udp(7000), "other", "sealed1")
    by_bridge = generation.name == "N"
    assert forged.outcome is (Outcome.FILTERED if by_bridge else Outcome.DELIVERED)
    assert not forged.replied


def test_a_forged_source_meets_strict_reverse_path_filtering(lab: Lab, generation: Generation) -> None:
    """The positive control of the test above: rp_filter=1 stops the same packet."""
    lab.up(generations_topology(generation))
    lab.sysctl(
        "other", "net.ipv4.conf.eth0.arp_announce", 2
    )  # else its ARP would be filtered, and not the packet
    lab.sysctl("host", "net.ipv4.conf.docker0.rp_filter", 1)
    lab.run("other", "ip address add 172.19.0.99/32 dev lo")
    lab.run("other", "ip route add 172.19.0.0/16 via 172.17.0.1 src 172.19.0.99")
    assert lab.ask(udp(7000), "other", "sealed1").outcome is Outcome.FILTERED


def test_a_swarm_port_opens_containers_of_other_networks(lab: Lab, generation: Generation) -> None:
    """DOCKER-INGRESS accepts by port alone, ahead of isolation: publishing swarm port 8080 opens 8080
    everywhere.

    Since 28.2 the raw table, which comes first, protects the whole container; before it protected published
    ports.
    """
    if generation.backend == "nftables":
        pytest.skip("a swarm does not run on the nftables backend")
    lab.up(generations_topology(generation))
    assert lab.ask(tcp(8080), "other", "web1").outcome is Outcome.FILTERED
    host = docker_host(lab.topology, "host")
    gateway = BridgeNetwork("docker_gwbridge", "docker_gwbridge", IPv4Network("172.30.0.0/16"), icc=False)
    ingress = Ingress(IPv4Address("172.30.0.2"), ((8080, "tcp"),))
    swarm = replace(host, networks=(*host.networks, gateway), ingress=ingress)
    lab.firewall("host").restore(docker.rules(swarm)[0].render())
    protected = generation.name in RAW_DROPS_CONTAINERS
    assert lab.ask(tcp(8080), "other", "web1").outcome is (
        Outcome.FILTERED if protected else Outcome.DELIVERED
    )
    assert lab.ask(tcp(8081), "other", "web1").outcome is Outcome.FILTERED


def test_a_rule_above_docker_s_own_passes_its_filter(lab: Lab, generation: Generation) -> None:
    """`-I FORWARD -i eth0 -j ACCEPT`, as VPNs and libvirt write it: only the raw table still stops anything.

    nftables' chains are a filter of their own, which no accept of iptables ends.
    """
    lab.up(generations_topology(generation))
    lab.firewall("host").run("-I FORWARD -i eth0 -j ACCEPT")
    unpublished = lab.ask(tcp(83), "neighbour", "web1")
    protected = generation.name in RAW_DROPS_CONTAINERS
    assert unpublished.outcome is (Outcome.FILTERED if protected else Outcome.DELIVERED)
    published = lab.ask(tcp(80), "neighbour", "web1")
    protected = protected or generation.name in RAW_DROPS_PORTS
    assert published.outcome is (Outcome.FILTERED if protected else Outcome.DELIVERED)


def test_an_old_rule_in_front_decides(lab: Lab, generation: Generation) -> None:
    """A mixture: 27's `-i docker0 ! -o docker0 -j ACCEPT` left in FORWARD, above the newer engine's jumps.

    28.0 and 28.1 have nothing in front of it for unpublished ports; what was isolated is open.
    """
    if generation.backend == "nftables":
        pytest.skip("rules of iptables do not come before those of the nftables backend, but beside them")
    lab.up(generations_topology(generation))
    assert lab.ask(tcp(83), "other", "web1").outcome is Outcome.FILTERED
    lab.firewall("host").run("-I FORWARD -i docker0 ! -o docker0 -j ACCEPT")
    lab.firewall("host").run("-I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
    protected = generation.name in RAW_DROPS_CONTAINERS
    assert lab.ask(tcp(83), "other", "web1").outcome is (Outcome.FILTERED if protected else Outcome.DELIVERED)
    if generation.name in ("B1", *RAW_DROPS_CONTAINERS):  # 28.0.0 itself writes such rules, with icc=false
        found = docker.recognise(lab.firewall("host").rules())
        assert found.is_mixed
        assert "-i docker0 ! -o docker0 -j ACCEPT" in [one.rule for one in found.stale]


def test_an_input_firewall_does_not_see_published_ports(lab: Lab, generation: Generation) -> None:
    """A host that denies everything incoming, as `ufw enable` does, still lets the LAN in to published ports.

    DNAT comes before INPUT. What does pass INPUT is the userland proxy: until 28 containers of other networks
    reach published ports by it alone, and are shut out; since 29 they are translated like everybody else.
    """
    lab.up(generations_topology(generation))
    for rule in ("-i lo -j ACCEPT", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"):
        lab.firewall("host").run(f"-A INPUT {rule}")
    lab.firewall("host").run("-P INPUT DROP")
    assert lab.ask(tcp(22), "neighbour", "host").outcome is Outcome.FILTERED
    assert lab.ask(tcp(80), "neighbour", "host:8080").replied
    translated = generation.name in ("C", "N")
    assert lab.ask(tcp(80), "other", "host:8080").outcome is (
        Outcome.DELIVERED if translated else Outcome.FILTERED
    )
