#!/usr/bin/env python3
"""Judge the model by the kernel: random rulesets and packets, on both backends and for both families.

Prints a table of what was compared. Where kernel and model disagree, the case is shrunk, printed and kept as
a file that tests/kernel/test_fidelity.py runs from then on. docs/fidelity.md tells how to read all of it.

Exits with 0 if they agree on everything, with 1 otherwise.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from netverify.kernel import sandbox  # noqa: E402 - the repository's root must be importable first
from netverify.kernel.judge.stand import Stand  # noqa: E402
from netverify.kernel.judge.verdict import Disagreement, shrink  # noqa: E402
from tests.strategies.judged_runs import Tally, campaign  # noqa: E402

CASES = ROOT / "tests" / "kernel" / "fidelity_cases"


def main() -> int:
    """Parse the command line, judge, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="judge the same rulesets and packets again")
    parser.add_argument("--keep", type=Path, default=CASES, help="where cases go (default: %(default)s)")
    options = parser.parse_args()
    if options.packets < 1:
        parser.error("--packets: expected at least one")
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    sandbox.enter()

    print(f"seed {seed}: judge the same again with SEED={seed} PACKETS={options.packets}")
    print(_HEAD, flush=True)
    tallies: list[Tally] = []
    began = time.monotonic()
    with Stand() as stand:
        for tally in campaign(stand, seed, options.packets):
            tallies.append(tally)
            print(_row(tally), flush=True)
    took = time.monotonic() - began
    print(_sum(tallies, took), flush=True)
    for refused in {text for tally in tallies for text in tally.refused[:3]}:
        print(f"the kernel did not take a ruleset: {refused}")
    kept = [disagreement for tally in tallies for disagreement in tally.kept]
    _report(kept, seed, options.keep)
    return 1 if kept or any(tally.refused for tally in tallies) else 0


_COLUMNS = (
    "backend",
    "family",
    "rulesets",
    "rules",
    "packets",
    "came out",
    "counters",
    "moved",
    "left out",
    "disagree",
    "packets/s",
)
_HEAD = "".join(f"{name:>10}" for name in _COLUMNS)


def _row(tally: Tally) -> str:
    return _line(tally.backend.value, f"IPv{tally.version}", [tally], tally.seconds)


def _sum(tallies: list[Tally], seconds: float) -> str:
    return _line("all", "", tallies, seconds) + f"   in {seconds:.0f} s"


def _line(backend: str, family: str, tallies: list[Tally], seconds: float) -> str:
    names = ("rulesets", "rules", "packets", "sightings", "counters", "moved", "by_chance", "wrong")
    sums = [sum(getattr(tally, name) for tally in tallies) for name in names]
    rate = round(sums[2] / seconds) if seconds else 0
    return "".join(f"{value:>10}" for value in (backend, family, *sums, rate))


def _report(kept: list[Disagreement], seed: int, folder: Path) -> None:
    for number, disagreement in enumerate(kept):
        smallest = shrink(disagreement, Stand)
        why = f"found with seed {seed}; " + "; ".join(smallest.differences[:3])
        path = folder / f"seed-{seed}-{number}.json"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(replace(smallest.case, why=why).as_json())
        print(f"\n--- kernel and model disagree; kept in {path}\n{smallest}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
