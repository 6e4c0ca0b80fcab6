"""What an audit of a large host costs, and how many hosts a second a fleet's snapshots are audited at.

50 networks, 500 containers and 5,000 rules (`fixtures/large_host.py`): reading the snapshot, making the model
ready, every check. It runs in a process of its own, whose peak of resident memory is the one printed. For a
fleet 1,000 snapshots of small hosts are audited, in one process and in two.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from statistics import median

import _measure
from fixtures.large_host import parts
from netverify.audit.case import Case
from netverify.audit.run import audit
from netverify.host import Parts, read_json, read_snapshot

NETWORKS, CONTAINERS, RULES = 50, 500, 5000
SMALL_NETWORKS, SMALL_CONTAINERS = 3, 6
SNAPSHOTS, BATCH = 1000, 25


def measure(_size: int) -> None:
    """The large host, and JSON."""
    text = parts(NETWORKS, CONTAINERS, filled_to=RULES).as_json()
    found: dict[str, object] = {}
    began = time.process_time()
    held: list[Case] = []

    def read() -> None:
        snapshot = read_snapshot(read_json(text, "large.json"))
        held.append(Case.of(snapshot, "large.json"))

    found["read"] = _measure.timed(read)
    findings: list[object] = []
    found["checks"] = _measure.timed(lambda: findings.extend(audit(held[0]).findings))
    rulesets = held[0].snapshot.rules.values()
    found["rules"] = max(sum(1 for _ in ruleset.rules()) for ruleset in rulesets)
    found["findings"] = len(findings)
    found["processor"] = time.process_time() - began
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB (getrusage(2))
    print(json.dumps(found))


def audited(texts: list[str]) -> int:
    """Audit some snapshots; returns how many findings they have."""
    return sum(len(audit(_case(text)).findings) for text in texts)


def _case(text: str) -> Case:
    return Case.of(read_snapshot(read_json(text, "host.json")), "host.json")


def fleet(workers: int) -> float:
    """Seconds that 1,000 snapshots take."""
    text = _small().as_json()
    batches = [[text] * BATCH for _ in range(SNAPSHOTS // BATCH)]
    if workers == 1:
        return _measure.timed(lambda: [audited(batch) for batch in batches])
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(audited, batches[:workers]))  # the processes are there, and have imported everything
        return _measure.timed(lambda: list(pool.map(audited, batches)))


def _small() -> Parts:
    return parts(SMALL_NETWORKS, SMALL_CONTAINERS)


def main() -> None:
    """Measure and print."""
    if len(sys.argv) == 3 and sys.argv[1] == "measure":
        measure(int(sys.argv[2]))
        return
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=3)
    report = _measure.Report("audit").say(f"medians; rounds: {chosen.rounds}", "")
    runs = [_measure.in_child(__file__, CONTAINERS) for _ in range(chosen.rounds)]
    middle = {key: median(float(run[key]) for run in runs) for key in runs[0]}
    whole = middle["read"] + middle["checks"]
    report.table(
        ("networks", "containers", "rules", "read", "checks", "findings", "processor", "peak"),
        [
            [
                f"{NETWORKS}",
                f"{CONTAINERS}",
                f"{middle['rules']:.0f}",
                _measure.seconds(middle["read"]),
                _measure.seconds(middle["checks"]),
                f"{middle['findings']:.0f}",
                _measure.seconds(middle["processor"]),
                f"{middle['peak'] / 1024:.0f} MiB",
            ]
        ],
    )
    one, two = fleet(1), fleet(2)
    report.say(
        "",
        f"{SNAPSHOTS:,} snapshots of {SMALL_NETWORKS} networks and {SMALL_CONTAINERS} containers:",
        f"- one process  {SNAPSHOTS / one:6.1f} a second",
        f"- two          {SNAPSHOTS / two:6.1f} a second, {one / two:.2f} x",
        "",
        _measure.floor("audit without a twin", whole, 5, "s"),
        _measure.floor("peak memory", middle["peak"] / 1024, 500, "MiB"),
    )
    report.publish(record=chosen.record)


if __name__ == "__main__":
    main()
