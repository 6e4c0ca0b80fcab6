"""Two namespaces in different subnets, and a router namespace between them.

Seed document 001, section 4: ns0 (192.168.0.2/24) and ns1 (192.168.1.2/24) each have a cable to ns-router
(192.168.0.1 and 192.168.1.1). They cannot talk until each has a route to the other's subnet via its own
gateway.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from fixtures.documented import Documented
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp
from netverify.topology.model import Topology

ENDS = ("ns0", "ns1")
TARGETS = ("ns0", "ns1", "ns-router@192.168.0.1", "ns-router@192.168.1.1")
FROM_NS0 = "ip route add 192.168.1.0/24 via 192.168.0.1"
FROM_NS1 = "ip route add 192.168.0.0/24 via 192.168.1.1"
PROBES = pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)


@pytest.fixture
def without_routes(documented: Documented) -> Topology:
    """The topology after step 3 of the document: addresses everywhere, forwarding on, no routes yet."""
    topology = documented("router-two-subnets")
    return replace(topology, hosts=tuple(replace(host, routes=()) for host in topology.hosts))


@PROBES
def test_no_route(lab: Lab, without_routes: Topology, probe: Probe) -> None:
    """Each reaches its own gateway and nothing beyond (step 4, "ns0 and ns1 cannot communicate yet")."""
    lab.up(without_routes)

    seen = lab.reachability(probe, sources=ENDS, targets=TARGETS)

    assert seen == matrix("""
              ns0  ns1  ns-router@192.168.0.1  ns-router@192.168.1.1
        ns0   .    U    .                      U
        ns1   U    .    U                      .
    """)
    assert "ENETUNREACH" in seen.cell("ns0", "ns1").detail


@PROBES
def test_one_way_route(lab: Lab, without_routes: Topology, probe: Probe) -> None:
    """With ns0's route alone, its packets arrive at ns1, and ns1 has no way to answer.

    The document sets both routes at once; this is why one is not enough.
    """
    lab.up(without_routes)
    lab.run("ns0", FROM_NS0)

    seen = lab.reachability(probe, sources=ENDS, targets=TARGETS)

    assert seen == matrix("""
              ns0  ns1  ns-router@192.168.0.1  ns-router@192.168.1.1
        ns0   .    >    .                      .
        ns1   U    .    U                      .
    """)
    assert seen.cell("ns0", "ns1").receiver == "ns1"


@PROBES
def test_both_routes(lab: Lab, without_routes: Topology, probe: Probe) -> None:
    """With both routes they communicate (step 5)."""
    lab.up(without_routes)
    lab.run("ns0", FROM_NS0)
    lab.run("ns1", FROM_NS1)

    assert lab.reachability(probe, sources=ENDS, targets=TARGETS) == matrix("""
              ns0  ns1  ns-router@192.168.0.1  ns-router@192.168.1.1
        ns0   .    .    .                      .
        ns1   .    .    .                      .
    """)


@PROBES
def test_forwarding_off(lab: Lab, documented: Documented, probe: Probe) -> None:
    """A router that does not forward drops what is not for itself; all its own addresses answer still."""
    lab.up(documented("router-two-subnets"))
    lab.sysctl("ns-router", "net.ipv4.ip_forward", 0)

    seen = lab.reachability(probe, sources=ENDS, targets=TARGETS)

    assert seen == matrix("""
              ns0  ns1  ns-router@192.168.0.1  ns-router@192.168.1.1
        ns0   .    F    .                      .
        ns1   F    .    .                      .
    """)
    assert lab.ask(probe, "ns0", "ns1").detail == (
        "dropped by ns-router: not addressed to this host, which does not forward"
    )


def test_forwarding_off_and_on_again(lab: Lab, documented: Documented) -> None:
    """It can be switched at any time (seed document 001, section 8: net.ipv4.ip_forward=1)."""
    lab.up(documented("router-two-subnets"))
    seen = []
    for value in (1, 0, 1):
        lab.sysctl("ns-router", "net.ipv4.ip_forward", value)
        seen.append(lab.ask(icmp(), "ns0", "ns1").outcome)

    assert seen == [Outcome.DELIVERED, Outcome.FILTERED, Outcome.DELIVERED]


def test_forwarding_is_needed_in_the_router_and_nowhere_else(lab: Lab, documented: Documented) -> None:
    """Forwarding of another namespace does not help.

    Step 1 of the document makes the namespaces and switches on forwarding "of this machine". The setting is
    each namespace's own (network_namespaces(7)): it is the router's that counts. The machine's is merely
    copied into namespaces that are made after it was switched on (net.core.devconf_inherit_init_net).
    """
    lab.up(documented("router-two-subnets"))
    lab.sysctl("ns-router", "net.ipv4.ip_forward", 0)
    for name in ENDS:
        lab.sysctl(name, "net.ipv4.ip_forward", 1)
    elsewhere = lab.ask(icmp(), "ns0", "ns1")

    lab.sysctl("ns-router", "net.ipv4.ip_forward", 1)
    for name in ENDS:
        lab.sysctl(name, "net.ipv4.ip_forward", 0)
    in_the_router = lab.ask(icmp(), "ns0", "ns1")

    assert elsewhere.outcome is Outcome.FILTERED
    assert in_the_router.replied


def test_the_router_translates_nothing_and_takes_one_from_the_ttl(lab: Lab, documented: Documented) -> None:
    """Seen at both of the router's devices: the same addresses, and a TTL of 64, then 63 (RFC 791)."""
    lab.up(documented("router-two-subnets"))
    wanted = "icmp[icmptype] = icmp-echo"
    with (
        lab.capture("ns-router", "veth0-r", wanted) as near,
        lab.capture("ns-router", "veth1-r", wanted) as far,
    ):
        assert lab.ask(icmp(), "ns0", "ns1").seen_source == "192.168.0.2"

    headers = [frame.decoded["IP"] for sniffer in (near, far) for frame in sniffer.frames]
    assert [(header.src, header.dst, header.ttl) for header in headers] == [
        ("192.168.0.2", "192.168.1.2", 64),
        ("192.168.0.2", "192.168.1.2", 63),
    ]
