"""Who reaches whom among a real engine's own containers is what the model and a lab say, cell by cell."""

from __future__ import annotations

import pytest

from netverify.docker.from_topology import docker_host
from netverify.kernel.docker_engine import Engine
from netverify.kernel.lab import Lab
from netverify.model.prediction import predict
from netverify.reachability.comparison import compare, explain_comparison
from netverify.reachability.probe import Probe, icmp, tcp, udp
from suites.engine.cells import HOST, adopt, observed, topology

PUBLISHED = {
    tcp(80): ["host:8080", "host:8082", "host:8081", "host@172.18.0.1:8080"],
    udp(53): ["host:5353"],
}
PROBES: list[Probe] = [icmp(), tcp(80), udp(53)]


@pytest.mark.needs("br_netfilter")
def test_every_cell(engine: Engine, version: str, lab: Lab) -> None:
    """All pairs of containers, host and neighbour, and published ports, by each kind of probe over IPv4."""
    plan = topology(version)
    host = docker_host(plan, HOST)
    engine.start(host)
    engine.create(host)
    adopt(lab, engine, plan)
    told: list[str] = []
    with Lab() as built:
        built.up(plan)
        for probe in PROBES:
            sources = [*(one.name for one in plan.containers), *(one.name for one in plan.hosts)]
            targets = [*sources, *PUBLISHED.get(probe, ())]
            there = observed(lab, plan, probe, sources, targets)
            others = {
                "the model": predict(plan, probe, sources=sources, targets=targets),
                "the lab": built.reachability(probe, sources=sources, targets=targets),
            }
            for name, other in others.items():
                found = compare(other, there)
                assert found.compared == len(sources) * len(targets)
                if not found.agree:
                    told += [f"{name} (left), and the engine {version} (right)", *explain_comparison(found)]
    assert not told, "\n".join(told)
