"""The plugin as its users meet it: each test runs a pytest of its own in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests import without_namespaces

PYTEST = (sys.executable, "-m", "pytest")
SANDBOXED = "[pytest]\nnetverify_sandbox = true\ntruncation_limit_lines = 0\ntruncation_limit_chars = 0\n"
TOPOLOGY = """
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import icmp, tcp
from netverify.topology.load import loads

TOPOLOGY = loads('''
name: two
hosts: {host: {role: host, forwarding: [ipv4]}}
networks: {a: {subnet: 10.0.0.0/24, device: br-a}, b: {subnet: 10.1.0.0/24, device: br-b}}
containers: {a1: {networks: a}, b1: {networks: b}}
''', "two.yaml")
"""
FAILING = (
    TOPOLOGY
    + """
def test_isolated(lab):
    lab.up(TOPOLOGY)
    lab.firewall("host").run("-A FORWARD -i br-a -o br-b -j DROP")
    with lab.capture("host", "br-a", "icmp"):
        assert lab.reachability(icmp(), ["a1", "b1"]) == matrix('''
                 a1  b1
            a1    .   .
            b1    X   .
        ''')
"""
)
PASSING = (
    TOPOLOGY
    + """
def test_open(lab):
    lab.up(TOPOLOGY)
    lab.firewall("host").run("-A FORWARD -i br-a -o br-b -j ACCEPT")
    assert lab.ask(tcp(80), "a1", "b1").replied
    assert lab.reachability(icmp(), ["a1", "b1"]).cell("a1", "b1").replied
"""
)


@dataclass(frozen=True)
class Project:
    """A folder with an ini file and one test module."""

    path: Path
    command: tuple[str, ...] = PYTEST

    def run(self, source: str, *arguments: str, ini: str = SANDBOXED, ci: bool = False) -> tuple[int, str]:
        (self.path / "pytest.ini").write_text(ini)
        (self.path / "test_it.py").write_text(source)
        # What this run says of itself, to programs and to workers of its own, is not said of that one.
        environment = {
            key: value
            for key, value in os.environ.items()
            if key != "CI" and not key.startswith("PYTEST_XDIST_")
        }
        if ci:
            environment["CI"] = "true"
        done = subprocess.run(
            [*self.command, "-p", "no:cacheprovider", *arguments],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


NAMESPACE = """
import os, pathlib
WHEN_COLLECTED = os.stat("/proc/self/ns/net").st_ino
def test_it(worker_id="alone"):
    name = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    pathlib.Path(f"seen-{name}").write_text(str(WHEN_COLLECTED))
def test_it_too():
    test_it()
"""


def test_the_sandbox_is_entered_before_collection(project: Project) -> None:
    code, said = project.run(NAMESPACE)
    assert code == 0, said
    assert "in namespaces of its own" in said
    seen = int((project.path / "seen-alone").read_text())
    assert seen != Path("/proc/self/ns/net").stat().st_ino


def test_without_the_option_nothing_moves(project: Project) -> None:
    code, said = project.run(NAMESPACE, ini="[pytest]\n")
    assert code == 0, said
    assert int((project.path / "seen-alone").read_text()) == Path("/proc/self/ns/net").stat().st_ino


def test_a_lab_outside_a_sandbox_is_refused_with_the_way_out(project: Project) -> None:
    code, said = project.run(PASSING, ini="[pytest]\n")
    assert code == 1
    assert "set `netverify_sandbox = true` in the ini file" in said


def test_each_worker_has_namespaces_of_its_own(project: Project) -> None:
    code, said = project.run(NAMESPACE, "-n", "2", "--dist", "each")
    assert code == 0, said
    seen = {(project.path / f"seen-gw{number}").read_text() for number in (0, 1)}
    assert len(seen) == 2
    assert str(Path("/proc/self/ns/net").stat().st_ino) not in seen


NEEDS = """
import pytest
@pytest.mark.needs("veth", "no such thing")
def test_it():
    pass
"""
LACKS = """
import pytest
from netverify.errors import MissingCapability
from netverify.kernel import capabilities
def lacking(name, program=None):
    raise MissingCapability(name, "it was left out for this test", "Nothing helps.")
capabilities.require = lacking
@pytest.mark.needs("veth")
def test_it():
    pass
