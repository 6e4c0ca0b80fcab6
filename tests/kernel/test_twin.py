"""Twins: what the model describes is rebuilt from kernel parts, and real packets agree with the model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from netverify.dataplane.view import DEFAULT_RULES, HostView, Link, RoutingRule
from netverify.dataplane.world import World
from netverify.kernel.lab import Lab
from netverify.kernel.twin import realise
from netverify.kernel.twin_matrix import ask_twin
from netverify.model.matrix import reach
from netverify.model.topologies import subject_of
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Probe, icmp, tcp, udp
from netverify.topology.load import load

FOLDER = Path(__file__).parents[2] / "fixtures" / "topologies"
# What a twin needs that not every kernel has; and overlays, whose tunnels the model knows as wires.
NEEDS = {"macvlan": "macvlan", "ipvlan": "ipvlan"}


def cases() -> list[object]:
    marks = {name: [pytest.mark.needs(what)] for name, what in NEEDS.items()}
    return [
        pytest.param(path, id=path.stem, marks=marks.get(path.stem, []))
        for path in sorted(FOLDER.glob("*.yaml"))
        if path.stem != "ipvlan"
    ]


@pytest.mark.parametrize("path", cases())
def test_twins_of_every_documented_topology(lab: Lab, path: Path) -> None:
    subject = subject_of(load(path))
    assert realise(lab, subject.world) == ()
    probes: list[Probe] = [icmp(), udp(7000), tcp(7000)]
    if 6 in subject.versions():
        probes += [icmp(version=6), udp(7000, version=6)]
    for probe in probes:
        if probe.version not in subject.versions():
            continue
        foretold = reach(subject, probe)
        pairs = [(pair.cell.source, pair.cell.target, pair.address) for pair in foretold.pairs]
        cells = ask_twin(lab, subject, probe, pairs)
        observed = ObservedMatrix.of(probe, cells, rows=foretold.matrix.rows, columns=foretold.matrix.columns)
        assert observed == foretold.matrix


def test_a_rule_of_routing_for_one_ip_version_is_made_for_that_one(lab: Lab) -> None:
    links = (Link.of("lo", "127.0.0.1/8", "::1/128"), Link.of("eth0", "192.0.2.1/24", "2001:db8::1/64"))
    own = (RoutingRule(77, 7, mark=1, mark_mask=1, version=4), RoutingRule(78, 7, mark=1, mark_mask=1))
    view = HostView("host", links, routing_rules=(*DEFAULT_RULES, *own)).with_connected_routes()
    assert realise(lab, World([view], ())) == ()
    for version, expected in ((4, {77, 78}), (6, {78})):
        command = ["ip", f"-{version}", "-j", "rule"]
        printed = lab.visit("host", lambda command=command: subprocess.check_output(command, text=True))  # type: ignore[misc]
        assert {rule["priority"] for rule in json.loads(printed)} - {0, 32766, 32767} == expected
