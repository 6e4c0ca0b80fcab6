"""How long it takes to rebuild a host from its snapshot, and to ask all its cells for one service.

The host is `fixtures/large_host.py`'s: Docker 27 networks with published ports and userland proxies, filled
up with an administrator's rules. "read" makes the model of the snapshot, "model" asks it about all cells of
tcp/80, "built" is the twin, "udp" and "tcp" are the same cells asked there with packets; each cell's answer
is compared with the model's. Each size runs in a process of its own, whose peak of resident memory is the one
printed.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import _measure

sys.path.insert(0, str(Path(__file__).parents[1]))  # where fixtures/ is

from fixtures import large_host
from netverify.kernel import sandbox
from netverify.kernel.twin_host import Twin, twin_of
from netverify.model import sources
from netverify.model.matrix import reach
from netverify.reachability.probe import Probe, tcp, udp

SIZES = {50: (5, 500), 150: (15, 1_500), 500: (50, 5_000)}  # containers: networks, rules
HEADINGS = ("containers", "networks", "rules", "cells", "read", "model", "built", "udp", "tcp",
            "CPU of udp", "CPU of tcp", "peak")  # fmt: skip
BUILT_FLOOR, ASKED_FLOOR = 10.0, 30.0  # seconds; for the largest size
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float, float]:
    """What some work gives, its seconds of wall time, and of processor time."""
    began, busy = time.perf_counter(), time.process_time()
    return work(), time.perf_counter() - began, time.process_time() - busy


def measure(containers: int) -> None:
    """Ask everything about one host, and print JSON."""
    networks, rules = SIZES[containers]
    sandbox.enter()
    parts = large_host.parts(networks, containers, filled_to=rules)
    subject, read, _cpu = timed(lambda: sources.snapshot(parts))
    figures: dict[str, float] = {"networks": networks, "read": read}
    figures["rules"] = large_host.count(subject.views[0].ipv4)
    with twin_of(subject) as twin:
        if twin.not_twinned:
            raise SystemExit(f"not twinned: {', '.join(map(str, twin.not_twinned))}")
        figures["built"] = twin.seconds
        for probe in (udp(80), tcp(80)):
            figures |= compared(twin, probe)
    figures["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB (getrusage(2))
    print(json.dumps(figures))


def compared(twin: Twin, probe: Probe) -> dict[str, float]:
    """Ask the model, then the twin, and hold one against the other, outside the measured time."""
    foretold, model, _cpu = timed(lambda: reach(twin.subject, probe))
    found, asked, busy = timed(lambda: twin.confirm(foretold))
    if found.differences or not found.is_complete:
        raise SystemExit(f"{probe}: {len(found.differences)} differ, {len(found.unmeasured)} not measured")
    name = probe.protocol
    return {name: asked, f"CPU of {name}": busy, "cells": len(found.cells), "model": model}


def main() -> None:
    """Measure each size `rounds` times and print."""
    if len(sys.argv) == 3 and sys.argv[1] == "measure":
        measure(int(sys.argv[2]))
        return
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=3)
    report = _measure.Report("twin").say(f"medians of wall time; rounds: {chosen.rounds}", "")
    rows = []
    for size in SIZES:
        runs = [_measure.in_child(__file__, size) for _ in range(chosen.rounds)]
        middle = {key: median(run[key] for run in runs) for key in runs[0]}
        rows.append(
            [
                f"{size}",
                *(f"{middle[key]:,.0f}" for key in ("networks", "rules", "cells")),
                *(_measure.seconds(middle[key]) for key in HEADINGS[4:11]),
                f"{middle['peak']:.0f} MiB",
            ]
        )
    report.table(HEADINGS, rows)
    report.say(
        "",
        "every cell as the model says",
        "",
        _measure.floor("twin built:", middle["built"], BUILT_FLOOR, "s"),
        _measure.floor("all cells of tcp/80:", middle["tcp"], ASKED_FLOOR, "s"),
        _measure.floor("all cells of udp/80:", middle["udp"], ASKED_FLOOR, "s"),
    )
    report.publish(record=chosen.record)


if __name__ == "__main__":
    main()
