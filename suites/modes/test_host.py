"""Network mode host: a container in the namespace of its host.

Seed document 001, section 2, row host, and seed document 003, section "Kubernetes Pod".
web runs in host mode and serves on port 80; c1 has a namespace of its own on docker0 and serves there too.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import addresses, devices, mac
from netverify.kernel.lab import Lab
from netverify.kernel.service import PortTaken
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, tcp, udp


@pytest.fixture
def host_mode(lab: Lab, documented: Documented) -> Lab:
    """A Docker host on a LAN, with one container in host mode and one on docker0."""
    return lab.up(documented("modes-host"))


def test_no_namespace_no_card_no_address_of_its_own(host_mode: Lab) -> None:
    """web has the host's namespace, devices and addresses, and no veth pair (section 2, row host)."""
    assert host_mode.namespace("web").inode == host_mode.namespace("host").inode
    assert host_mode.namespace("c1").inode != host_mode.namespace("host").inode
    assert devices(host_mode, "web") == devices(host_mode, "host") >= {"lo", "eth0", "docker0"}
    assert mac(host_mode, "web", "eth0") == mac(host_mode, "host", "eth0")
    assert addresses(host_mode, "web", "eth0") == ["198.51.100.10/24"]
    assert devices(host_mode, "c1") == {"lo", "eth0"}


def test_reached_at_the_hosts_addresses(host_mode: Lab) -> None:
    """Everybody who reaches the host reaches web, on each of the host's addresses, with nothing published.

    c1, which publishes nothing either, is reached by the host's own people only (section 2, rows host and
    bridge).
    """
    targets = ["web", "web@172.17.0.1", "web@127.0.0.1", "c1"]
    seen = host_mode.reachability(
        tcp(80), sources=["host", "c1", "neighbour"], targets=targets, listeners=["web", "c1"]
    )
    assert seen == matrix("""
                     web  web@172.17.0.1  web@127.0.0.1  c1
        host          .         .               .        .
        c1            .         .               .        .
        neighbour     .         U               R        U
    """)
    # 127.0.0.1 is always one's own: c1 finds its own service there, the neighbour nobody's.
    assert seen.cell("host", "web@127.0.0.1").receiver == "host"
    assert seen.cell("c1", "web@127.0.0.1").receiver == "c1"


def test_nothing_is_translated(host_mode: Lab) -> None:
    """web sees the neighbour's own address, and the neighbour sees the host's: no NAT is in between.

    Section 2, row host: the container uses the IP address and the ports of the host. Not one rule of Docker's
    filter or nat table decides: the packet goes through INPUT, which Docker leaves alone.
    """
    cell = host_mode.explain(tcp(80), "neighbour", "web", ["web"])
    assert (cell.seen_source or "").partition(":")[0] == "198.51.100.20"
    moved = [rule.removeprefix("host: ").partition(" [")[0] for rule in cell.rules if " rule " in rule]
    assert moved == ["nat PREROUTING rule 1: -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER"]
    assert (host_mode.ask(tcp(80), "web", "neighbour").seen_source or "").startswith("198.51.100.10:")


@pytest.mark.parametrize("probe", [tcp(80), udp(53)], ids=str)
def test_ports_are_the_hosts(host_mode: Lab, probe: Probe) -> None:
    """A port that web holds, nobody else in host mode can have; c1 can (section 2, row host)."""
    with host_mode.listen(probe, "web"):
        with pytest.raises(PortTaken), host_mode.listen(probe, "host"):
            pass
        with host_mode.listen(probe, "c1"):
            pass
    with host_mode.listen(probe, "host"):
        pass


def test_the_hosts_own_firewall_is_the_containers(host_mode: Lab) -> None:
    """A rule for the host's INPUT shuts web, and not c1: web is "not isolated from the host" (section 2)."""
    host_mode.firewall("host").run("-A INPUT -p tcp --dport 80 -j DROP")
    assert host_mode.ask(tcp(80), "neighbour", "web").outcome is Outcome.FILTERED
    assert host_mode.ask(tcp(80), "host", "c1").outcome is Outcome.DELIVERED
