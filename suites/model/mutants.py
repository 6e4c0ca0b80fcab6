"""Mutants of a host's rules, and which questions of a matrix the model says would notice them.

A mutant is the ruleset with one small mistake in it: a rule gone, two neighbours swapped, another verdict,
another bridge. A question whose packets never met a changed rule in a way that matters keeps its answer, so
only the others are followed anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import CompiledRule, Program, compile_rules
from netverify.dataplane.stack import Stack
from netverify.dataplane.trace import PolicyStep, RuleStep, Trace
from netverify.dataplane.world import Exchange, World
from netverify.model.prediction import exchange
from netverify.reachability.probe import Cell, Probe
from netverify.ruleset import Match, Option, Rule, RulePlace, Ruleset, Target
from netverify.topology.model import Topology

REMOVED, SWAPPED, VERDICT, INTERFACE = "removed", "swapped with the next", "verdict", "interface"

VERDICTS: Mapping[str, tuple[str, ...]] = {
    "filter": ("ACCEPT", "DROP", "RETURN", "REJECT"),
    "nat": ("ACCEPT", "RETURN"),  # iptables refuses DROP and REJECT there
}
"""Table -> the verdicts that its rules can have."""


@dataclass(frozen=True)
class Mutant:
    """One mistake at one place (number 0 is the policy), in words, and the rules with it."""

    kind: str
    place: RulePlace
    words: str
    rules: Ruleset

    def __str__(self) -> str:
        return f"{self.place} {self.words}"


def mutants(rules: Ruleset, bridges: Sequence[str]) -> Iterator[Mutant]:
    """Every single mistake; `bridges` are those that a rule could name instead of its own."""
    for table in rules.tables:
        for chain in table.chains:
            for number, rule in enumerate(chain.rules, 1):
                place = RulePlace(table.name, chain.name, number)
                yield from _of_rule(rules, place, rule, bridges)
                if number < len(chain.rules):
                    changed = rules.with_rules_swapped(table.name, chain.name, number, number + 1)
                    yield Mutant(SWAPPED, place, SWAPPED, changed)
            if table.name == "filter" and chain.policy is not None:
                other = "DROP" if chain.policy == "ACCEPT" else "ACCEPT"
                changed = rules.with_policy(table.name, chain.name, other)
                yield Mutant(VERDICT, RulePlace(table.name, chain.name, 0), f"becomes {other}", changed)


def _of_rule(rules: Ruleset, place: RulePlace, rule: Rule, bridges: Sequence[str]) -> Iterator[Mutant]:
    where = place.table, place.chain, place.number
    yield Mutant(REMOVED, place, REMOVED, rules.with_rule_removed(*where))
    for verdict in VERDICTS[place.table]:
        if rule.target is None or rule.target.name != verdict:
            other = replace(rule, target=Target(verdict))
            yield Mutant(VERDICT, place, f"becomes {verdict}", rules.with_rule_replaced(*where, other))
    for index, match in enumerate(rule.matches):
        if match.name in ("in-interface", "out-interface"):
            (option,) = match.options
            for bridge in bridges:
                if bridge != option.value:
                    other = _with_match(rule, index, replace(option, values=(bridge,)))
                    words = f"{match.name} {option.value} becomes {bridge}"
                    yield Mutant(INTERFACE, place, words, rules.with_rule_replaced(*where, other))


def _with_match(rule: Rule, index: int, option: Option) -> Rule:
    matches = [*rule.matches]
    matches[index] = Match(matches[index].name, (option,))
    return replace(rule, matches=tuple(matches))


@dataclass(frozen=True)
class Question:
    """One cell of one matrix."""

    probe: Probe
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.probe}: {self.source} -> {self.target}"


@dataclass(frozen=True)
class Answer:
    """What both the model and the kernel say of a question: its end, its answer, and what NAT showed."""

    outcome: str
    replied: bool
    receiver: str | None
    seen: str | None

    @classmethod
    def observed(cls, cell: Cell) -> Answer:
        """The kernel's, without the port that the receiver saw, which is another one each time."""
        seen = None if cell.seen_source is None else cell.seen_source.partition(":")[0]
        return cls(cell.outcome.value, cell.replied, cell.receiver, seen)

    @classmethod
    def predicted(cls, found: Exchange) -> Answer:
        """The model's; behind a userland proxy, what reached the service in the end."""
        last = found
        while last.beyond is not None:
            last = last.beyond
        arrived = found.outcome == "delivered" and last.request.verdict == "delivered"
        seen = str(last.request.final.source_address) if arrived else None
        return cls(found.outcome, found.replied, found.receiver, seen)


