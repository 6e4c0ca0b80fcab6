"""Snapshots of labs: what is collected says of every pair what the lab's topology says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence

import pytest

from netverify.host import read_json, read_snapshot
from netverify.kernel import collect
from netverify.kernel.firewall import Backend
from netverify.kernel.lab import Lab
from netverify.model import sources
from netverify.model.matrix import reach
from netverify.model.topologies import subject_of
from netverify.reachability.comparison import compare, explain
from netverify.reachability.probe import Probe, icmp, tcp, udp
from netverify.topology.model import Topology
from tests.host.samples import CONTAINERS, NETWORKS
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


def fake(**answers: str) -> collect.Run:
    """A host whose tools print what is given, by their names; those that are not named fail."""

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        words = " ".join(command)
        found = next(
            (text for name, text in answers.items() if words.startswith(name.replace("_", " "))), None
        )
        code = 0 if found is not None else 1
        return subprocess.CompletedProcess(list(command), code, found or "", f"{command[0]}: no answer\n")

    return run


def test_no_secret_of_a_container_gets_into_a_snapshot() -> None:
    inspected = json.loads(json.dumps(CONTAINERS[:1]))
    inspected[0]["Config"] = {"Env": ["TOKEN=hunter2"], "Labels": {"password": "hunter2"}}
    inspected[0]["State"]["Pid"] = 4711
    run = fake(
        docker_ps="f\n",
        docker_container_inspect=json.dumps(inspected),
        docker_network_ls="a\n",
        docker_network_inspect=json.dumps([{**NETWORKS[0], "Labels": {"secret": "hunter2"}}]),
        docker_info=json.dumps({"ServerVersion": "28.5.1", "Labels": ["hunter2"]}),
        nsenter="[]",
    )
    parts = collect.Collector(run, is_installed=bool, engine="docker")
    parts.everything()
    assert "hunter2" not in "".join(parts.texts.values())
    assert json.loads(parts.texts["docker-info.json"]) == {"ServerVersion": "28.5.1"}
    assert {name for name in parts.texts if "/" in name} == {
        "containers/web/addr.json",
        "containers/web/route.json",
    }
    assert parts.missing["addr.json"] == "ip: ip: no answer"


def test_tools_that_hang_or_are_not_there() -> None:
    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(list(command), 60)

    parts = collect.Collector(run, is_installed=lambda name: name != "nft", engine="docker")
    parts.everything()
    assert parts.texts == {}
    assert parts.missing["nft.json"] == "nft is not installed"
    assert parts.missing["addr.json"] == "ip: took longer than 60 s"


def test_words_that_are_no_json() -> None:
    parts = collect.Collector(fake(docker="x\n", ip="x"), is_installed=bool, engine="docker")
    parts.everything()
    assert "printed no JSON" in parts.missing["docker-containers.json"]
    assert parts.missing["rule.json"].startswith("what was printed is no JSON")


def test_a_dry_run_names_every_program_that_a_real_one_starts(lab: Lab, documented: Documented) -> None:
    lab.up(documented("two-namespaces"))
    node, ran = lab.topology.hosts[0].name, []

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        ran.append(" ".join(command))
        return lab.visit(node, lambda: collect.run_here(command))

    collect.collect(run)
    assert set(ran) <= set(collect.commands())
    assert not any(
        word in " ".join(collect.commands()).split() for word in ("add", "del", "set", "-A", "-w", "restore")
    )


@pytest.mark.parametrize("backend", list(Backend))
def test_rules_of_either_backend_are_found(documented: Documented, backend: Backend) -> None:
    topology = documented("docker-two-networks")
    with Lab(backend) as lab:
        lab.up(topology)
        found = read_snapshot(collected(lab))
        assert {key for key, rules in found.rules.items() if any(table.chains for table in rules.tables)} == {
            (4, backend.value)
        }
        subject = sources.snapshot(collected(lab))
    among = names(topology.resolved())
    theirs, ours = (reach(each, tcp(80), among, among).matrix for each in (subject_of(topology), subject))
    assert compare(theirs, ours).agree, "\n".join(explain(theirs, ours))


def test_rules_in_both_backends_are_both_followed(lab: Lab, documented: Documented) -> None:
    """What one backend lets pass the other still drops, as in the kernel."""
    lab.up(documented("docker-two-networks"))
    for backend, port in ((Backend.LEGACY, 81), (Backend.NFT, 82)):
        lab.firewall("host", backend).run(f"-I FORWARD -p tcp --dport {port} -j DROP")
    subject = sources.snapshot(collected(lab))
    first, second = [container.name for container in lab.topology.containers][:2]
    for port in (80, 81, 82):
        asked = lab.ask(tcp(port), first, second)
        assert (
            reach(subject, tcp(port), [first], [second]).matrix.cell(first, second).outcome is asked.outcome
        )
