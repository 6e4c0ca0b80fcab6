"""How long a full matrix takes: 100 endpoints over 4 bridges that Docker's rules keep apart.

9,900 ordered pairs, three quarters of them blocked. netverify's time is for all of them, proofs included (and
for the 100 cells of the diagonal). The peers ping, as people do: a blocked pair costs them the second that
`-W1` allows, so they ask a sample of pairs, open and blocked ones apart, and what the whole matrix would take
is scaled up from that. A ping that is not answered proves nothing yet; the peers stop there.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import _measure
import _nets

from netverify.kernel import sandbox
from netverify.kernel.firewall import default_backend
from netverify.kernel.lab import Lab
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp
from netverify.topology.model import Topology

TOTAL, PER_PAIR = 1.0, 100e-6  # seconds at most
BRIDGES = 4
OPEN_SAMPLE, BLOCKED_SAMPLE, AT_ONCE = 40, 4, 200  # pairs
MININET_PYTHON = "/usr/bin/python3"
MININET_HOSTS, MININET_ACROSS = 20, 3
Names = tuple[str, str]


@dataclass(frozen=True)
class Pairs:
    """The ordered pairs of a topology, and where each container is."""

    opened: tuple[Names, ...]
    blocked: tuple[Names, ...]
    addresses: dict[str, str]

    @classmethod
    def of(cls, topology: Topology) -> Pairs:
        """Those on one network are open, the others blocked."""
        topology = topology.resolved()
        network = {one.name: one.endpoints[0].network for one in topology.containers}
        every = [(a, b) for a in network for b in network if a != b]
        return cls(
            tuple((a, b) for a, b in every if network[a] == network[b]),
            tuple((a, b) for a, b in every if network[a] != network[b]),
            {name: str(topology.addresses_of(name, 4)[0]) for name in network},
        )

    def __len__(self) -> int:
        return len(self.opened) + len(self.blocked)

    def scaled(self, opened: float, blocked: float) -> float:
        """What the whole matrix would take at these seconds for one open and one blocked pair."""
        return len(self.opened) * opened + len(self.blocked) * blocked


def with_netverify(lab: Lab, probe: Probe, pairs: Pairs) -> float:
    """All pairs; every verdict is checked."""
    names = list(pairs.addresses)
    began = _measure.Stopwatch()
    matrix = lab.reachability(probe, names)
    took = began.seconds
    for expected, asked in ((Outcome.DELIVERED, pairs.opened), (Outcome.FILTERED, pairs.blocked)):
        wrong = [matrix.cell(a, b) for a, b in asked if matrix.cell(a, b).outcome is not expected]
        if wrong:
            raise SystemExit(f"{probe}: {len(wrong)} of {len(asked)} are not {expected.value}: {wrong[0]}")
    return took


def one_after_the_other(pairs: Pairs) -> float:
    """`ip netns exec ping` for a sample of pairs, scaled up."""

    def each(sample: Sequence[Names], answered: bool) -> float:
        return _measure.timed(lambda: _must([_ping(pairs, pair) for pair in sample], answered)) / len(sample)

    choose = random.Random(1)
    return pairs.scaled(
        each(choose.sample(pairs.opened, OPEN_SAMPLE), True),
        each(choose.sample(pairs.blocked, BLOCKED_SAMPLE), False),
    )


def all_at_once(pairs: Pairs) -> float:
    """`AT_ONCE` of them as processes of their own at the same time, three quarters blocked, scaled up."""
    choose = random.Random(1)
    quarter = AT_ONCE // 4
    opened, blocked = choose.sample(pairs.opened, quarter), choose.sample(pairs.blocked, AT_ONCE - quarter)

    def run() -> None:
        started = [_ping(pairs, pair) for pair in (*opened, *blocked)]
        _must(started[:quarter], True)
        _must(started[quarter:], False)

    return _measure.timed(run) / AT_ONCE * len(pairs)
