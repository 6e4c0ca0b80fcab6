"""Who takes packets away for good, so that they come neither to a rule nor to its chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.lint_alive import in_all
from netverify.dataplane.lint_calls import Hooks
from netverify.dataplane.program import CompiledChain, CompiledRule, Program, table_of
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Verdict
from netverify.dataplane.witness import Witnesses

TOGETHER = 64
"""Rules that one walk answers for, at most: what they ask of a chain is held all at once."""

Portion = tuple[CompiledRule, Set]
"""A rule, and what it takes."""


def takes(rule: CompiledRule, chain: str) -> bool:
    """Whether a rule takes away what it matches of the packets that were sent into a chain.

    What this chain itself returns, it has taken; what others return goes on.
    """
    own = rule.place.chain == chain
    return (rule.ending is not None and (own or rule.ending is not Verdict.RETURN)) or (own and rule.goto)


class Takers:
    """Notes what the takers take of packets that are followed into a chain."""

    def __init__(self, chain: str) -> None:
        self.chain = chain
        self.found: list[Portion] = []

    def tested(self, rule: CompiledRule, failed: int, matched: Set, /) -> None:
        """A rule was asked about packets."""
        if failed < 0 and takes(rule, self.chain):
            self.found.append((rule, matched))

    def reached_policy(self, chain: CompiledChain, packets: Set, /) -> None:
        """Policies are no rules."""


def needed(sets: PacketSets, takers: Sequence[Portion], packets: Set) -> list[CompiledRule]:
    """Of rules that take all of the packets together, so few that none of them can be spared."""
    before = [sets.nothing]
    for _rule, taken in takers:
        before.append(sets.either(before[-1], taken))
    kept: list[CompiledRule] = []
    covered = sets.nothing
    for index in reversed(range(len(takers))):
        rule, taken = takers[index]
        rest = sets.without(sets.without(packets, covered), before[index])
        if not sets.is_empty(rest):
            kept.append(rule)
            covered = sets.either(covered, taken)
    return kept[::-1]


@dataclass(eq=False, slots=True)
class Early:
    """A dead rule's packets, all taken before its chain is called, and the rules that it needs for that."""

    chain: CompiledChain
    packets: Set
    by: list[CompiledRule] = field(default_factory=list)


class EarlyTakers:
    """Finds the takers for many rules in one walk from the kernel's own chain.

    To follow the packets themselves, as `Evaluator.follow` does, is dear: what comes from one source to
    thousands of services becomes a set with thousands of holes. Here nothing is taken out of sets on the
    way: a rule takes something if a packet that it matches is in all of the sets that come to it.
    """

    def __init__(self, program: Program, sets: PacketSets, evaluator: Evaluator[Set], hooks: Hooks) -> None:
        self.program, self.sets, self.evaluator, self.hooks = program, sets, evaluator, hooks
        self._witnesses = Witnesses(sets)
        rules = (rule for chain in program.chains.values() for rule in chain.rules)
        self._leaving = {(table_of(rule.place), rule.place.chain) for rule in rules if rule.goto}

    def find(self, rules: Iterable[Early]) -> None:
        """Fill in the takers of each, in the order in which they take."""
        by_hooks: dict[tuple[str, ...], list[Early]] = {}
        for each in rules:
            by_hooks.setdefault((each.chain.table, *self.hooks.names(each.chain)), []).append(each)
        for (table, *hooks), asked in by_hooks.items():
            if not self._takes_once(table, hooks):
                for each in asked:
                    self._follow(each, hooks)
                continue
            for start in range(0, len(asked), TOGETHER):
                for hook in hooks:
                    self._walk_from(table, hook, asked[start : start + TOGETHER])

    def _takes_once(self, table: str, hooks: Sequence[str]) -> bool:
        """Whether no packet is taken twice, so that every taker is needed: by two hooks, or after a goto."""
        if any((table, hook) in self._leaving for hook in hooks):
            return False
        coming = [self.hooks.coming[table, hook] for hook in hooks]
        return all(self.sets.is_empty(self.sets.both(*pair)) for pair in combinations(coming, 2))

    def _follow(self, early: Early, hooks: Sequence[str]) -> None:
        """Follow one rule's packets from each hook, and leave out the takers that others make needless."""
        found: list[Portion] = []
        for hook in hooks:
            takers, table = Takers(hook), early.chain.table
            packets = self.sets.both(early.packets, self.hooks.coming[table, hook])
            self.evaluator.follow(table, hook, packets, takers)
            found += takers.found
        early.by += needed(self.sets, found, early.packets)

    # --- one walk for many rules ----------------------------------------------------------------------------

    def _walk_from(self, table: str, hook: str, asked: Sequence[Early]) -> None:
        coming = self.hooks.coming[table, hook]
        own = [(each, self.sets.both(each.packets, coming)) for each in asked]
        self._walk(hook, self.program.chains[table, hook], [], own)

    def _walk(
        self, hook: str, chain: CompiledChain, others: Sequence[Set], asked: Sequence[tuple[Early, Set]]
    ) -> None:
        """Note which rules take some of each one's packets, as far as these are in all of the other sets."""
        left: dict[Early, Set] = dict(asked)
        meeting: dict[int, list[tuple[Early, Set]]] = {}
        for each, packets in asked:
            for index, met in self.evaluator.meeting(chain, packets):
                meeting.setdefault(index, []).append((each, met))
        for index, met_by in sorted(meeting.items()):
            rule = chain.rules[index]
            matched: list[tuple[Early, Set]] = []
            before: list[Set] = []
            for each, met in met_by:
                if each not in left:
                    continue
                own, before = self.evaluator.way_to(chain, index, met)
                before = [*others, *before]
                if self._meet(own, before):
                    matched.append((each, own))
                elif not self._come(chain, index, left[each], others):
                    del left[each]  # everything is taken by now
            if takes(rule, hook):
                for each, _own in matched:
                    each.by.append(rule)
            if rule.callee is not None and matched:
                self._walk(hook, self.program.chains[chain.table, rule.callee], before, matched)

    def _come(self, chain: CompiledChain, index: int, packets: Set, others: Sequence[Set]) -> bool:
        """Whether some of the packets come to a rule."""
        own, before = self.evaluator.way_to(chain, index, packets)
        return self._meet(own, [*others, *before])

    def _meet(self, packets: Set, others: Sequence[Set]) -> bool:
        """Whether some packet is in all of the sets."""
        if self._witnesses.any_in(packets, others):
            return True
        return not self.sets.is_empty(in_all(self.sets, packets, others))
