"""What one edited rule changes on a Docker host, for all packets, once the first ruleset is evaluated.

Single edits of every kind over the whole ruleset: a rule removed, one inserted, two neighbours swapped, an
interface changed. Compiling the edited ruleset is measured beside it, and evaluating all chains once.
The growth from 4 to 512 bridges is printed as well. All times are the process's own (CPU time): this is
computing alone, in one thread.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from statistics import median

import _measure
import _rulesets
from netverify.dataplane.difference import compare, sets_for
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.view import HostView
from netverify.ruleset import RulePlace, Ruleset
from netverify.ruleset.vocabulary import BUILTIN_CHAINS

FLOOR = 0.2  # seconds for one edit on 512 bridges
SIZES = (4, 32, 128, 512)
Edit = Callable[[Ruleset, RulePlace, random.Random], Ruleset | None]


def removed(rules: Ruleset, place: RulePlace, _draw: random.Random) -> Ruleset:
    """Without the rule."""
    return rules.with_rule_removed(place.table, place.chain, place.number)


def inserted(rules: Ruleset, place: RulePlace, draw: random.Random) -> Ruleset:
    """With another rule before it, for one port."""
    rule = f"-p tcp -m tcp --dport {draw.randrange(1, 65536)} -j RETURN"
    return rules.with_rule_inserted(place.table, place.chain, place.number, rule)


def swapped(rules: Ruleset, place: RulePlace, _draw: random.Random) -> Ruleset | None:
    """With the rule after it in its place."""
    if place.number == len(rules.chain(place.table, place.chain).rules):
        return None
    return rules.with_rules_swapped(place.table, place.chain, place.number, place.number + 1)


def renamed(rules: Ruleset, place: RulePlace, draw: random.Random) -> Ruleset | None:
    """With another bridge in it."""
    text = rules.rule(place).render()
    bridges = sorted(set(re.findall(r"br-\w+", rules.render())))
    changed = re.sub(r"br-\w+", draw.choice(bridges), text, count=1)
    if changed == text:
        return None
    return rules.with_rule_replaced(place.table, place.chain, place.number, changed)


EDITS: dict[str, Edit] = {
    "rule removed": removed,
    "rule inserted": inserted,
    "neighbours swapped": swapped,
    "interface changed": renamed,
}


def _own_time(work: Callable[[], object]) -> float:
    """Seconds of CPU time that `work` takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def evaluate(program: Program, sets: PacketSets) -> None:
    """What all chains do to all packets."""
    evaluator = Evaluator(program, sets)
    for table, chains in BUILTIN_CHAINS.items():
        for chain in chains:
            evaluator.run(table, chain, sets.entering(chain))


class Edits:
    """One ruleset, evaluated, and what edits of it take."""

    def __init__(self, view: HostView) -> None:
        self.view = view
        self.old = compile_rules(view.ipv4, view)
        self.sets = sets_for(self.old)
        self.first = _own_time(lambda: evaluate(self.old, self.sets))
        self.places = [place for place, _ in view.ipv4.rules()]
        self.compiling: list[float] = []
        for chain in sorted({(place.table, place.chain) for place in self.places}):  # what rules match, once
            new = compile_rules(view.ipv4.with_rule_removed(*chain, 1), view)
            compare(self.old, new, sets=self.sets)

    def one(self, edit: Edit, draw: random.Random) -> tuple[float, RulePlace]:
        """Seconds of one comparison, and where the edit was."""
        rules = None
        while rules is None:
            place = draw.choice(self.places)
            rules = edit(self.view.ipv4, place, draw)
        programs: list[Program] = []
        edited = rules
        self.compiling.append(
            _own_time(lambda: programs.append(compile_rules(edited, self.view, like=self.old)))
        )
        return _own_time(lambda: compare(self.old, programs[0], sets=self.sets)), place


def rows(edits: Edits, rounds: int) -> list[tuple[str, list[tuple[float, RulePlace]]]]:
    """Every kind of edit in turn, each of them so often, always at the same places."""
    found: dict[str, list[tuple[float, RulePlace]]] = {name: [] for name in EDITS}
    draws = {name: random.Random(name) for name in EDITS}
    for _ in range(rounds):
        for name, edit in EDITS.items():
            found[name].append(edits.one(edit, draws[name]))
    return list(found.items())


def main() -> None:
    """Measure and print."""
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=25, bridges=SIZES[-1])
    report = _measure.Report("difference")
    growth = []
    for size in [size for size in SIZES if size < chosen.bridges] + [chosen.bridges]:
        edits = Edits(_rulesets.docker_host(size))
        measured = rows(edits, chosen.rounds)
        every = [each for _, found in measured for each, _ in found]
        growth.append(
            [
                f"{size} bridges",
                f"{len(edits.places):,}",
                _measure.seconds(edits.first),
                _measure.seconds(median(edits.compiling)),
                _measure.seconds(median(every)),
                _measure.seconds(max(every)),
            ]
        )
    report.say(f"{chosen.bridges} bridges; edits of each kind: {chosen.rounds}", "")
    report.table(
        ["", "median", "fastest .. slowest", "slowest at"],
        [
            [
                name,
                _measure.seconds(median(each for each, _ in found)),
                _measure.spread([each for each, _ in found]),
                str(max(found, key=lambda pair: pair[0])[1]),
            ]
            for name, found in measured
        ],
    )
    report.say("")
    report.table(["", "rules", "all chains once", "compiling", "edit, median", "worst"], growth)
    report.say("", _measure.floor("one edit, median:", median(every), FLOOR, "s"))
    report.say(_measure.floor("one edit, worst:", max(every), FLOOR, "s"))
    report.publish(record=chosen.record)


if __name__ == "__main__":
    main()
