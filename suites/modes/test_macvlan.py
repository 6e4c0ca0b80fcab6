"""Network mode macvlan: containers as machines on the LAN (seed document 001, section 2, row macvlan)."""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import mac
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Probe, arp, icmp, tcp, udp

pytestmark = pytest.mark.needs("macvlan")
EVERYBODY = ("c1", "c2", "host", "neighbour")


@pytest.fixture
def on_the_lan(lab: Lab, documented: Documented) -> Lab:
    """Two macvlan containers on the host's card, and a neighbour on the same LAN."""
    return lab.up(documented("macvlan"))


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)
def test_everybody_but_the_own_host(on_the_lan: Lab, probe: Probe) -> None:
    """Containers and the LAN reach each other; the host whose card they share reaches none, nor they it."""
    assert on_the_lan.reachability(probe, EVERYBODY) == matrix("""
                   c1  c2  host  neighbour
        c1          .   .   U     .
        c2          .   .   U     .
        host        U   U   .     .
        neighbour   .   .   .     .
    """)


def test_the_host_is_deaf_already_to_arp(on_the_lan: Lab) -> None:
    """The parent card gives its own host nothing from the containers, not even the question for its MAC."""
    seen = on_the_lan.reachability(arp(), sources=["c1", "neighbour"], targets=["c2", "host"])
    assert seen == matrix("""
                   c2  host
        c1          .   U
        neighbour   .   .
    """)


def test_each_container_has_a_mac_of_its_own(on_the_lan: Lab) -> None:
    """The neighbour finds each container under its own MAC, which is not the host's."""
    macs = {name: mac(on_the_lan, name, "eth0") for name in EVERYBODY}
    assert len(set(macs.values())) == len(EVERYBODY)
    for name in ("c1", "c2"):
        assert on_the_lan.ask(arp(), "neighbour", name).detail == f"is at {macs[name]}"


def test_no_address_is_translated(on_the_lan: Lab) -> None:
    """The neighbour sees the container's own address: nothing stands between them."""
    assert on_the_lan.ask(icmp(), "c1", "neighbour").seen_source == "192.168.1.101"
    assert on_the_lan.ask(icmp(), "neighbour", "c1").seen_source == "192.168.1.20"


def test_the_host_s_rules_do_not_see_it(on_the_lan: Lab) -> None:
    """The host's FORWARD and INPUT are not on the way: dropping everything there changes nothing."""
    for chain in ("INPUT", "FORWARD"):
        on_the_lan.firewall("host").run(f"-P {chain} DROP")
    seen = on_the_lan.reachability(tcp(80), ["c1", "c2", "neighbour"])
    assert seen == matrix("""
                   c1  c2  neighbour
        c1          .   .   .
        c2          .   .   .
        neighbour   .   .   .
    """)
