"""What one host with many rules costs: reading, making ready, one packet's trace, all packets, lint.

A server's filter table of 1,000, 5,000 and 20,000 rules; and one chain of 10,000 rules that a packet walks to
its end. Lint is given the sets that the accept set was computed over, as by a program that wants
both: what is known of the chains by then is not computed again.

Each size runs in a process of its own, whose peak of resident memory is the one printed. Times are wall
times; beside the sum stands the processor's time, which a busy machine does not lengthen.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from statistics import median

import _measure
import _rulesets
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.lint import lint, sets_of
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import compile_rules
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.targets import Verdict
from netverify.dataplane.view import HostView, Link
from netverify.dataplane.world import World
from netverify.ruleset import Ruleset

SIZES = (1000, 5000, 20_000)
HEADINGS = ("rules", "parse", "compile", "accept set", "lint", "findings", "processor", "peak")
LONG = 10_000
TRACES = 20


def measure(size: int) -> None:
    """One server, and JSON."""
    text = _rulesets.server_rules(size).render()
    host = _rulesets.server_host(size)
    found: dict[str, object] = {}
    began = time.process_time()
    held: list[Ruleset] = []
    found["parse"] = _measure.timed(lambda: held.append(Ruleset.parse(text)))
    programs = []
    found["compile"] = _measure.timed(lambda: programs.append(compile_rules(held[0], host)))
    program = programs[0]

    made: list[PacketSets] = []  # lint goes on with what the accept set found out about the chains

    def accept() -> None:
        made.append(sets_of(program))
        sets = made[0]
        evaluator = Evaluator(program, sets)
        for chain in ("INPUT", "FORWARD"):
            exits = evaluator.run("filter", chain, sets.entering(chain))
            assert not sets.is_empty(exits.get(Verdict.ACCEPT, sets.nothing))

    found["accept"] = _measure.timed(accept)
    findings: list[object] = []
    found["lint"] = _measure.timed(lambda: findings.extend(lint(program, sets=made[0])))
    found["findings"] = len(findings)
    found["processor"] = time.process_time() - began
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB (getrusage(2))
    print(json.dumps(found))


def trace() -> float:
    """Seconds of one packet's trace through one long chain, its last rule deciding; the median of several."""
    rules = "\n".join(
        f"-A INPUT -s 10.{n >> 8 & 255}.{n & 255}.0/24 -p tcp -m tcp --dport {n % 60000 + 1} -j DROP"
        for n in range(LONG - 1)
    )
    text = f"*filter\n:INPUT DROP [0:0]\n{rules}\n-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT\nCOMMIT\n"
    host = HostView(
        "server", (Link.of("lo", "127.0.0.1/8"), Link.of("eth0", "192.0.2.1/24")), ipv4=Ruleset.parse(text)
    ).with_connected_routes()
    world = World([host], [])
    packet = Packet.of("192.0.2.9", "192.0.2.1", "tcp", dport=443)
    times = []
    for _ in range(TRACES):
        world.forget()
        traces = []
        times.append(_measure.timed(lambda: traces.append(world.enter(packet, "server", "eth0"))))  # noqa: B023
        assert traces[0].verdict == "delivered"
        assert sum(traces[0].hits().values()) == 1
    return median(times)


def main() -> None:
    """Measure each size `rounds` times and print."""
    if len(sys.argv) == 3 and sys.argv[1] == "measure":
        measure(int(sys.argv[2]))
        return
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=3)
    report = _measure.Report("rules").say(f"medians; rounds: {chosen.rounds}")
    rows, largest = [], {}
    for size in SIZES:
        runs = [_measure.in_child(__file__, size) for _ in range(chosen.rounds)]
        middle = {key: median(float(run[key]) for run in runs) for key in runs[0]}
        largest = middle
        times = [_measure.seconds(middle[key]) for key in ("parse", "compile", "accept", "lint")]
        rows.append(
            [
                f"{size:,}",
                *times,
                f"{middle['findings']:.0f}",
                _measure.seconds(middle["processor"]),
                f"{middle['peak'] / 1024:.0f} MiB",
            ]
        )
    report.table(HEADINGS, rows)
    one = trace()
    report.say("", f"one packet's trace through a chain of {LONG:,} rules: {_measure.seconds(one)}", "")
    both = largest["accept"] + largest["lint"]
    report.say(
        _measure.floor("accept set and lint of 20,000 rules", both, 20, "s"),
        _measure.floor("peak memory", largest["peak"] / 1024, 2048, "MiB"),
        _measure.floor(f"one trace through {LONG:,} rules", one * 1000, 20, "ms"),
    )
    report.publish(record=chosen.record)


if __name__ == "__main__":
    main()
