"""`--live`: the commands, run inside a lab's host, about that host as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from netverify.kernel.lab import Lab
from netverify.topology.model import Topology
from tests import ordinary_user
from tests.commands.asking import ROOT, RULES


@pytest.fixture
def host(lab: Lab, documented: Callable[[str], Topology]) -> Callable[..., str]:
    """`host("trace", "--live", ...)`: what the command prints there."""
    lab.up(documented("docker-published"))

    def run(*arguments: str) -> str:
        return lab.run("host", [sys.executable, "-m", "netverify", *arguments], check=False)

    return run


@pytest.mark.needs("iptables-nft")
def test_a_trace_through_the_rules_as_they_are(host: Callable[..., str]) -> None:
    said = json.loads(host("trace", "--live", "lan", "host", "--tcp", "8080", "--json"))
    assert said["verdict"] == "arrives", said["says"]
    assert said["rule"].startswith("host: filter DOCKER rule 3: ")
    assert said["address"] == "198.51.100.10"


@pytest.mark.needs("iptables-nft")
def test_what_has_changed_since_a_file_was_written(lab: Lab, host: Callable[..., str]) -> None:
    assert "no packet notices the change" in host("diff", str(ROOT / RULES), "--live")
    lab.firewall("host").run("-P FORWARD ACCEPT")
    assert "OPENED  filter FORWARD: DROP -> ACCEPT" in host("diff", str(ROOT / RULES), "--live")


@pytest.mark.needs("iptables-nft")
def test_who_reaches_whom_now(host: Callable[..., str]) -> None:
    cells = json.loads(
        host("reach", "--live", "--tcp", "80", "--from", "br-web", "--to", "br-apart", "--json")
    )
    (cell,) = cells["cells"]
    assert cell["model"] == "filtered"
    assert "nothing found" in host("lint", "--live")


def test_an_ordinary_user_may_not_look_and_is_told_so() -> None:
    """Who may not read the rules gets no answer that rests on there being none."""
    command = [sys.executable, "-m", "netverify", "trace", "--live", "host", "127.0.0.1"]
    done = subprocess.run(
        ordinary_user.command(*command), capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Result: UNKNOWN. " in done.stdout
    assert "unknown     iptables-save.txt: " in done.stdout
