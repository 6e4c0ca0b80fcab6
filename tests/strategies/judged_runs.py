"""Many random rulesets and packets, judged by the kernel; shared by `make fidelity` and the tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from netverify.kernel.firewall import Backend, FirewallError
from netverify.kernel.judge.case import Case
from netverify.kernel.judge.foretell import Foretelling, Maker, model
from netverify.kernel.judge.stand import Stand
from netverify.kernel.judge.verdict import Disagreement, differences
from tests.strategies.judged import judged_rulesets, judged_settings
from tests.strategies.judged_packets import PacketMaker

PACKETS_OF_A_CASE = 100
KEPT = 5
"""How many disagreements are kept whole; all are counted."""


@dataclass
class Tally:
    """What was judged in one backend and family."""

    backend: Backend
    version: int
    rulesets: int = 0
    rules: int = 0
    packets: int = 0
    sightings: int = 0  # packets that came out somewhere, answers included
    counters: int = 0  # of rules and policies, compared
    moved: int = 0  # of these, not zero
    by_chance: int = 0  # packets that were drawn and left out: see docs/fidelity.md
    refused: list[str] = field(default_factory=list)  # rulesets that the kernel did not take
    wrong: int = 0  # rulesets with a disagreement
    seconds: float = 0.0
    kept: list[Disagreement] = field(default_factory=list)


def campaign(
    stand: Stand,
    number: int,
    packets: int,
    make: Maker = model,
    *,
    versions: Sequence[int] = (4, 6),
    backends: Sequence[Backend] = tuple(Backend),
    enough: Callable[[Tally], bool] = lambda _tally: False,
) -> Iterator[Tally]:
    """Judge `packets` packets in all, an equal part in each backend and family; `number` is the seed.

    `enough` ends a part early.
    """
    parts = [(backend, version) for backend in backends for version in versions]
    for part, (backend, version) in enumerate(parts):
        tally = Tally(backend, version)
        began = time.monotonic()
        _judge_many(stand, number + part, -(-packets // len(parts)), make, tally, enough)
        tally.seconds = time.monotonic() - began
        yield tally


def _judge_many(
    stand: Stand, number: int, packets: int, make: Maker, tally: Tally, enough: Callable[[Tally], bool]
) -> None:
    drawn = st.tuples(judged_rulesets(tally.version), judged_settings(tally.version), st.integers(0, 1 << 32))

    @seed(number)
    @settings(
        max_examples=packets * 5 // (4 * PACKETS_OF_A_CASE) + 10,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)
    def one(example: tuple[object, ...]) -> None:
        rules, sysctls, packet_seed = example
        left = packets - tally.packets
        if left <= 0 or enough(tally):
            return
        told = Foretelling(make(rules, sysctls, tally.backend))
        # Hypothesis likes to draw the same seed again, and senders should not come again soon (site.ONCE).
        maker = PacketMaker(rules, told, packet_seed + (number << 32) + tally.rulesets)
        maker.make(min(PACKETS_OF_A_CASE, left))
        case = Case(rules, tuple(maker.shots), tally.backend, sysctls)
        _judge_one(stand, case, told, maker, tally)

    one()


def _judge_one(stand: Stand, case: Case, told: Foretelling, maker: PacketMaker, tally: Tally) -> None:
    try:
        seen = stand.fire(case)
    except FirewallError as error:
        tally.refused.append(str(error))
        return
    foretold = told.outcome(case.rules, maker.sightings)
    tally.rulesets += 1
    tally.rules += sum(1 for _ in case.rules.rules())
    tally.packets += len(case.shots)
    tally.sightings += sum(map(len, seen.sightings))
    tally.counters += len(seen.counts)
    tally.moved += sum(1 for packets, _bytes in seen.counts.values() if packets)
    tally.by_chance += maker.by_chance
    found = differences(case, seen, foretold)
    if found:
        tally.wrong += 1
        if len(tally.kept) < KEPT:
            tally.kept.append(Disagreement(replace(case), found))
