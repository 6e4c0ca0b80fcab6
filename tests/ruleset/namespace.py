"""Commands in a network namespace of their own, which ends with the shell that runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def run(script: str, text: str, lock: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a new network namespace, as its root, with `text` on its standard input.

    `lock` takes the place of /run/xtables.lock, which an ordinary user may not open.
    """
    return subprocess.run(
        # The user namespace must have its users when the network namespace begins: otherwise an ordinary user
        # cannot read /proc/net/ip_tables_names there, and iptables-legacy-save finds no tables.
        ["unshare", "-r", "unshare", "-n", "sh", "-ec", script],
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        env={**os.environ, "XTABLES_LOCKFILE": str(lock), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        check=False,
        timeout=60,
    )


def need(script: str, text: str, lock: Path) -> None:
    """Skip the test, or fail it where CI is set, if the script does not work in a namespace here."""
    missing = "unshare is not installed"
    if shutil.which("unshare") is not None:
        done = run(script, text, lock)
        if done.returncode == 0:
            return
        missing = f"`{script}` fails in a namespace: {done.stderr.strip()}"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
