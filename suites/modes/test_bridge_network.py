"""Network mode bridge: the default one and user-defined ones (seed document 001, section 2, row bridge)."""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import routes
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, icmp, tcp, udp
from netverify.topology.model import DockerDaemon

DEFAULT, OWN = ("c17a", "c17b"), ("c18a", "c18b")


@pytest.fixture
def bridges(lab: Lab, documented: Documented) -> Lab:
    """docker0 and user-defined bridges, two containers on each."""
    return lab.up(documented("docker-three-bridges"))


def test_all_ports_inside_a_bridge(bridges: Lab) -> None:
    """Containers of one bridge open all their ports to each other, on the default bridge as on one's own.

    Section 2, row bridge, says that only user-defined bridges do so, and that the default one needs
    --publish. That takes icc=false (the next test). What user-defined bridges add is names, not ports.
    """
    for probe in (icmp(), udp(53), tcp(80), tcp(5432)):
        for first, second in (DEFAULT, OWN):
            assert bridges.reachability(probe, [first, second]) == matrix(f"""
                         {first}  {second}
                {first}     .        .
                {second}    .        .
            """)


@pytest.mark.needs("br_netfilter")
def test_where_the_default_bridge_would_need_publish(lab: Lab, documented: Documented) -> None:
    """With icc=false the sentence of section 2, row bridge, is true: docker0's containers are shut off.

    The option exists for user-defined bridges as well, so it is no difference between the two either.
    """
    topology = documented("docker-three-bridges")
    lab.up(topology.with_network("bridge", icc=False).with_network("net18", icc=False))
    for first, second in (DEFAULT, OWN):
        assert lab.reachability(tcp(5432), [first, second]) == matrix(f"""
                     {first}  {second}
            {first}     .        F
            {second}    F        .
        """)
    assert lab.ask(tcp(5432), "c19a", "c19b").outcome is Outcome.DELIVERED


def test_no_port_to_the_outside(lab: Lab, documented: Documented) -> None:
    """Bridges open no port to the outside, as section 2, row bridge, says: if FORWARD's policy is DROP.

    The host of section 5.2 has ACCEPT: there a neighbour that knows the way reaches every port of every
    container, on the default bridge and on the others alike.
    """
    topology = documented("docker-three-bridges")
    targets = [*DEFAULT, *OWN]
    lab.up(topology.with_host("host", docker=DockerDaemon("24.0", forward_policy="DROP")))
    assert lab.reachability(tcp(5432), sources=["neighbour"], targets=targets) == matrix("""
                    c17a  c17b  c18a  c18b
        neighbour    F     F     F     F
    """)
    lab.firewall("host").run("-P FORWARD ACCEPT")
    assert lab.reachability(tcp(5432), sources=["neighbour"], targets=targets) == matrix("""
                    c17a  c17b  c18a  c18b
        neighbour    .     .     .     .
    """)


def test_no_port_between_bridges(bridges: Lab) -> None:
    """Between the default bridge and a user-defined one nothing passes, either way (section 5.1)."""
    for sources, targets in ((DEFAULT, OWN), (OWN, DEFAULT)):
        seen = bridges.reachability(tcp(80), sources=sources, targets=targets)
        assert {cell.outcome for cell in seen.cells()} == {Outcome.FILTERED}


def test_the_bridge_is_the_gateway(bridges: Lab) -> None:
    """A container's default route leads to its bridge's address (section 3: docker0 is 172.17.0.1)."""
    for name, gateway in (("c17a", "172.17.0.1"), ("c18a", "172.18.0.1")):
        assert any(f"default via {gateway}" in route for route in routes(bridges, name))
        assert bridges.ask(icmp(), name, f"host@{gateway}").replied
