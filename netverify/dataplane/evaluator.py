"""Running rules: the one place that knows how chains, jumps, gotos, RETURN and policies work.

It is written over `Algebra`, so that the same lines run one packet (booleans) and all packets (sets). What
differs is only which sets there are: with one packet, everything behind the first match is empty and is not
looked at, and what remains is the packet's path.

Two things here are for speed and change no result. A chain that writes nothing into packets is, where the
algebra asks for it, computed once for all packets; each use then is an intersection. And such a chain is cut
in halves, whose results are joined: folding rule by rule, the sets of a long chain stay large all the way.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from netverify.dataplane.algebra import Algebra
from netverify.dataplane.program import CompiledChain, CompiledRule, Program
from netverify.dataplane.targets import Ending, Verdict

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)

Exits = dict[Ending, S]
"""How a set of packets left a chain: the packets of each ending. Those that are in none did not enter."""

_LEAF = 8  # rules that are folded one by one before halving pays


class Observer(Protocol[S_contra]):
    """Somebody who is told what each rule did."""

    def tested(self, rule: CompiledRule, failed: int, matched: S_contra, /) -> None:
        """Packets reached a rule. `failed` is the number of the test that none of them passed, or -1."""
        ...

    def reached_policy(self, chain: CompiledChain, packets: S_contra, /) -> None:
        """Packets reached the end of one of the kernel's own chains."""
        ...


class Evaluator(Generic[S]):
    """Runs the chains of a program over an algebra."""

    def __init__(self, program: Program, algebra: Algebra[S], observer: Observer[S] | None = None) -> None:
        self.program = program
        self.algebra = algebra
        self.observer = observer
        self._summaries: dict[tuple[str, str, int, int], Exits[S]] = {}

    def run(self, table: str, chain: str, entering: S) -> Exits[S]:
        """Send packets into one of the kernel's own chains; a chain that is not there accepts everything."""
        found = self.program.chain(table, chain)
        if found is None or self.algebra.is_empty(entering):
            return {Verdict.ACCEPT: entering}
        exits = self._chain(found, entering)
        left = self.algebra.either(exits.pop(Verdict.FALL, self.algebra.nothing), self._returned(exits))
        if not self.algebra.is_empty(left):
            if self.observer is not None:
                self.observer.reached_policy(found, left)
            self._add(exits, found.policy, left)
        return exits

    def reaching(self, chain: CompiledChain, index: int, packets: S) -> S:
        """Which of the packets, sent into a chain, come to its rule `index` (from 0).

        Few packets are followed quickly even through a long chain, by the summaries of its halves. The chain,
        and those that it calls, must write nothing into packets.
        """
        start, stop = 0, len(chain.rules)
        while stop - start > _LEAF:
            middle = (start + stop) // 2
            if index < middle:
                stop = middle
            else:
                left = self._summary(chain, start, middle).get(Verdict.FALL, self.algebra.nothing)
                packets = self.algebra.both(packets, left)
                start = middle
        return self._fold(chain, start, index, packets).get(Verdict.FALL, self.algebra.nothing)

    def inspect(self, chain: CompiledChain, entering: S, observer: Observer[S]) -> None:
        """Send packets into any chain and tell what its own rules did, not those of the chains it calls."""
        self._fold(chain, 0, len(chain.rules), entering, observer)

    def _returned(self, exits: Exits[S]) -> S:
        return exits.pop(Verdict.RETURN, self.algebra.nothing)

    def _chain(self, chain: CompiledChain, entering: S) -> Exits[S]:
        if not self.algebra.summarises or chain.rewrites or self.observer is not None:
            return self._fold(chain, 0, len(chain.rules), entering, self.observer)
        return self._cut(self._summary(chain, 0, len(chain.rules)), entering)

    def _summary(self, chain: CompiledChain, start: int, stop: int) -> Exits[S]:
        """What a part of a chain does to everything."""
        key = (chain.table, chain.name, start, stop)
        found = self._summaries.get(key)
        if found is None:
            if stop - start <= _LEAF:
                found = self._fold(chain, start, stop, self.algebra.everything)
            else:
                middle = (start + stop) // 2
                found = dict(self._summary(chain, start, middle))
                left = found.pop(Verdict.FALL, self.algebra.nothing)
                if not self.algebra.is_empty(left):
                    self._join(found, self._cut(self._summary(chain, middle, stop), left))
            self._summaries[key] = found
        return found

    def _fold(
        self, chain: CompiledChain, start: int, stop: int, entering: S, observer: Observer[S] | None = None
    ) -> Exits[S]:
        """Rule by rule, as the kernel does it."""
        algebra = self.algebra
        exits: Exits[S] = {}
        for rule in chain.rules[start:stop]:
            if algebra.is_empty(entering):
                return exits
            matched, failed = entering, -1
            for number, test in enumerate(rule.tests):
                matched = algebra.both(matched, algebra.satisfying(test.condition))
                if algebra.is_empty(matched):
                    failed = number
                    break
            if observer is not None:
                observer.tested(rule, failed, matched)
            if failed < 0:
                entering = self._matched(chain, rule, matched, algebra.without(entering, matched), exits)
        if not algebra.is_empty(entering):
            self._add(exits, Verdict.FALL, entering)
        return exits

    def _matched(self, chain: CompiledChain, rule: CompiledRule, matched: S, others: S, exits: Exits[S]) -> S:
        """What a rule does with the packets that passed its tests; returns who goes on to the next rule."""
        algebra = self.algebra
        if rule.callee is not None:
            left = self._chain(self.program.chains[chain.table, rule.callee], matched)
            back = algebra.either(left.pop(Verdict.FALL, algebra.nothing), self._returned(left))
            self._join(exits, left)
            if rule.goto:  # what comes back goes on where the caller of this chain would
                self._add(exits, Verdict.RETURN, back)
                return others
            return algebra.either(others, back)
        if rule.ending is not None:
            self._add(exits, rule.ending, matched)
            return others
        if rule.rewrite is not None:
            matched = algebra.rewritten(matched, rule.rewrite)
        return algebra.either(others, matched)

    def _cut(self, summary: Exits[S], entering: S) -> Exits[S]:
        cut = {ending: self.algebra.both(packets, entering) for ending, packets in summary.items()}
        return {ending: packets for ending, packets in cut.items() if not self.algebra.is_empty(packets)}

    def _join(self, exits: Exits[S], more: Exits[S]) -> None:
        for ending, packets in more.items():
            self._add(exits, ending, packets)

    def _add(self, exits: Exits[S], ending: Ending, packets: S) -> None:
        if not self.algebra.is_empty(packets):
            known = exits.get(ending)
            exits[ending] = packets if known is None else self.algebra.either(known, packets)
