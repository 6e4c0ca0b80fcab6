"""Every command's help: quick, with examples, and true."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.commands.asking import netverify

ASKING = ["trace", "reach", "diff", "lint"]


@pytest.mark.parametrize("command", ASKING)
def test_help_has_examples_and_exit_codes(command: str) -> None:
    done = netverify(command, "--help")
    assert done.returncode == 0
    for word in ("examples", f"netverify {command} ", "exit codes", "bad input or usage", "--live"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_help_loads_nothing_of_the_model() -> None:
    script = """
import sys
from netverify.cli import main
for command in ("trace", "reach", "diff", "lint"):
    try:
        main([command, "--help"])
    except SystemExit as end:
        assert end.code == 0
heavy = {"scapy", "pytest", "pyroute2", "iptc", "yaml", "oxidd", "netverify.dataplane"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_who_has_seen_enough() -> None:
    command = [sys.executable, "-m", "netverify", "trace", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