class Predictor:
    """A topology's questions as the model answers them, and again for each mutant of one host's rules."""

    def __init__(self, topology: Topology, world: World, host: str, questions: Sequence[Question]) -> None:
        self.topology, self.world, self.host, self.questions = topology, world, host, questions
        stack = world.stacks[host]
        self.view, self.programs = stack.view, dict(stack.programs)
        if any(chain.rewrites for chain in self.program.chains.values()):
            raise ValueError("a rule that writes into packets changes what the rules behind it meet")
        self.answers: dict[Question, Answer] = {}
        self._steps: dict[RulePlace, list[tuple[Question, bool, Packet]]] = defaultdict(list)
        for question in questions:
            found = self._exchange(question)
            self.answers[question] = Answer.predicted(found)
            for trace in _traces(found):
                for step in trace.steps:
                    if isinstance(step, RuleStep | PolicyStep) and step.host == host:
                        self._steps[step.place].append((question, step.matched, step.packet))

    @property
    def program(self) -> Program:
        """The host's rules as they should be."""
        return self.programs[4]

    def mutated(self, mutant: Mutant) -> Program:
        """The host's rules with the mistake."""
        return compile_rules(mutant.rules, self.view)

    def met(self, place: RulePlace) -> list[Question]:
        """The questions whose packets a rule was asked about."""
        return list(dict.fromkeys(question for question, _matched, _packet in self._steps[place]))

    def changed(
        self, mutant: Mutant, program: Program, enough: int | None = None
    ) -> tuple[dict[Question, Answer], list[Question]]:
        """The questions that a mutant answers otherwise, with its answers; and some that it answers as ever.

        With `enough`, the search ends when so many have been found.
        """
        stack = self.world.stacks[self.host]
        view = replace(self.view, ipv4=mutant.rules)
        self.world.put(Stack(view, {**self.programs, 4: program}))
        found: dict[Question, Answer] = {}
        same: list[Question] = []
        touched = list(dict.fromkeys(self._touched(mutant, program)))
        try:
            for question in (touched[index] for index in _spread(len(touched))):
                answer = Answer.predicted(self._exchange(question))
                if answer == self.answers[question]:
                    same.append(question)
                else:
                    found[question] = answer
                if enough is not None and len(found) >= enough:
                    break
        finally:
            self.world.put(stack)
        untouched = set(touched)
        return found, same + [question for question in self.met(mutant.place) if question not in untouched]

    def _touched(self, mutant: Mutant, program: Program) -> Iterator[Question]:
        """The questions with a packet for which the mistake makes a difference where it stands."""
        steps = self._steps[mutant.place]
        chain = program.chains[mutant.place.table, mutant.place.chain]
        for question, matched, packet in steps:
            if mutant.kind == INTERFACE:
                touched = matched != _matches(chain.rules[mutant.place.number - 1], packet)
            elif mutant.kind == SWAPPED:  # what was the next rule is now the first
                touched = matched and _matches(chain.rules[mutant.place.number - 1], packet)
            else:
                touched = matched
            if touched:
                yield question

    def _exchange(self, question: Question) -> Exchange:
        found = exchange(self.topology, self.world, question.probe, question.source, question.target)
        if found is None:
            raise ValueError(f"{question}: the sender has no address to send from")
        return found


def _spread(count: int) -> Iterator[int]:
    """All numbers below `count`, neighbours far apart, so that a few of them show something of everything."""
    step = next(step for step in range(max(1, int(count * 0.618)), count + 2) if gcd(step, count) == 1)
    return (index * step % count for index in range(count))


def _matches(rule: CompiledRule, packet: Packet) -> bool:
    one = OnePacket(packet)
    return all(one.satisfying(test.condition) for test in rule.tests)


def _traces(found: Exchange) -> Iterator[Trace]:
    yield found.request
    if found.answer is not None:
        yield found.answer
    if found.beyond is not None:
        yield from _traces(found.beyond)
