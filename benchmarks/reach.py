"""How long it takes to say for all packets who reaches whom through a Docker host, and how that grows.

4 to 512 networks with published ports and cross-bridge exceptions. "all pairs": every ordered pair of
devices, and the exact set of new packets that FORWARD lets pass between them, as they arrive, before
destination translation. "examples": the same with a packet and the deciding rule for each pair that is not
empty. "request": what every packet that enters by any device comes to, through routing, translation and all
tables; "answer": what comes of its answer; "CPU" is both together in processor time. Each size runs in a
process of its own, whose peak of resident memory is the one printed.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

import _measure
import _rulesets
from netverify.dataplane import Program, compile_rules
from netverify.dataplane.passing import Passing
from netverify.dataplane.reach import arriving, passages
from netverify.dataplane.readout import by_devices
from netverify.dataplane.sets import PacketSets

SIZES = (4, 32, 128, 512)
HEADINGS = ("networks", "rules", "pairs", "not empty", "all pairs", "examples",
            "request", "answer", "both", "CPU", "peak")  # fmt: skip
PAIRS_FLOOR, WHOLE_FLOOR, MEMORY_FLOOR = 1.0, 3.0, 500.0  # seconds, seconds, MiB; for the largest size
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What some work gives, and its seconds of wall time."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def measure(networks: int) -> None:
    """Ask everything about one host, and print JSON."""
    view = _rulesets.docker_host(networks)
    program = compile_rules(view.ipv4, view)
    found, pairs = timed(lambda: all_pairs(program, [link.name for link in view.links if link.name != "lo"]))
    _passages, examples = timed(lambda: passages(program))
    passing = Passing(view)
    began = time.process_time()
    ends, request = timed(passing.entering)
    _answers, answer = timed(lambda: passing.answering(ends))
    figures = {
        "rules": sum(1 for _ in view.ipv4.rules()),
        "devices": networks + 1,
        "found": found,
        "pairs": pairs,
        "examples": examples,
        "request": request,
        "answer": answer,
        "cpu": time.process_time() - began,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # KiB (getrusage(2))
    }
    print(json.dumps(figures))


def all_pairs(program: Program, devices: list[str]) -> int:
    """Make the set of every pair; how many are not empty."""
    sets = PacketSets.of(program)
    new = arriving(program, sets).exists(sets.cube("state"))  # of one state: nothing is lost
    named = set(devices)
    return sum(1 for source, target, _left in by_devices(sets, new) if {source, target} <= named)


def main() -> None:
    """Measure each size `rounds` times and print."""
    if len(sys.argv) == 3 and sys.argv[1] == "measure":
        measure(int(sys.argv[2]))
        return
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=3)
    report = _measure.Report("reach").say(f"medians of wall time; rounds: {chosen.rounds}", "")
    rows, totals = [], {}
    for size in SIZES:
        runs = [_measure.in_child(__file__, size) for _ in range(chosen.rounds)]
        middle = {key: median(run[key] for run in runs) for key in runs[0]}
        both = totals[size] = middle["request"] + middle["answer"]
        rows.append(
            [
                str(size),
                f"{middle['rules']:,.0f}",
                f"{middle['devices'] ** 2:,.0f}",
                f"{middle['found']:,.0f}",
                *(_measure.seconds(middle[key]) for key in ("pairs", "examples", "request", "answer")),
                _measure.seconds(both),
                _measure.seconds(middle["cpu"]),
                f"{middle['peak']:.0f} MiB",
            ]
        )
    report.table(HEADINGS, rows)
    first, last = SIZES[-2], SIZES[-1]
    report.say(
        "",
        f"request and answer grow x{totals[last] / totals[first]:.1f} from {first} to {last} networks",
        "",
        _measure.floor("all pairs:", middle["pairs"], PAIRS_FLOOR, "s"),
        _measure.floor("request and answer:", totals[last], WHOLE_FLOOR, "s"),
        _measure.floor("memory:", middle["peak"], MEMORY_FLOOR, "MiB"),
    )
    report.publish(record=chosen.record)


if __name__ == "__main__":
    main()
