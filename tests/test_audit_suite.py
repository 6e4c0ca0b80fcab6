"""`pytest suites/audit`: an audit as tests, for a snapshot and for the host that it runs on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.commands.asking import ROOT, snapshot_in
from tests.host.samples import INFO, TEXTS, without


def suite(*arguments: str) -> tuple[int, str]:
    """Exit code and output of the suite, told nothing of who asks."""
    inherited = ("PYTEST_", "CI")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(inherited)}
    command = [sys.executable, "-m", "pytest", "suites/audit", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    return done.returncode, done.stdout + done.stderr


def failed(said: str) -> set[str]:
    return set(re.findall(r"^FAILED .*\[([a-z0-9-]+)\]", said, re.MULTILINE))


def test_a_host_with_a_hole(tmp_path: Path) -> None:
    info = json.dumps(INFO | {"ServerVersion": "19.03.5"})
    where = snapshot_in(tmp_path / "host", TEXTS | {"docker-info.json": info})
    code, said = suite("--snapshot", where)
    assert code == 1, said
    assert "engine-with-known-hole" in failed(said)
    assert "CVE-2020-13401" in said
    accepted = tmp_path / "accepted.yaml"
    entry = "  - {id: engine-with-known-hole, reason: known, expires: 2999-01-01}"
    accepted.write_text(f"accepted:\n{entry}\n")
    code, said = suite("--snapshot", where, "--accept", str(accepted), "--fail-on", "medium")
    assert "engine-with-known-hole" not in failed(said), said


def test_what_was_not_collected_fails(tmp_path: Path) -> None:
    where = snapshot_in(tmp_path, without("docker-info.json"))
    code, said = suite("--snapshot", where, "--fail-on", "critical")
    assert code == 1
    assert "engine-with-known-hole" in failed(said)


def test_this_host_as_it_is_and_with_workers() -> None:
    """Here, inside of the tests' own sandbox, no engine is: every question about it is unknown."""
    code, said = suite("--live", "-n", "2")
    assert code == 1, said
    assert "is not in the snapshot" in said or "not collected" in said


def test_without_a_host_there_is_nothing_to_do() -> None:
    code, said = suite()
    assert code == 2, said
    assert "--snapshot host.json, or --live" in said
