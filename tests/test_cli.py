"""The command line: exit codes, where errors go, and what is not imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import without_namespaces

ROOT = Path(__file__).parents[1]
POD = ROOT / "fixtures" / "topologies" / "pod.yaml"


NETVERIFY = (sys.executable, "-m", "netverify")


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def netverify(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run([*NETVERIFY, *arguments])


def test_help_loads_nothing_heavy() -> None:
    """`netverify --help` answers at once: scapy, pytest and pyroute2 are for those who need them."""
    script = """
import sys
from netverify.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
heavy = {"scapy", "pytest", "pyroute2", "iptc", "yaml"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout


def test_version() -> None:
    done = netverify("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "netverify")


def test_a_lab_is_drawn_and_taken_down() -> None:
    done = netverify("lab", str(POD), "--no-hold")
    assert done.returncode == 0, done.stderr
    assert "docker0  172.17.0.1/16" in done.stdout
    assert "nsenter" in done.stdout


def test_a_bad_file_is_answered_with_its_place(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\nhosts:\n  host:\n    forwarding: [ipv5]\n")
    done = netverify("lab", str(bad))
    assert done.returncode == 2
    assert done.stderr.startswith(f"netverify: {bad}:4:")
    assert "hosts.host.forwarding" in done.stderr


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    done = netverify("lab", str(tmp_path / "nowhere.yaml"))
    assert done.returncode == 2
    assert "nowhere.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_in_json() -> None:
    done = netverify("doctor", "--json")
    capabilities = json.loads(done.stdout)["capabilities"]
    assert done.stderr == ""
    assert done.returncode == any(one["needed"] and not one["available"] for one in capabilities)
    names = {one["name"] for one in capabilities}
    assert {"veth", "bridge", "macvlan", "ipvlan", "iptables-legacy", "iptables-nft"} <= names


def test_doctor_in_words_for_a_reader_who_has_seen_enough() -> None:
    """`netverify doctor | head -1`"""
    with subprocess.Popen([*NETVERIFY, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_doctor_of_a_machine_that_can_do_little() -> None:
    done = run(without_namespaces.command(*NETVERIFY, "doctor"))
    assert done.returncode == 1
    assert "user namespaces" in done.stdout
    assert "Traceback" not in done.stderr


def test_what_the_kernel_refuses() -> None:
    done = run(without_namespaces.command(*NETVERIFY, "lab", str(POD), "--no-hold"))
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("netverify: cannot make network namespaces here")
    assert "Run as root" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_the_backend_of_a_lab(backend: str) -> None:
    done = netverify("lab", str(POD), "--no-hold", f"--backend={backend}")
    assert done.returncode == 0, done.stderr


def test_a_backend_that_does_not_exist() -> None:
    done = netverify("lab", str(POD), "--no-hold", "--backend=ebtables")
    assert done.returncode == 2
    assert "invalid choice: 'ebtables'" in done.stderr


def test_an_unknown_command_is_a_usage_error() -> None:
    assert netverify("frobnicate").returncode == 2
