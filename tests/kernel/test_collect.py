"""Snapshots of labs: what is collected says of every pair what the lab's topology says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

import pytest

from netverify.host import read_json, read_snapshot
from netverify.kernel import collect
from netverify.kernel.lab import Lab
from netverify.model import sources
from netverify.model.matrix import reach
from netverify.model.topologies import subject_of
from netverify.reachability.comparison import compare, explain
from netverify.reachability.probe import Probe, icmp, tcp, udp
from netverify.topology.model import Topology
from tests.kernel.engine_files import collected

Documented = Callable[[str], Topology]

DOCKER_HOSTS = (
    "docker-published",
    "docker-three-bridges",
    "docker-two-networks",
    "modes-container",
    "modes-host",
    "modes-none",
    "pod",
)


def names(topology: Topology) -> list[str]:
    return [*(container.name for container in topology.containers_on("host")), "host"]


@pytest.mark.parametrize("name", DOCKER_HOSTS)
def test_a_snapshot_says_what_the_topology_says(lab: Lab, documented: Documented, name: str) -> None:
    topology = documented(name)
    lab.up(topology)
    subject = sources.snapshot(collected(lab))
    described = subject_of(topology)
    among = names(topology.resolved())
    for probe in (icmp(), tcp(80), udp(53)):
        theirs = reach(described, probe, among, among).matrix
        ours = reach(subject, probe, among, among).matrix
        assert compare(theirs, ours).agree, "\n".join(explain(theirs, ours))
    assert not subject.lacking(["host"], 4), subject.lacks


def test_ipv6_of_a_snapshot(lab: Lab, documented: Documented) -> None:
    topology = documented("docker-three-bridges-ipv6")
    lab.up(topology)
    subject, described = sources.snapshot(collected(lab)), subject_of(topology)
    among = names(topology.resolved())
    probe = Probe("tcp", 80, version=6)
    theirs, ours = (reach(each, probe, among, among).matrix for each in (described, subject))
    assert compare(theirs, ours).agree, "\n".join(explain(theirs, ours))


def test_a_snapshot_in_one_file_says_the_same(lab: Lab, documented: Documented) -> None:
    lab.up(documented("docker-published"))
    parts = collected(lab)
    again = read_json(parts.as_json(), "host.json")
    assert read_snapshot(again) == read_snapshot(parts)


def test_collecting_changes_nothing(lab: Lab, documented: Documented) -> None:
    """No module's tables are made by looking for rules, and what was read twice is the same."""
    lab.up(documented("docker-published"))

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return lab.visit("host", lambda: collect.run_here(command))

    before = collect.collect(run, name="x")
    after = collect.collect(run, name="x")
    assert read_snapshot(before) == read_snapshot(after)
    tables = run(("cat", "/proc/thread-self/net/ip_tables_names")).stdout.split()
    if lab.backend.value == "nft":
        assert tables == []


def test_what_is_missing_is_said(lab: Lab, documented: Documented) -> None:
    lab.up(documented("two-namespaces"))
    node = lab.topology.hosts[0].name

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if command[0] == "nft":
            return subprocess.CompletedProcess(
                command, 1, "", "netlink: Error: cache initialization failed\n"
            )
        return lab.visit(node, lambda: collect.run_here(command))

    parts = collect.collect(run, name="x")
    assert "nft.json" not in parts.texts
    assert parts.missing["nft.json"] == "nft: netlink: Error: cache initialization failed"
