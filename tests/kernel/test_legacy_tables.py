"""python-iptables as a second reader of the legacy backend."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from netverify.host import read_json
from netverify.kernel import legacy_tables
from netverify.kernel.firewall import Backend
from netverify.kernel.lab import Lab
from netverify.reachability.probe import udp
from netverify.ruleset import Ruleset
from netverify.topology.load import load
from tests.kernel.test_services import TOPOLOGIES


@pytest.fixture
def docker() -> Lab:
    """The document's Docker host in the legacy backend, with some traffic behind it."""
    with Lab(Backend.LEGACY) as lab:
        lab.up(load(TOPOLOGIES / "docker-three-bridges.yaml"))
        lab.reachability(udp(53), ["c17a", "c18a", "host"])
        yield lab


def test_both_readers_agree(docker: Lab) -> None:
    firewall = docker.firewall("host")
    saved, read = firewall.rules(), legacy_tables.read(firewall)
    chains = {(table.name, chain.name): chain for table in saved.tables for chain in table.chains}
    assert set(read) == set(chains)
    for place, chain in chains.items():
        assert read[place].policy == chain.policy, place
        targets = [(rule.target.name if rule.target else "", rule.counters) for rule in chain.rules]
        assert list(read[place].rules) == targets, place
    assert any(counters.packets for chain in read.values() for _, counters in chain.rules)


def test_it_follows_the_namespace(docker: Lab) -> None:
    docker.firewall("neighbour").run("-A INPUT -j DROP")
    assert legacy_tables.read(docker.firewall("neighbour"))["filter", "INPUT"].rules[0][0] == "DROP"
    assert legacy_tables.read(docker.firewall("host"))["filter", "INPUT"].rules == ()


def test_rules_of_the_other_backend_do_not_exist_for_it(docker: Lab) -> None:
    docker.firewall("neighbour", Backend.NFT).run("-A INPUT -j DROP")
    docker.firewall("neighbour", Backend.LEGACY).run("-A INPUT -j ACCEPT")
    (rule,) = legacy_tables.read(docker.firewall("neighbour", Backend.LEGACY))["filter", "INPUT"].rules
    assert rule[0] == "ACCEPT"
    with pytest.raises(ValueError, match="legacy backend alone"):
        legacy_tables.read(docker.firewall("neighbour", Backend.NFT))


def test_a_second_opinion(docker: Lab) -> None:
    """The same rules are the same for both; a rule more, another policy or target is told with its place."""
    firewall = docker.firewall("host")

    def asked(*changes: tuple[str, str]) -> list[str]:
        text = firewall.save()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        saved = Ruleset.parse(text)
        return list(docker.visit("host", lambda: legacy_tables.second_opinion(saved)))

    assert asked() == []
    assert asked((":FORWARD ACCEPT", ":FORWARD DROP")) == [
        "filter FORWARD: policy DROP, and ACCEPT for python-iptables"
    ]
    rule = "-A DOCKER -i docker0 -j RETURN\n"
    (line,) = asked((rule, rule + rule))
    assert re.fullmatch(r"nat DOCKER: \d+ rules, and \d+ for python-iptables", line)
    (line,) = asked((rule, "-A DOCKER -i docker0 -j ACCEPT\n"))
    assert line == "nat DOCKER rule 1: target 'ACCEPT', and 'RETURN' for python-iptables"


@pytest.mark.parametrize("honest", [True, False])
def test_a_snapshot_asks_for_it(docker: Lab, tmp_path: Path, honest: bool) -> None:
    """Rules that two readers read differently are not believed: the part is missing, with the reason."""
    tool = tmp_path / "iptables-legacy-save"
    real = shutil.which("iptables-legacy-save")
    tool.write_text(f'#!/bin/sh\n{real} "$@" | {"cat" if honest else "grep -v DOCKER-USER"}\n')
    tool.chmod(0o755)
    path = f"PATH={tmp_path}:{os.environ['PATH']}"
    file = tmp_path / "host.json"
    command = ["env", path, sys.executable, "-m", "netverify", "collect", "-o", str(file)]
    docker.run("host", command, check=False)
    parts = read_json(file.read_text(), "-")
    opinion = parts.document("meta.json").at("second opinion").text("iptables-legacy-save.txt")
    assert (opinion == "the same") == honest
    assert parts.has("iptables-legacy-save.txt") == honest
    if not honest:
        expected = "two readers differ: filter DOCKER-USER: only python-iptables has the chain; "
        assert parts.reason("iptables-legacy-save.txt").startswith(expected)
