"""Twins: what the model describes is rebuilt from kernel parts, and real packets agree with the model."""

from __future__ import annotations

from pathlib import Path

import pytest

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