"""


def test_what_is_missing_is_skipped_with_its_reason_at_home(project: Project) -> None:
    code, said = project.run(LACKS, "-rs")
    assert code == 0
    assert "this machine has no veth: it was left out for this test. Nothing helps." in said


@pytest.mark.parametrize(("arguments", "ci"), [(("--require-kernel",), False), ((), True)])
def test_what_is_missing_fails_where_it_was_promised(
    project: Project, arguments: tuple[str, ...], ci: bool
) -> None:
    code, said = project.run(LACKS, *arguments, ci=ci)
    assert code == 1
    assert "required here (CI=true or --require-kernel): this machine has no veth" in said


def test_a_capability_that_nobody_knows_is_an_error(project: Project) -> None:
    code, said = project.run(NEEDS)
    assert code == 1
    assert "no capability is called 'no such thing'" in said


def test_a_failure_explains_itself(project: Project) -> None:
    code, said = project.run(FAILING, "--junitxml=junit.xml")
    assert code == 1
    assert "reachability differs in 2 of 4 cells" in said
    assert "a1 -> b1: expected . (reached and answered), observed F" in said
    assert "dropped by host: filter FORWARD rule 1: -A FORWARD -i br-a -o br-b -j DROP" in said
    assert "counted by host: filter FORWARD rule 1: -A FORWARD -i br-a -o br-b -j DROP [2]" in said
    for section in ("topology", "matrix icmp", "rules and counters: host", "capture"):
        assert f"netverify: {section}" in said
    (pcap,) = (project.path / "reports").rglob("*.pcap")
    assert str(pcap) in said
    junit = ET.parse(project.path / "junit.xml")
    assert [one.get("value") for one in junit.iter("property")] == [str(pcap)]


def attachments(folder: Path) -> dict[str, bytes]:
    """What allure was given: the name of each attachment, and its content."""
    found = {}
    for result in folder.glob("*-container.json"):
        for fixture in json.loads(result.read_text()).get("befores", []) + json.loads(result.read_text()).get(
            "afters", []
        ):
            for one in fixture.get("attachments", []):
                found[one["name"]] = (folder / one["source"]).read_bytes()
    for result in folder.glob("*-result.json"):
        for one in json.loads(result.read_text()).get("attachments", []):
            found[one["name"]] = (folder / one["source"]).read_bytes()
    return found


def test_allure_gets_the_story_of_a_test_that_passed(project: Project) -> None:
    code, said = project.run(PASSING, "--alluredir=allure")
    assert code == 0, said
    found = attachments(project.path / "allure")
    assert b"br-a  10.0.0.1/24" in found["topology"]
    rules = next(text for name, text in found.items() if name.startswith("rules and counters: host"))
    assert b"-A FORWARD -i br-a -o br-b -j ACCEPT" in rules
    assert b"[0:0] -A FORWARD" not in rules, "its counters moved"
    assert b"a1" in found["matrix icmp"]
    assert not [name for name in found if name.endswith(".pcap")]


def test_allure_gets_matrices_and_captures_of_a_test_that_failed(project: Project) -> None:
    code, _said = project.run(FAILING, "--alluredir=allure")
    assert code == 1
    found = attachments(project.path / "allure")
    assert b"a1" in found["matrix icmp"]
    (pcap,) = (content for name, content in found.items() if name.endswith(".pcap"))
    assert pcap[:4] in (b"\x4d\x3c\xb2\xa1", b"\xd4\xc3\xb2\xa1")  # nanoseconds or microseconds


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_the_backend_is_chosen(project: Project, backend: str) -> None:
    source = PASSING + f"    assert lab.backend.value == {backend!r}\n"
    code, said = project.run(source, f"--backend={backend}")
    assert code == 0, said
    assert f"iptables-{backend}" in said


# --- where there is no sandbox to be had -------------------------------------------------------------------

REASON = f"{without_namespaces.LIMIT} is 0. Run as root, or let root run"
ONE_OF_EACH = (
    PASSING
    + """
import pytest
@pytest.mark.needs("veth")
def test_that_needs_something():
    raise AssertionError
def test_that_needs_nothing():
    pass
"""
)


@pytest.fixture
def forbidden(project: Project) -> Project:
    """A project of somebody who may not make namespaces."""
    return replace(project, command=tuple(without_namespaces.command(*PYTEST)))


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["alone", "with a worker"])
def test_at_home_what_needs_a_sandbox_is_skipped(forbidden: Project, arguments: tuple[str, ...]) -> None:
    code, said = forbidden.run(ONE_OF_EACH, "-rs", *arguments)
    assert code == 0, said
    assert "1 passed, 2 skipped" in said
    assert f"no sandbox: cannot make network namespaces here (No space left on device): {REASON}" in said
    assert said.count(REASON) >= 2, "each skip gives its reason"


@pytest.mark.parametrize(("arguments", "ci"), [(("--require-kernel",), False), ((), True)])
def test_where_it_was_promised_nothing_runs(forbidden: Project, arguments: tuple[str, ...], ci: bool) -> None:
    code, said = forbidden.run(ONE_OF_EACH, *arguments, ci=ci)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: netverify: cannot make network namespaces here" in said
    assert REASON in said
    assert "passed" not in said


# --- workers and their controller --------------------------------------------------------------------------

DEATH_SIGNAL = """
import ctypes
def test_it():
    number = ctypes.c_int(-1)
    assert ctypes.CDLL(None).prctl(2, ctypes.byref(number)) == 0  # PR_GET_PDEATHSIG, prctl(2)
    assert number.value == {expected}
"""


@pytest.mark.parametrize(("ini", "expected"), [(SANDBOXED, 9), ("[pytest]\n", 0)], ids=["with", "without"])
def test_a_worker_in_a_sandbox_dies_with_its_controller(project: Project, ini: str, expected: int) -> None:
    """tests/outside kills one; who merely has netverify installed is left alone."""
    code, said = project.run(DEATH_SIGNAL.format(expected=expected), "-n", "1", ini=ini)
    assert code == 0, said


def test_a_process_without_workers_is_bound_to_nobody(project: Project) -> None:
    code, said = project.run(DEATH_SIGNAL.format(expected=0))
    assert code == 0, said
