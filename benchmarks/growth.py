"""How time and memory grow with the lab: 25 to 400 endpoints, every ordered pair asked over UDP.

Once over 4 bridges that Docker's rules keep apart (three quarters of the pairs are blocked and proven), once
on a single bridge (all are delivered, and everybody has everybody else as a neighbour). Each size runs in a
process of its own, whose peak of resident memory is the one printed.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from statistics import median

import _measure
import _nets
from netverify.kernel import sandbox
from netverify.kernel.lab import Lab
from netverify.reachability.probe import Outcome, udp
from netverify.topology.model import Topology

SIZES = (25, 50, 100, 200, 400)
HEADINGS = ("endpoints", "build", "pairs", "delivered", "filtered", "errors", "matrix", "a pair", "peak")
SHAPES: dict[str, tuple[str, Callable[[int], Topology]]] = {
    "isolated": ("4 bridges, isolated by Docker's rules", _nets.isolated_bridges),
    "one": ("one bridge", _nets.one_bridge),
}


def measure(shape: str, endpoints: int) -> None:
    """Build one lab, ask all of its pairs, and print JSON."""
    sandbox.enter()
    topology = SHAPES[shape][1](endpoints)
    names = [container.name for container in topology.containers]
    with Lab() as lab:
        build = _measure.timed(lambda: lab.up(topology))
        found = []
        matrix = _measure.timed(lambda: found.append(lab.reachability(udp(5000), names)))
        outcomes = Counter(cell.outcome for cell in found[0].cells() if cell.source != cell.target)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB (getrusage(2))
    counts = {outcome.value: count for outcome, count in outcomes.items()}
    print(json.dumps({"build": build, "matrix": matrix, "peak": peak, "outcomes": counts}))


def main() -> None:
    """Measure each size `rounds` times and print."""
    if len(sys.argv) == 4 and sys.argv[1] == "measure":
        measure(sys.argv[2], int(sys.argv[3]))
        return
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=3)
    report = _measure.Report("growth").say(
        f"every ordered pair over UDP; medians and sums of errors; rounds: {chosen.rounds}"
    )
    errors = 0
    for shape, (title, _make) in SHAPES.items():
        rows = []
        for endpoints in SIZES:
            runs = [_run(shape, endpoints) for _ in range(chosen.rounds)]
            pairs = endpoints * (endpoints - 1)
            outcomes = sum((Counter(run["outcomes"]) for run in runs), Counter())
            errors += outcomes[Outcome.ERROR.value]
            matrix = median(run["matrix"] for run in runs)
            rows.append(
                [
                    str(endpoints),
                    _measure.seconds(median(run["build"] for run in runs)),
                    f"{pairs:,}",
                    f"{outcomes[Outcome.DELIVERED.value] // chosen.rounds:,}",
                    f"{outcomes[Outcome.FILTERED.value] // chosen.rounds:,}",
                    str(outcomes[Outcome.ERROR.value]),
                    _measure.seconds(matrix),
                    f"{matrix / pairs * 1e6:.0f} us",
                    f"{median(run['peak'] for run in runs) / 1024:.0f} MiB",
                ]
            )
        report.say("", f"{title}:").table(HEADINGS, rows)
    report.say("", _measure.floor("errors:", errors, 0, "cells"))
    report.publish(record=chosen.record)


def _run(shape: str, endpoints: int) -> dict[str, object]:
    command = [sys.executable, __file__, "measure", shape, str(endpoints)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures: dict[str, object] = json.loads(said)
    return figures


if __name__ == "__main__":
    main()
