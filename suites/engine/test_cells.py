"""Who reaches whom among a real engine's own containers is what the model and a lab say, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netverify.docker.from_topology import docker_host
from netverify.kernel.docker_engine import Engine
from netverify.kernel.lab import Lab
from netverify.model.prediction import predict
from netverify.reachability.comparison import compare, explain_comparison
from netverify.reachability.probe import Probe, icmp, tcp, udp
from netverify.topology.model import Topology
from suites.engine.cells import HOST, addressed, adopt, observed, seen, topology

LOOPBACK = {4: "127.0.0.1", 6: "[::1]"}
GATEWAY = {4: "172.18.0.1", 6: "[fd00:18::1]"}  # of web


def questions(plan: Topology) -> Iterator[tuple[Probe, list[str]]]:
    """Probes, each with targets that are asked at once.

    Over UDP those are not two addresses of one proxy: it answers a client from the one that was asked first.
    """
    for version in (4, 6):
        loopback, gateway = LOOPBACK[version], GATEWAY[version]
        yield icmp(version=version), addressed(plan, version)
        yield (
            tcp(80, version=version),
            [
                *addressed(plan, version),
                *(f"host:{port}" for port in (8080, 8081, 8082, 8084, 8085)),
                *(f"host@{loopback}:{port}" for port in (8080, 8081, 8084, 8085)),
                f"host@{gateway}:8080",
            ],
        )
        yield udp(53, version=version), [*addressed(plan, version), "host:5353", "host:5354"]
        for address in (loopback, gateway):
            yield udp(53, version=version), [f"host@{address}:{port}" for port in (5353, 5354)]


@pytest.mark.needs("br_netfilter")
@pytest.mark.parametrize("proxy", [False, True], ids=["proxy=off", "proxy=on"])
def test_every_cell(proxy: bool, engine: Engine, version: str, lab: Lab) -> None:
    """All pairs of containers, host and neighbour, and published ports, by each kind of probe.

    Compared is what became of each, who received it, and from which source address.
    """
    plan = topology(version, proxy=proxy)
    host = docker_host(plan, HOST)
    engine.start(host)
    engine.create(host)
    adopt(lab, engine, plan)
    told: list[str] = []
    with Lab() as built:
        built.up(plan)
        for probe, targets in questions(plan):
            sources = addressed(plan, probe.version)
            there = observed(lab, engine, plan, probe, sources, targets)
            others = {
                "the model": predict(plan, probe, sources=sources, targets=targets),
                "the lab": built.reachability(probe, sources=sources, targets=targets),
            }
            for name, other in others.items():
                found = compare(other, there)
                assert found.compared == len(sources) * len(targets)
                if not found.agree:
                    told += [f"{name} (left), and the engine {version} (right)", *explain_comparison(found)]
                told += [f"{probe}, {name} and the engine {version}: {said}" for said in seen(other, there)]
    assert not told, "\n".join(told)
