"""Engines with holes that are known."""

from __future__ import annotations

import json

import pytest

from netverify.audit.case import Case
from netverify.audit.checks.versions import HOLES, KNOWN_HOLE, known_holes
from netverify.audit.finding import Severity
from netverify.host import Parts, read_snapshot
from tests.host.samples import INFO, NETWORKS, TEXTS


def found(version: str, **texts: str) -> dict[str, Severity]:
    """The holes of a version, with their severities."""
    info = {"docker-info.json": json.dumps(INFO | {"ServerVersion": version})}
    snapshot = read_snapshot(Parts("host", TEXTS | info | texts))
    return {each.subject: each.severity for each in known_holes(Case.of(snapshot, "host"), KNOWN_HOLE)}


@pytest.mark.parametrize(
    ("version", "holes"),
    [
        ("19.03.10", {"2020-13401", "2023-28840", "2024-29018", "2025-54410"}),
        ("20.10.23", {"2023-28840", "2024-29018", "2025-54410"}),
        ("20.10.24", {"2024-29018", "2025-54410"}),
        ("24.0.9", {"2024-29018", "2025-54410"}),
        ("25.0.13", set()),
        ("26.0.1", {"2024-32473", "2025-54410"}),
        ("27.5.1", {"2025-54410"}),
        ("28.1.0", set()),
        ("28.2.0", {"2025-54388"}),
        ("28.3.3", set()),
        ("29.0.0", set()),
    ],
)
def test_holes_of_a_version(version: str, holes: set[str]) -> None:
    assert {name.removeprefix("CVE-") for name in found(version)} == holes


def test_a_hole_that_nothing_here_can_use_is_information() -> None:
    assert found("28.2.0") == {"CVE-2025-54388": Severity.INFO}
    zones = TEXTS["iptables-save.txt"].replace(":DOCKER - [0:0]", ":DOCKER - [0:0]\n:IN_public - [0:0]", 1)
    assert found("28.2.0", **{"iptables-save.txt": zones}) == {"CVE-2025-54388": Severity.MEDIUM}
    internal = json.dumps([NETWORKS[0] | {"Internal": True}])
    assert found("24.0.9", **{"docker-networks.json": internal})["CVE-2024-29018"] is Severity.MEDIUM


def test_each_remedy_is_a_version_without_the_hole() -> None:
    for hole in HOLES:
        assert not any(hole.concerns(fixed) for fixed in hole.fixed)


def test_podman_has_none_of_dockers() -> None:
    podman = json.dumps({"host": {}, "version": {"Version": "20.10.1"}})
    assert found("", **{"docker-info.json": podman}) == {}
