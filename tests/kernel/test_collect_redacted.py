"""Redacted snapshots of labs: every pair is answered as before, under another name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from netverify.host import HostSnapshot, Parts, read_snapshot
from netverify.host.redaction import redact
from netverify.kernel.lab import Lab
from netverify.model.matrix import reach
from netverify.model.snapshots import subject_of_snapshot
from netverify.reachability.probe import Probe, icmp, tcp
from netverify.topology.model import Topology
from tests.kernel.engine_files import collected

Documented = Callable[[str], Topology]

PUBLIC = {"198.51.100.": "93.184.216.", "203.0.113.": "81.2.69.", "2001:db8:": "2a00:1450:"}


def public(parts: Parts) -> Parts:
    """A snapshot with public addresses where the lab has those of documentation."""
    texts = dict(parts.texts)
    for old, new in PUBLIC.items():
        texts = {part: text.replace(old, new) for part, text in texts.items()}
    return Parts(parts.source, texts, parts.missing, parts.name)


def symbols(snapshot: HostSnapshot, probe: Probe) -> Sequence[Sequence[object]]:
    """The matrix of everybody who is shown, in the snapshot's order and without names."""
    subject = subject_of_snapshot(snapshot, "x")
    around = [each.name for each in subject.endpoints if each.shown]
    among = [*(container.name for container in snapshot.containers), "host"]
    among += [name for name in around if name not in among]
    return reach(subject, probe, among, among).matrix.symbols


@pytest.mark.parametrize("name", ["docker-published", "docker-three-bridges", "modes-container"])
@pytest.mark.parametrize("salt", [b"one", b"two"])
def test_the_matrix_stays(lab: Lab, documented: Documented, name: str, salt: bytes) -> None:
    lab.up(documented(name))
    parts = public(collected(lab))
    before, after = read_snapshot(parts), read_snapshot(redact(parts, salt))
    for probe in (icmp(), tcp(80), tcp(8080)):
        assert symbols(before, probe) == symbols(after, probe)
    assert {c.name for c in before.containers}.isdisjoint(c.name for c in after.containers)
    assert {len(before.devices), len(before.routes)} == {len(after.devices), len(after.routes)}


def test_the_matrix_of_ipv6_stays(lab: Lab, documented: Documented) -> None:
    lab.up(documented("docker-three-bridges-ipv6"))
    parts = public(collected(lab))
    for salt in (b"one", b"two"):
        before, after = read_snapshot(parts), read_snapshot(redact(parts, salt))
        assert symbols(before, Probe("tcp", 80, version=6)) == symbols(after, Probe("tcp", 80, version=6))
