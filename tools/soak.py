#!/usr/bin/env python3
"""Run the suites many times over and show that every run came out the same.

A test that passes 49 times in 50 is a wrong test or a wrong netverify, and one run cannot tell. Each run's
outcomes are read from its JUnit report as sorted `name outcome` lines and compared with those of the first.

Exits with 0 if all runs are identical and passed, with 1 otherwise.
"""

from __future__ import annotations

import argparse
import difflib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path


def main() -> int:
    """Parse the command line, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50, help="how often to run (default: %(default)s)")
    parser.add_argument("--suites", default="suites/", help="what pytest runs (default: %(default)s)")
    parser.add_argument("pytest_args", nargs="*", metavar="-- PYTEST_ARG", help="passed on to pytest")
    options = parser.parse_args()
    if options.runs < 2:
        parser.error("--runs: one run has nothing to be compared with; give 2 or more")

    first: list[str] = []
    differing = failed = 0
    with tempfile.TemporaryDirectory(prefix="netverify-soak-") as directory:
        for number in range(1, options.runs + 1):
            report = Path(directory, f"run-{number}.xml")
            began = time.monotonic()
            status = run_once(report, [options.suites, *options.pytest_args])
            took = time.monotonic() - began

            outcomes = read_outcomes(report)
            if not outcomes:
                print(f"run {number}: pytest ended with status {status} and reported no test at all")
                return 1
            first = first or outcomes
            differences = list(difflib.unified_diff(first, outcomes, "run 1", f"run {number}", "", "", 0, ""))
            differing += bool(differences)
            failed += status != 0
            verdict = "DIFFERENT" if differences else "same" if number > 1 else "first"
            if status != 0:
                verdict += f", pytest ended with status {status}"
            print(f"run {number:>3}/{options.runs}: {len(outcomes)} tests, {took:.1f} s, {verdict}")
            print(*differences, sep="\n", end="\n" if differences else "", flush=True)

    print(f"{options.runs} runs: {differing} differ from the first, {failed} did not pass")
    return 1 if differing or failed else 0


def run_once(report: Path, arguments: list[str]) -> int:
    """Run pytest once, reporting to `report`; show its output if it did not pass; return its status."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--junitxml={report}", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout)
    return done.returncode


def read_outcomes(report: Path) -> list[str]:
    """One `name outcome` line for each test of a JUnit report, sorted; none if there is no report."""
    if not report.exists():
        return []
    return sorted(
        f"{case.get('classname')}::{case.get('name')} {outcome(case)}"
        for case in ET.parse(report).getroot().iter("testcase")
    )


def outcome(case: ET.Element) -> str:
    """How a test case ended: `passed`, or what JUnit says: `failure`, `skipped pytest.xfail`, ..."""
    ends = [
        " ".join(filter(None, (child.tag, child.get("type"))))
        for child in case
        if child.tag in ("failure", "error", "skipped")
    ]
    return " + ".join(ends) or "passed"


if __name__ == "__main__":
    sys.exit(main())
