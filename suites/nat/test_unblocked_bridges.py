"""What two bridges that were opened to each other do to addresses (seed document 001, section 7).

The document pings 172.18.0.2 (c18a) from 172.19.0.2 (c19a) after opening the two bridges as in its section 6,
and runs tcpdump on both bridges and in the receiver. It calls both bridges br-9559b3f84d38; the second, with
172.18.0.1, is br-cbd0f56841ce.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netverify.kernel.lab import Lab
from netverify.kernel.natview import NatView
from netverify.reachability.flow import Leg, ObservedFlow
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Cell, Probe, icmp, tcp, udp
from netverify.topology.model import Topology

BR19, BR18 = "br-9559b3f84d38", "br-cbd0f56841ce"
ASKER, ANSWERER, GATEWAY = "172.19.0.2", "172.18.0.2", "172.18.0.1"
OPENING = (
    f"-I DOCKER-ISOLATION-STAGE-1 -i {BR19} -o {BR18} -j ACCEPT",
    f"-I DOCKER-ISOLATION-STAGE-1 -i {BR18} -o {BR19} -j ACCEPT",
)
Documented = Callable[[str], Topology]


@pytest.fixture
def opened(lab: Lab, documented: Documented) -> Lab:
    """The document's four bridges, 172.18 and 172.19 opened to each other."""
    return opened_up(lab, documented("docker-three-bridges"))


def opened_up(lab: Lab, topology: Topology) -> Lab:
    """Build `topology` and run the two commands of section 6."""
    lab.up(topology)
    for rule in OPENING:
        lab.firewall("host").run(rule)
    return lab


def watched(lab: Lab, probe: Probe) -> tuple[Cell, ObservedFlow]:
    """Ask `probe` from c19a to c18a, with a sniffer everywhere on the way."""
    endpoint = lab.topology.container("c18a").endpoint("net18")
    assert endpoint is not None
    port = endpoint.host_device
    assert port is not None
    points = [("c19a", "eth0"), ("host", BR19), ("host", BR18), ("host", port), ("c18a", "eth0")]
    view: NatView
    with lab.nat_view(points, conntrack=["host"]) as view:
        cell = lab.ask(probe, "c19a", "c18a")
    return cell, view.flow(lab.flow)


def addresses(flow: ObservedFlow, leg: Leg) -> list[tuple[str, str]]:
    """Source and destination of one leg, point by point in order of time, without ports."""
    return [(str(sighting.source.host), str(sighting.destination.host)) for sighting in flow.leg(leg)]
