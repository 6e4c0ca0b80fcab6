"""The command line: exit codes, where errors go, and what is not imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
POD = ROOT / "fixtures" / "topologies" / "pod.yaml"


def netverify(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netverify", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


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
    assert done.returncode == 0, done.stderr
    names = {one["name"] for one in json.loads(done.stdout)["capabilities"]}
    assert {"veth", "bridge", "macvlan", "ipvlan", "iptables-legacy", "iptables-nft"} <= names


def test_an_unknown_command_is_a_usage_error() -> None:
    assert netverify("frobnicate").returncode == 2
