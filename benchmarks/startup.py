"""How long the command takes: `netverify --help`, and `netverify doctor`, which tries everything out."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

import _measure

FLOOR = 0.3  # seconds for --help
OWN = "netverify --help"
BIN = Path(sys.executable).parent
COMMANDS = {
    OWN: [str(BIN / "netverify"), "--help"],
    "netverify doctor": [str(BIN / "netverify"), "doctor"],
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import pyroute2'": [sys.executable, "-c", "import pyroute2"],
    "python -c 'import scapy.all'": [sys.executable, "-c", "import scapy.all"],
    "pytest --version": [str(BIN / "pytest"), "--version"],
    "ip -V": ["ip", "-V"],
}


def run(command: list[str]) -> float:
    """One start, its output thrown away. `doctor` says by its exit code 1 that something is missing here."""
    return _measure.timed(lambda: _must(subprocess.run(command, capture_output=True, text=True, check=False)))


def _must(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise SystemExit(f"{' '.join(done.args)}: exit code {done.returncode}: {done.stderr}")


def main() -> None:
    """Measure and print."""
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=11)
    found = _measure.interleave(
        {name: partial(run, command) for name, command in COMMANDS.items()}, chosen.rounds
    )
    report = _measure.Report("startup").say(f"from start to end of the process; rounds: {chosen.rounds}", "")
    report.ratios(found, OWN)
    report.say("", _measure.floor(f"{OWN}:", median(found[OWN]), FLOOR, "s"))
    report.publish(record=chosen.record)


if __name__ == "__main__":
    main()
