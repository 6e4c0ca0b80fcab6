"""Network mode bridge: the default one against a user-defined one (seed document 001, section 2, row bridge)."""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import routes
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp

DEFAULT, OWN = ("c17a", "c17b"), ("c18a", "c18b")


@pytest.fixture
def bridges(lab: Lab, documented: Documented) -> Lab:
    """docker0 and user-defined bridges, two containers on each."""
    return lab.up(documented("docker-three-bridges"))


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80), tcp(5432)], ids=str)
def test_all_ports_inside_a_bridge(bridges: Lab, probe: Probe) -> None:
    """Containers of one bridge open all their ports to each other, on the default bridge as on one's own.

    The document says that only user-defined bridges do so, and that the default one needs --publish: that
    needs icc=false, which nobody sets by default. What user-defined bridges add is names, not ports.
    """
    for first, second in (DEFAULT, OWN):
        assert bridges.reachability(probe, [first, second]) == matrix(f"""
                     {first}  {second}
            {first}     .        .
            {second}    .        .
        """)


def test_no_port_between_bridges(bridges: Lab) -> None:
    """Between the default bridge and a user-defined one nothing passes, either way."""
    for source in (*DEFAULT, *OWN):
        for target in OWN if source in DEFAULT else DEFAULT:
            assert bridges.ask(tcp(80), source, target).outcome is Outcome.FILTERED


def test_the_bridge_is_the_gateway(bridges: Lab) -> None:
    """A container's default route leads to its bridge's address (section 3: docker0 is 172.17.0.1)."""
    for name, gateway in (("c17a", "172.17.0.1"), ("c18a", "172.18.0.1")):
        assert any(f"default via {gateway}" in route for route in routes(bridges, name))
        assert bridges.ask(icmp(), name, f"host@{gateway}").replied
