"""Network mode macvlan: containers as machines on the LAN (seed document 001, section 2, row macvlan)."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from fixtures.documented import Documented
from fixtures.iproute import mac
from netverify.kernel import netlink
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, arp, icmp, tcp
from netverify.topology.model import Route

pytestmark = pytest.mark.needs("macvlan")
EVERYBODY = ("c1", "c2", "host", "neighbour")


@pytest.fixture
def on_the_lan(lab: Lab, documented: Documented) -> Lab:
    """Two macvlan containers on the host's card, and a neighbour on the same LAN."""
    return lab.up(documented("macvlan"))


def test_everybody_but_the_own_host(on_the_lan: Lab) -> None:
    """Containers and the LAN reach each other; the host whose card they share reaches none, nor they it.

    Section 2, row macvlan: they appear as machines on the LAN. It does not say that their own host is the one
    machine there that cannot see them.
    """
    for probe in (icmp(), tcp(80)):
        assert on_the_lan.reachability(probe, EVERYBODY) == matrix("""
                       c1  c2  host  neighbour
            c1          .   .   U     .
            c2          .   .   U     .
            host        U   U   .     .
            neighbour   .   .   .     .
        """)


def test_a_macvlan_card_lets_the_host_in(on_the_lan: Lab) -> None:
    """Given a macvlan card of its own on the same parent, the host reaches the containers, and they it.

    It is the parent card that is deaf, not the host (section 2, row macvlan, is silent about it).
    """
    plan = on_the_lan.plan
    parent, index = plan.device("host", "eth0"), plan.new_device("host", "shim")
    here = on_the_lan.namespace("host").fd
    plan.stacked["host"].append(netlink.add_macvlan("shim", index, parent, "bridge", here, mac=None))
    plan.configure("host", "shim", [ip_interface("192.168.1.11/32")])
    for name in ("c1", "c2"):
        (address,) = on_the_lan.topology.addresses_of(name, 4)
        plan.route("host", Route.parse(f"{address}/32 dev shim src 192.168.1.11"))
    on_the_lan.flush()
    seen = on_the_lan.reachability(
        tcp(80), sources=["host", "c1", "c2"], targets=["host@192.168.1.11", "c1", "c2"]
    )
    assert seen == matrix("""
                host@192.168.1.11  c1  c2
        host            .           .   .
        c1              .           .   .
        c2              .           .   .
    """)
    assert (seen.cell("host", "c1").seen_source or "").startswith("192.168.1.11:")


@pytest.mark.parametrize("mode", ["private", "vepa"])
def test_modes_that_keep_containers_apart(lab: Lab, documented: Documented, mode: str) -> None:
    """In these modes of macvlan the containers reach the LAN, and no longer each other.

    private forbids it; vepa sends the frame out and trusts the switch to send it back, which an ordinary
    switch does not. Docker's default, and that of section 2, row macvlan, is bridge.
    """
    lab.up(documented("macvlan").with_network("mac0", mode=mode))
    assert lab.reachability(icmp(), ["c1", "c2", "neighbour"]) == matrix("""
                   c1  c2  neighbour
        c1          .   U   .
        c2          U   .   .
        neighbour   .   .   .
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
    """The host's FORWARD and INPUT are not on the way: dropping everything there shuts the host alone."""
    for chain in ("INPUT", "FORWARD"):
        on_the_lan.firewall("host").run(f"-P {chain} DROP")
    assert on_the_lan.ask(tcp(80), "neighbour", "host").outcome is Outcome.FILTERED
    seen = on_the_lan.reachability(tcp(80), ["c1", "c2", "neighbour"])
    assert seen == matrix("""
                   c1  c2  neighbour
        c1          .   .   .
        c2          .   .   .
        neighbour   .   .   .
    """)
