"""How long the whole of `pytest suites/` takes, one process and two (pytest-xdist)."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

import _measure

FLOOR = 60.0  # seconds on 2 cores
ROOT = Path(__file__).parent.parent
RUNS = {"pytest suites/": [], "pytest suites/ -n 2": ["-n", "2"]}


class Suites:
    """Runs of the suites; remembers what pytest said at the end of each."""

    def __init__(self) -> None:
        self.said: dict[str, set[str]] = {name: set() for name in RUNS}

    def run(self, name: str) -> float:
        """One run, from start to end of the process."""
        command = [sys.executable, "-m", "pytest", "suites/", "-q", "-p", "no:cacheprovider", *RUNS[name]]
        done: list[subprocess.CompletedProcess[str]] = []
        took = _measure.timed(
            lambda: done.append(
                subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            )
        )
        last = done[0].stdout.rstrip().rpartition("\n")[2].strip("= ")
        self.said[name].add(re.sub(r" in [0-9.]+s.*", "", last))
        return took


def main() -> None:
    """Measure and print."""
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=3)
    suites = Suites()
    found = _measure.interleave({name: partial(suites.run, name) for name in RUNS}, chosen.rounds)
    report = _measure.Report("whole").say(f"all of the suites; rounds: {chosen.rounds}", "")
    report.ratios(found, "pytest suites/")
    report.say("", *(f"{name}: {'; '.join(sorted(said))}" for name, said in suites.said.items()))
    report.say(
        "", *(_measure.floor(f"{name}:", median(values), FLOOR, "s") for name, values in found.items())
    )
    report.publish(record=chosen.record)


if __name__ == "__main__":
    main()
