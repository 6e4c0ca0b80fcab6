"""What one edited rule changes on a Docker host, for all packets, once the first ruleset is evaluated.

Single edits of every kind (`_edits`), each kind in every chain in turn: filter, nat and raw. Compiling the
edited ruleset is measured beside it, and evaluating all chains once. The growth from 4 to 512 bridges is
printed as well. All times are the process's own (CPU time): this is computing alone, in one thread.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median

import _measure
import _rulesets
from _edits import EDITS, Edit, Where, chains
from netverify.dataplane.difference import compare, sets_for
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.view import HostView
from netverify.ruleset.vocabulary import BUILTIN_CHAINS

FLOOR = 0.2  # seconds for one edit on 512 bridges
SIZES = (4, 32, 128, 512)


def _own_time(work: Callable[[], object]) -> float:
    """Seconds of CPU time that `work` takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def evaluate(program: Program, sets: PacketSets) -> None:
    """What all chains do to all packets."""
    evaluator = Evaluator(program, sets)
    for table, names in BUILTIN_CHAINS.items():
        for chain in names:
            evaluator.run(table, chain, sets.entering(chain))


class Edited:
    """One ruleset, evaluated, and what edits of it take."""

    def __init__(self, view: HostView) -> None:
        self.view = view
        self.old = compile_rules(view.ipv4, view)
        self.sets = sets_for(self.old)
        self.first = _own_time(lambda: evaluate(self.old, self.sets))
        self.size = len(list(view.ipv4.rules()))
        self.compiling: list[float] = []
        self.preparing = _own_time(self._prepare)

    def _prepare(self) -> None:
        """What rules match, once: an edit that says little and one that says much, in each chain."""
        for chain in sorted({(place.table, place.chain) for place, _ in self.view.ipv4.rules()}):
            rules = self.view.ipv4
            little = rules.with_rule_removed(*chain, 1)
            much = rules.with_rule_inserted(*chain, 1, "-p tcp -m tcp --dport 9 -j ACCEPT")
            for edited in (little, much):
                compare(self.old, compile_rules(edited, self.view, like=self.old), sets=self.sets)

    def one(self, edit: Edit, where: Where, draw: random.Random) -> float | None:
        """Seconds of one comparison; None where this kind of edit is not possible in a chain."""
        edited = edit(self.view.ipv4, where, draw)
        if edited is None:
            return None
        programs: list[Program] = []
        self.compiling.append(
            _own_time(lambda: programs.append(compile_rules(edited, self.view, like=self.old)))
        )
        return _own_time(lambda: compare(self.old, programs[0], sets=self.sets))


Found = list[tuple[float, Where]]


def rows(edited: Edited, rounds: int) -> dict[str, Found]:
    """Every kind of edit in every chain, so often; always the same ones."""
    found: dict[str, Found] = {name: [] for name in EDITS}
    draws = {name: random.Random(name) for name in EDITS}
    for _ in range(rounds):
        for name, edit in EDITS.items():
            for where in chains(edited.view.ipv4):
                seconds = edited.one(edit, where, draws[name])
                if seconds is not None:
                    found[name].append((seconds, where))
    return found


def main() -> None:
    """Measure and print."""
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=3, bridges=SIZES[-1])
    report = _measure.Report("difference")
    growth = []
    for size in [size for size in SIZES if size < chosen.bridges] + [chosen.bridges]:
        edited = Edited(_rulesets.docker_host(size))
        measured = rows(edited, chosen.rounds)
        every = [each for found in measured.values() for each, _ in found]
        growth.append(
            [
                f"{size} bridges",
                f"{edited.size:,}",
                _measure.seconds(edited.first),
                _measure.seconds(edited.preparing),
                _measure.seconds(median(edited.compiling)),
                _measure.seconds(median(every)),
                _measure.seconds(max(every)),
            ]
        )
    report.say(
        f"{chosen.bridges} bridges; {len(every)} edits, {chosen.rounds} of each kind in each chain", ""
    )
    report.table(
        ["", "edits", "median", "fastest .. slowest", "slowest in"],
        [
            [
                name,
                str(len(found)),
                _measure.seconds(median(each for each, _ in found)),
                _measure.spread([each for each, _ in found]),
                " ".join(max(found)[1]),
            ]
            for name, found in measured.items()
        ],
    )
    report.say("")
    report.table(["", "rules", "all chains once", "preparing", "compiling", "edit, median", "worst"], growth)
    late = sum(each > FLOOR for each in every)
    report.say("", _measure.floor("one edit, median:", median(every), FLOOR, "s"))
    report.say(_measure.floor("one edit, worst:", max(every), FLOOR, "s"))
    report.say(f"edits above the floor: {late} of {len(every)}")
    report.publish(record=chosen.record)


if __name__ == "__main__":
    main()
