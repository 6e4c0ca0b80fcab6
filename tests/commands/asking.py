"""Running the real command, and the files that it is asked about."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.host.samples import TEXTS

ROOT = Path(__file__).parents[2]
TOPOLOGIES = "fixtures/topologies"
RULES = "fixtures/rulesets/docker-published.rules"
EDITED = "fixtures/rulesets/docker-published-edited.rules"


def netverify(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in the project's folder, where titles have short names."""
    command = [sys.executable, "-m", "netverify", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def snapshot_in(folder: Path, texts: Mapping[str, str] = TEXTS) -> str:
    """A folder with a snapshot."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def refused(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """What the command says when it refuses: on stderr alone, nothing that a terminal would obey."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert all(line.isprintable() for line in done.stderr.split("\n"))
    return done.stderr
