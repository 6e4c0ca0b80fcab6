"""A bridge without an address, and the host's route to the subnet behind it.

Seed document 002, sections 'Linux Bridge' and 'Linux routing table': br0 has no address; its ports are eth0,
which keeps the host's address, and the cable of ns1. ns1 has a default route through its device, the host has
`route add -net 172.18.0.0/24 dev br0`. Then the document pings the host's address from ns1.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import addresses, mac, neighbours, routes
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Probe, icmp, tcp, udp

ROUTE = "172.18.0.0/24 dev br0"


@pytest.fixture
def bridge(lab: Lab, documented: Documented) -> Lab:
    """The topology with both routes."""
    return lab.up(documented("bridge-host-route"))


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)
def test_with_both_routes(bridge: Lab, probe: Probe) -> None:
    """The namespace reaches the host's address, as in the document, and the host reaches the namespace."""
    assert addresses(bridge, "host", "br0") == []

    assert bridge.reachability(probe, ["host", "ns1"]) == matrix("""
               host  ns1
        host   .     .
        ns1    .     .
    """)


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)
def test_without_the_route_of_the_host(bridge: Lab, probe: Probe) -> None:
    """The host finds no way to 172.18.0.0/24: it cannot ask, and it cannot answer either."""
    bridge.run("host", f"ip route del {ROUTE}")

    assert bridge.reachability(probe, ["host", "ns1"]) == matrix("""
               host  ns1
        host   .     U
        ns1    >     .
    """)


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)
def test_without_the_default_route_of_the_namespace(bridge: Lab, probe: Probe) -> None:
    """The same the other way round: the host's address is outside the namespace's subnet."""
    bridge.run("ns1", "ip route del default")

    assert bridge.reachability(probe, ["host", "ns1"]) == matrix("""
               host  ns1
        host   .     >
        ns1    U     .
    """)


def test_an_address_on_the_bridge_makes_the_route_needless(bridge: Lab) -> None:
    """What the other documents do: an address of the subnet on br0 brings the route with it."""
    bridge.run("host", f"ip route del {ROUTE}")
    bridge.run("host", "ip addr add 172.18.0.1/24 dev br0")

    assert routes(bridge, "host")[0].startswith(ROUTE)
    cell = bridge.ask(icmp(), "host", "ns1")
    assert (cell.replied, cell.seen_source) == (True, "172.18.0.1")


def test_whose_addresses_are_seen(bridge: Lab) -> None:
    """br0 has no address to send from, so the host takes that of eth0."""
    there, back = bridge.ask(icmp(), "host", "ns1"), bridge.ask(icmp(), "ns1", "host")

    assert there.seen_source == "172.22.11.211"
    assert back.seen_source == "172.18.0.2"


def test_the_host_answers_arp_on_the_bridge_for_an_address_of_its_port(bridge: Lab) -> None:
    """ns1's route has no gateway, so ns1 asks for the host's address itself; br0 answers for it.

    An address belongs to the host and not to a device (arp_ignore is 0, ip-sysctl).
    """
    bridge.ask(icmp(), "ns1", "host")

    assert neighbours(bridge, "ns1") == {"172.22.11.211": mac(bridge, "host", "br0")}
