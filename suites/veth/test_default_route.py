"""A default route through a device, without a gateway.

Seed document 002, section 'Linux Veth': `route add default dev veth0` in ns1 and the like in ns2, then
`ping 172.18.0.3`.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import mac, neighbours, routes
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp

FAR = "10.9.9.9"  # an address of ns2 outside the subnet of the cable


@pytest.fixture
def pair(lab: Lab, documented: Documented) -> Lab:
    """The document's pair; ns2 has one more address, which only the default route leads to."""
    lab.up(documented("veth-default-route"))
    lab.run("ns2", f"ip addr add {FAR}/32 dev lo")
    return lab


@pytest.mark.parametrize("probe", [icmp(), tcp(80)], ids=str)
def test_the_ping_of_the_document_needs_no_default_route(pair: Lab, probe: Probe) -> None:
    """The neighbour is in the subnet of the device: its route leads there, with the default route or without.

    The document sets the default route before its ping, as if it were needed.
    """
    assert routes(pair, "ns1")[0] == "default dev veth0 proto static scope link"
    with_it = pair.ask(probe, "ns1", "ns2@172.18.0.3")
    pair.run("ns1", "ip route del default")
    pair.run("ns2", "ip route del default")
    without = pair.ask(probe, "ns1", "ns2@172.18.0.3")

    assert (with_it.outcome, with_it.replied) == (Outcome.DELIVERED, True)
    assert (without.outcome, without.replied) == (Outcome.DELIVERED, True)


@pytest.mark.parametrize("probe", [icmp(), tcp(80)], ids=str)
def test_a_default_route_without_gateway_leads_to_every_address_on_the_cable(pair: Lab, probe: Probe) -> None:
    """With it, ns1 reaches any address of ns2; without it, only those of the subnet."""
    with_it = pair.ask(probe, "ns1", f"ns2@{FAR}")
    pair.run("ns1", "ip route del default")
    without = pair.ask(probe, "ns1", f"ns2@{FAR}")

    assert (with_it.outcome, with_it.receiver) == (Outcome.DELIVERED, "ns2")
    assert with_it.replied
    assert without.outcome is Outcome.UNREACHABLE
    assert "no route" in without.detail


def test_every_address_is_a_neighbour(pair: Lab) -> None:
    """Without a gateway the sender asks the wire for the destination itself: there is an ARP entry for it."""
    pair.ask(icmp(), "ns1", f"ns2@{FAR}")

    assert neighbours(pair, "ns1")[FAR] == mac(pair, "ns2", "veth1")


def test_what_is_not_on_the_cable_stays_unreachable(pair: Lab) -> None:
    """The route exists, but nobody answers ARP for 8.8.8.8: the host itself says unreachable.

    So such a route opens no way to the outside, which seed document 002 reaches by a bridge and MASQUERADE.
    """
    with_it = pair.ask(icmp(), "ns1", "ns2@8.8.8.8")
    pair.run("ns1", "ip route del default")
    without = pair.ask(icmp(), "ns1", "ns2@8.8.8.8")

    assert with_it.outcome is Outcome.UNREACHABLE
    assert with_it.detail == "172.18.0.2 answered ICMP type 3 code 1"
    assert without.outcome is Outcome.UNREACHABLE
    assert "ENETUNREACH" in without.detail


def test_the_way_back_needs_a_route_too(pair: Lab) -> None:
    """Requests from an address outside the subnet arrive at ns1, and only its default route answers them."""
    pair.run("ns2", f"ip route replace default dev veth1 src {FAR}")
    targets = ["ns1@172.18.0.2"]
    pair.run("ns2", "ip route del 172.18.0.0/24")  # so that the default route, and its source, are used

    with_it = pair.reachability(icmp(), sources=["ns2"], targets=targets)
    pair.run("ns1", "ip route del default")
    without = pair.reachability(icmp(), sources=["ns2"], targets=targets)

    assert with_it.cell("ns2", targets[0]).seen_source == FAR
    assert with_it == matrix("""
              ns1@172.18.0.2
        ns2   .
    """)
    assert without == matrix("""
              ns1@172.18.0.2
        ns2   >
    """)
