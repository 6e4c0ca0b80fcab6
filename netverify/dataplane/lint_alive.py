"""Which rules some packet matches, and what comes to each chain: what lint asks of every rule.

What comes to a chain is what all rules before its call leave. As one set that can be very large: a black list
times a list of services, times the next one. So it is kept as the sets that it is the intersection of
(`Coming`), which stay as small as the chains that they come from, and where a single packet shows that they
meet, they are never put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.lint_calls import Hooks, Key, callers_first
from netverify.dataplane.program import CompiledChain, CompiledRule, Place, Program, table_of
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.witness import Witnesses

LARGE = 2000
"""Nodes of a set that is not put together with each rule of a chain."""


def in_all(sets: PacketSets, packets: Set, others: Sequence[Set]) -> Set:
    """Which of the packets are in all of the other sets.

    The last is asked first: packets that do not come to a rule were mostly taken not far before it.
    """
    for other in reversed(others):
        if sets.is_empty(packets):
            break
        packets = sets.both(packets, other)
    return packets


class Coming:
    """What comes to each chain, as sets whose intersection it is.

    Begins with what comes to the chains that the kernel calls.
    """

    def __init__(self, sets: PacketSets, kernel: Mapping[Key, Set]) -> None:
        self._sets = sets
        self._parts: dict[Key, tuple[Set, ...]] = {
            key: (packets,) for key, packets in kernel.items() if not sets.is_empty(packets)
        }

    def __contains__(self, key: Key) -> bool:
        """Whether any packet comes to a chain."""
        return key in self._parts

    def parts(self, key: Key) -> tuple[Set, ...]:
        """The sets of a chain that packets come to."""
        return self._parts[key]

    def cut(self, key: Key, packets: Set) -> Set:
        """Which of the packets come to a chain."""
        return self._sets.nothing if key not in self._parts else in_all(self._sets, packets, self._parts[key])

    def add(self, key: Key, parts: Iterable[Set]) -> None:
        """A call brings a chain the packets that are in all of the sets, of which there must be some."""
        brought = tuple(parts)
        if key in self._parts:
            sets = self._sets
            first, second = (in_all(sets, sets.everything, each) for each in (self._parts[key], brought))
            brought = (sets.either(first, second),)
        self._parts[key] = brought


class Alive:
    """Goes through a program: `matched` has the rules that some packet matches, `coming` what comes where."""

    def __init__(self, program: Program, sets: PacketSets, evaluator: Evaluator[Set], hooks: Hooks) -> None:
        self.sets, self.evaluator, self.hooks = sets, evaluator, hooks
        self.coming = Coming(sets, hooks.coming)
        self.matched: set[Place] = set()
        for chain in callers_first(program):
            key = (chain.table, chain.name)
            if key not in self.coming:
                continue
            if chain.rewrites:  # what a rule sees depends on what was written before it
                evaluator.inspect(chain, self.coming.cut(key, sets.everything), self)
            else:
                self._inspect(chain)

    def _inspect(self, chain: CompiledChain) -> None:
        """Ask each rule of a chain that writes nothing.

        A few packets are tried first: one that is found to come and to match proves that a rule is alive.
        """
        sets, witnesses = self.sets, Witnesses(self.sets)
        entering, *others = self.coming.parts((chain.table, chain.name))
        if entering.node_count() > LARGE:
            entering, others = self.hooks.here(chain), [entering, *others]
        for index, own in self.evaluator.meeting(chain, entering):
            own, left = self.evaluator.way_to(chain, index, own)
            left = [*others, *left]
            if witnesses.any_in(own, left):
                self._noted(chain.rules[index], own, left)
            else:
                self.tested(chain.rules[index], -1, in_all(sets, own, left))

    def tested(self, rule: CompiledRule, failed: int, matched: Set, /) -> None:
        """Take down that packets matched a rule, if any did."""
        if failed < 0 and not self.sets.is_empty(matched):
            self._noted(rule, matched, ())

    def _noted(self, rule: CompiledRule, matched: Set, others: Iterable[Set]) -> None:
        """Some packets are in all of the sets: they matched, and come to the chain that the rule calls."""
        self.matched.add(rule.place)
        if rule.callee is not None:
            self.coming.add((table_of(rule.place), rule.callee), (matched, *others))

    def reached_policy(self, chain: CompiledChain, packets: Set, /) -> None:
        """Policies are no rules."""
