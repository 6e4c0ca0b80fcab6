"""What follows from the order of each release's rules: by-passes, and what still stops them.

None of these is a use that Docker intends. Each was read out of the rules first; here packets show it.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from netverify import docker
from netverify.docker import BridgeNetwork, Ingress, docker_host
from netverify.kernel.lab import Lab
from netverify.reachability.probe import Outcome, icmp, tcp, udp
from suites.docker.grid import setting
from suites.docker.releases import Release

pytestmark = pytest.mark.needs("br_netfilter", "nft", "match set")

DELIVERED, FILTERED = Outcome.DELIVERED, Outcome.FILTERED


def _guards_ports(release: Release) -> bool:
    """Whether the raw table protects the ports that a container publishes, and no more of it."""
    return release.generation.name in ("B0", "B1")


def _guards_containers(release: Release) -> bool:
    """Whether the raw table (nftables: raw-PREROUTING) protects a container as a whole."""
    return release.generation.name in ("B2", "C", "N")


# --- internal networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_a_forged_source_enters_an_internal_network(lab: Lab, release: Release, version: int) -> None:
    """iptables' drop asks for the subnet, and not for the bridge: who claims an address of it gets in.

    One way only. The same over IPv6, where since 25 the drop asks for the bridge as well: both must be
    strange, and the forged address is not. nftables asks for the bridge alone, and drops it. Releases that
    leave ip6tables off drop nothing there.
    """
    lab.up(setting("internal").topology(release))
    forged, subnet, gateway = {
        4: ("172.18.0.99/32", "172.18.0.0/16", "172.17.0.1"),
        6: ("fd00:18::99/128", "fd00:18::/64", "fd00:17::1"),
    }[version]
    probe = udp(7000, version=version)
    unfiltered = version == 6 and release.title in ("17.06-18.04", "18.05-26")
    assert lab.ask(probe, "other", "web1").outcome is (DELIVERED if unfiltered else FILTERED)
    lab.run("other", f"ip address add {forged} dev lo" + (" nodad" if version == 6 else ""))
    lab.run("other", f"ip route add {subnet} via {gateway} src {forged.partition('/')[0]}")
    cell = lab.ask(probe, "other", "web1")
    assert cell.outcome is (FILTERED if release.backend == "nftables" else DELIVERED)
    assert not cell.replied


def test_a_forged_source_meets_strict_reverse_path_filtering(lab: Lab, release: Release) -> None:
    """The test above once more with rp_filter=1 (RFC 3704), which asks by which way an answer would leave.

    The host then does not even answer the forger's ARP, whose sender address is the forged one
    (net/ipv4/arp.c, arp_process, looks for the way back too). rp_filter=2 is satisfied by any way back.
    """
    lab.up(setting("internal").topology(release))
    lab.sysctl("host", "net.ipv4.conf.docker0.rp_filter", 1)
    lab.run("other", "ip address add 172.18.0.99/32 dev lo")
    lab.run("other", "ip route add 172.18.0.0/16 via 172.17.0.1 src 172.18.0.99")
    assert lab.ask(udp(7000), "other", "web1").outcome is Outcome.UNREACHABLE
    lab.sysctl("host", "net.ipv4.conf.docker0.rp_filter", 2)
    loose = lab.ask(udp(7000), "other", "web1").outcome
    assert loose is (FILTERED if release.backend == "nftables" else DELIVERED)


# --- swarm -------------------------------------------------------------------------------------------------


def test_a_swarm_port_opens_containers_of_other_networks(lab: Lab, release: Release) -> None:
    """DOCKER-INGRESS accepts by port alone, ahead of isolation: swarm port 8080 opens 8080 everywhere.

    To other networks' containers and to the LAN alike. Since 28.2 the raw table, which comes first, protects
    the whole container; in 28.0 and 28.1 it protects the ports that the container itself publishes.
    """
    lab.up(setting("default").topology(release))
    if release.backend == "nftables":  # no swarm runs on that backend, moby daemon/config/config_linux.go
        assert docker.rules(docker_host(lab.topology, "host"))[0].tables == ()
        return
    everybody = ("other", "neighbour")
    assert [lab.ask(tcp(8080), one, "web1").outcome for one in everybody] == [FILTERED, FILTERED]
    host = docker_host(lab.topology, "host")
    gateway = BridgeNetwork("docker_gwbridge", "docker_gwbridge", IPv4Network("172.30.0.0/16"), icc=False)
    ingress = Ingress(IPv4Address("172.30.0.2"), ((8080, "tcp"), (80, "tcp")))
    swarm = replace(host, networks=(*host.networks, gateway), ingress=ingress)
    lab.firewall("host").restore(docker.rules(swarm)[0].render())
    unpublished = FILTERED if _guards_containers(release) else DELIVERED
    published = FILTERED if _guards_containers(release) or _guards_ports(release) else DELIVERED
    for one in everybody:
        assert lab.ask(tcp(8080), one, "web1").outcome is unpublished, one
        assert lab.ask(tcp(80), one, "web1").outcome is published, one
        assert lab.ask(tcp(8081), one, "web1").outcome is FILTERED, one


# --- rules that others put before Docker's -----------------------------------------------------------------


def test_a_rule_above_docker_s_own_passes_its_filter(lab: Lab, release: Release) -> None:
    """`-I FORWARD -i eth0 -j ACCEPT`, as VPNs and libvirt write it: only the raw table still stops anything.

    nftables' chains are a filter of their own, which no accept of iptables ends.
    """
    lab.up(setting("default").topology(release))
    lab.firewall("host").run("-I FORWARD -i eth0 -j ACCEPT")
    unpublished, published = (lab.ask(tcp(port), "neighbour", "web1").outcome for port in (83, 80))
    assert unpublished is (FILTERED if _guards_containers(release) else DELIVERED)
    assert published is (FILTERED if _guards_containers(release) or _guards_ports(release) else DELIVERED)


def test_an_old_rule_in_front_decides(lab: Lab, release: Release) -> None:
    """A mixture: 27's `-i docker0 ! -o docker0 -j ACCEPT` left in FORWARD, above the newer engine's jumps.

    28.0 and 28.1 have nothing in front of it for unpublished ports; what was isolated is open. The nftables
    backend's chains stand beside such a rule, not behind it.
    """
    lab.up(setting("default").topology(release))
    assert lab.ask(tcp(83), "other", "web1").outcome is FILTERED
    lab.firewall("host").run("-I FORWARD -i docker0 ! -o docker0 -j ACCEPT")
    lab.firewall("host").run("-I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
    cell = lab.ask(tcp(83), "other", "web1")
    assert cell.outcome is (FILTERED if _guards_containers(release) else DELIVERED)
    # 28.0.0 itself writes such rules, for networks with icc=false.
    if release.backend == "iptables" and release.generation.name not in ("A0", "A", "B0"):
        found = docker.recognise(lab.firewall("host").rules())
        assert found.is_mixed
        assert "-i docker0 ! -o docker0 -j ACCEPT" in [one.rule for one in found.stale]


def test_a_bridge_without_its_isolation_rules_is_reached(lab: Lab, release: Release) -> None:
    """A bridge without its rules in the isolation chains, as on hosts whose rules were restored in part.

    Until 27 nothing else keeps other networks out of it. Since 28.0 each bridge's own default drop does, and
    29 has no such chains.
    """
    lab.up(setting("default").topology(release))
    firewall = lab.firewall("host")
    rules = firewall.rules()
    if rules.has_table("filter"):
        for chain in rules.table("filter").chains:
            if chain.name.startswith("DOCKER-ISOLATION"):
                kept = tuple(rule for rule in chain.rules if "br-web" not in rule.render())
                rules = rules.with_chain("filter", replace(chain, rules=kept))
        firewall.restore(rules.render())
    open_now = release.generation.name in ("A0", "A")
    assert lab.ask(tcp(83), "other", "web1").outcome is (DELIVERED if open_now else FILTERED)


# --- what the raw table covers -----------------------------------------------------------------------------


def test_addresses_without_an_endpoint_are_not_guarded(lab: Lab, release: Release) -> None:
    """The raw table knows endpoints: neither the bridge's own address nor one that a container took itself.

    The filter's default drop still covers the latter, until a rule above it accepts.
    """
    lab.up(setting("default").topology(release))
    lab.run("web2", "ip address add 172.18.0.77/16 dev eth0")
    assert lab.ask(icmp(), "neighbour", "host@172.18.0.1").replied
    assert lab.ask(tcp(83), "neighbour", "web2@172.18.0.77").outcome is FILTERED
    lab.firewall("host").run("-I FORWARD -i eth0 -j ACCEPT")
    lab.firewall("host").run("-I FORWARD -o eth0 -j ACCEPT")
    in_no_way = release.backend == "nftables"  # there the accept of iptables decides nothing
    assert lab.ask(tcp(83), "neighbour", "web2@172.18.0.77").outcome is (FILTERED if in_no_way else DELIVERED)
    endpoint = lab.ask(tcp(83), "neighbour", "web2").outcome
    assert endpoint is (FILTERED if _guards_containers(release) else DELIVERED)


def test_what_drops_a_ping_from_the_lan(lab: Lab, release: Release) -> None:
    """A neighbour's ping to a container: the policy, then the bridge's default drop, then the raw table."""
    lab.up(setting("default").topology(release))
    cell = lab.explain(icmp(), "neighbour", "web1")
    by = {
        "A0": "filter FORWARD policy",
        "A": "filter FORWARD policy",
        "B0": "filter DOCKER rule",
        "B1": "filter DOCKER rule",
        "B2": "raw PREROUTING rule",
        "C": "raw PREROUTING rule",
        "N": "ip docker-bridges:raw-PREROUTING:rule",
    }[release.generation.name]
    assert cell.detail.startswith(f"dropped by host: {by}")
