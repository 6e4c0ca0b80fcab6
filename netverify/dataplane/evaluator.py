"""Running rules: the one place that knows how chains, jumps, gotos, RETURN and policies work.

It is written over `Algebra`, so that the same lines run one packet (booleans) and all packets (sets). What
differs is only which sets there are: with one packet, everything behind the first match is empty and is not
looked at, and what remains is the packet's path.

Two things here are for speed and change no result. A chain that writes nothing into packets is, where the
algebra asks for it, computed once for all packets; each use then is an intersection. And such a chain is cut
in halves, whose results are joined: folding rule by rule, the sets of a long chain stay large all the way.
What a segment does is remembered by what it says (`segments`), in a memory that all evaluators over one
algebra share: an edited ruleset is evaluated by what the edit left alone and a few new segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from netverify.dataplane.algebra import Algebra
from netverify.dataplane.program import CompiledChain, CompiledRule, Program
from netverify.dataplane.segments import GUARDED, Exits, Memory, Segment, Segments, memory_of
from netverify.dataplane.shortlist import LONG
from netverify.dataplane.targets import Ending, Verdict

__all__ = ["Evaluator", "Exits", "Observer"]

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


class Observer(Protocol[S_contra]):
    """Somebody who is told what each rule did."""

    def tested(self, rule: CompiledRule, failed: int, matched: S_contra, /) -> None:
        """Packets reached a rule. `failed` is the number of the test that none of them passed, or -1."""
        ...

    def reached_policy(self, chain: CompiledChain, packets: S_contra, /) -> None:
        """Packets reached the end of one of the kernel's own chains."""
        ...


SHORT = 64
"""Rules of the longest chain that `way_to` goes through one by one."""

_Enter = Callable[[CompiledChain, S], Exits[S]]
"""How a chain is called: what becomes of the packets that are sent into it."""


class Evaluator(Generic[S]):
    """Runs the chains of a program over an algebra.

    With a `memory` of its own it neither finds what others computed nor leaves anything behind. A `shortlist`
    says which rules of a long chain that writes nothing into packets can match what is sent; observers then
    hear of no others.
    """

    def __init__(
        self,
        program: Program,
        algebra: Algebra[S],
        observer: Observer[S] | None = None,
        memory: Memory[S] | None = None,
        shortlist: Callable[[CompiledChain], Iterable[CompiledRule]] | None = None,
    ) -> None:
        self.program = program
        self.algebra = algebra
        self.observer = observer
        self._memory = memory
        self._shortlist = shortlist
        self._segments: Segments | None = None
        self._tests: dict[tuple[str, str], Sequence[int]] = {}  # the number of each rule's tests, by chain
        self._left_by_calls: dict[tuple[str, str, int], S] = {}

    def run(self, table: str, chain: str, entering: S) -> Exits[S]:
        """Send packets into one of the kernel's own chains; a chain that is not there accepts everything."""
        return self._from_kernel(table, chain, entering, self.observer, self._chain)

    def follow(self, table: str, chain: str, entering: S, observer: Observer[S] | None = None) -> Exits[S]:
        """As `run`, for few packets: only rules that some of them can match are looked at.

        No summaries are made, and the observer hears of rules that matched, and of policies, alone.
        """

        def enter(called: CompiledChain, packets: S) -> Exits[S]:
            exits: Exits[S] = {}
            left = self._follow(called, self._segment(called), packets, exits, enter, observer)
            self._add(exits, Verdict.FALL, left)
            return exits

        return self._from_kernel(table, chain, entering, observer, enter)

    def reaching(self, chain: CompiledChain, index: int, packets: S) -> S:
        """Which of the packets, sent into a chain, come to its rule `index` (from 0).

        Few packets are followed quickly even through a long chain, by the summaries of its halves. The chain,
        and those that it calls, must write nothing into packets. The number of its rules as `index` asks who
        comes to its end.
        """
        segment = self._segment(chain)
        while segment.halves is not None:
            first, second = segment.halves
            if index < second.start:
                segment = first
            else:
                _exits, left = self._summary(chain, first)
                packets = self.algebra.both(packets, left)
                segment = second
        return self._fold({}, chain, range(segment.start, index), packets, self._chain)

    def way_to(self, chain: CompiledChain, index: int, packets: S) -> tuple[S, list[S]]:
        """As `reaching`, but not put together: what comes to a rule is the first set, cut by all the others.

        The first are the packets that pass the few rules right before it; each of the others is what a longer
        part of the chain leaves, or a chain that it calls. Whether a single packet is in all of them is
        quickly asked, and together they can be far larger than each.
        """
        segment, left = self._segment(chain), []
        while segment.halves is not None and len(chain.rules) > SHORT:
            first, second = segment.halves
            if index < second.start:
                segment = first
            else:
                left.append(self._summary(chain, first)[1])
                segment = second
        for place in range(segment.start, index):
            if chain.rules[place].callee is not None:
                left.append(self._left_by_call(chain, place))
            else:
                packets = self._pass({}, chain, range(place, place + 1), packets, self._back)
        return packets, left

    def meeting(self, chain: CompiledChain, packets: S) -> Iterator[tuple[int, S]]:
        """The rules of a chain (from 0) whose tests some of the packets pass, each with those packets."""
        waiting = [self._segment(chain)]
        while waiting:
            segment = waiting.pop()
            if segment.halves is not None:
                waiting += reversed(segment.halves)
                continue
            if self._is_passed_by(chain, segment, packets):
                continue
            for index in segment.rules:
                matched = self.algebra.both(packets, self._passing(chain, index))
                if not self.algebra.is_empty(matched):
                    yield index, matched

    def inspect(self, chain: CompiledChain, entering: S, observer: Observer[S]) -> None:
        """Send packets into any chain and tell what its own rules did, not those of the chains it calls."""
        self._fold({}, chain, range(len(chain.rules)), entering, self._back, observer)

    def summary(self, chain: CompiledChain) -> Exits[S]:
        """What a chain that writes nothing does to everything, without its policy."""
        return self._cut(self._summary(chain, self._segment(chain)), self.algebra.everything)

    def segments(self) -> Segments:
        """How the chains are cut."""
        if self._segments is None:
            self._segments = Segments(self.program, self._known())
        return self._segments

    # --- whole chains ---------------------------------------------------------------------------------------

    def _from_kernel(
        self, table: str, chain: str, entering: S, observer: Observer[S] | None, enter: _Enter[S]
    ) -> Exits[S]:
        """Call one of the kernel's own chains, with its policy."""
        found = self.program.chain(table, chain)
        if found is None or self.algebra.is_empty(entering):
            return {Verdict.ACCEPT: entering}
        exits = enter(found, entering)
        left = self.algebra.either(exits.pop(Verdict.FALL, self.algebra.nothing), self._returned(exits))
        if not self.algebra.is_empty(left):
            if observer is not None:
                observer.reached_policy(found, left)
            self._add(exits, found.policy, left)
        return exits

    def _chain(self, chain: CompiledChain, entering: S) -> Exits[S]:
        if self.algebra.summarises and not chain.rewrites and self.observer is None:
            return self._cut(self._summary(chain, self._segment(chain)), entering)
        exits: Exits[S] = {}
        left = self._fold(exits, chain, range(len(chain.rules)), entering, self._chain, self.observer)
        self._add(exits, Verdict.FALL, left)
        return exits

    def _back(self, chain: CompiledChain, entering: S) -> Exits[S]:
        """As `_chain`, for who wants to know only what comes back from a chain."""
        if not self.algebra.summarises or chain.rewrites or self.observer is not None:
            return self._chain(chain, entering)
        exits, left = self._summary(chain, self._segment(chain))
        back: Exits[S] = {}
        for ending in (Verdict.FALL, Verdict.RETURN):  # the steps of a rule may end in FALL before their last
            self._add(back, ending, self.algebra.both(exits.get(ending, self.algebra.nothing), entering))
        self._add(back, Verdict.FALL, self.algebra.both(left, entering))
        return back

    # --- segments -------------------------------------------------------------------------------------------

    def _known(self) -> Memory[S]:
        if self._memory is None:
            self._memory = memory_of(self.algebra)
        return self._memory

    def _segment(self, chain: CompiledChain) -> Segment:
        return self.segments().of(chain)

    def _summary(self, chain: CompiledChain, segment: Segment) -> tuple[Exits[S], S]:
        """What a segment does to everything: the endings, and who comes to the rule after it."""
        known = self._known().summaries
        found = known.get(segment.content)
        if found is None:
            exits: Exits[S] = {}
            if segment.halves is None:
                left = self._pass(exits, chain, segment.rules, self.algebra.everything, self._chain)
            else:
                first, second = (self._summary(chain, half) for half in segment.halves)
                self._join(exits, first[0])
                if not self.algebra.is_empty(first[1]):
                    self._join_cut(exits, second[0], first[1])
                left = self.algebra.both(first[1], second[1])
            found = known[segment.content] = exits, left
        return found

    def _matching(self, chain: CompiledChain, segment: Segment) -> S:
        """The packets that pass all tests of some rule of a segment."""
        known = self._known().matching
        found = known.get(segment.tests)
        if found is None:
            algebra = self.algebra
            if segment.halves is None:
                found = algebra.nothing
                for index in segment.rules:
                    found = algebra.either(found, self._passing(chain, index))
            else:
                found = algebra.either(*(self._matching(chain, half) for half in segment.halves))
            known[segment.tests] = found
        return found

    def _passing(self, chain: CompiledChain, index: int) -> S:
        """The packets that pass all tests of a rule (from 0)."""
        where = (chain.table, chain.name)
        tests = self._tests.get(where)
        if tests is None:
            tests = self._tests[where] = self._segment(chain).all_tests()
        known = self._known().matching
        found = known.get(tests[index])
        if found is None:
            found = known[tests[index]] = self._tested(chain.rules[index], self.algebra.everything)[0]
        return found

    def _left_by_call(self, chain: CompiledChain, index: int) -> S:
        """What comes back of everything, when a rule (from 0) calls its chain."""
        where = (chain.table, chain.name, index)
        found = self._left_by_calls.get(where)
        if found is None:
            everything, rules = self.algebra.everything, range(index, index + 1)
            found = self._left_by_calls[where] = self._pass({}, chain, rules, everything, self._back)
        return found

    def _is_passed_by(self, chain: CompiledChain, segment: Segment, packets: S) -> bool:
        """Whether it is known that no rule of a segment can match any of the packets."""
        if segment.stop - segment.start > GUARDED:
            return False
        return self.algebra.is_empty(self.algebra.both(packets, self._matching(chain, segment)))

    def _follow(
        self,
        chain: CompiledChain,
        segment: Segment,
        entering: S,
        exits: Exits[S],
        enter: _Enter[S],
        observer: Observer[S] | None,
    ) -> S:
        """Send packets through a segment; returns who comes to its end."""
        if self._is_passed_by(chain, segment, entering):
            return entering
        if segment.halves is None:
            return self._pass(exits, chain, segment.rules, entering, enter, observer)
        for half in segment.halves:
            entering = self._follow(chain, half, entering, exits, enter, observer)
        return entering

    # --- rules ----------------------------------------------------------------------------------------------

    def _fold(
        self,
        exits: Exits[S],
        chain: CompiledChain,
        rules: range,
        entering: S,
        enter: _Enter[S],
        observer: Observer[S] | None = None,
    ) -> S:
        """Rule by rule, as the kernel does it; returns who comes to the rule after them."""
        algebra = self.algebra
        asked: Iterable[CompiledRule] = chain.rules[rules.start : rules.stop]
        if self._shortlist is not None and len(rules) == len(chain.rules) >= LONG and not chain.rewrites:
            asked = self._shortlist(chain)
        for rule in asked:
            if algebra.is_empty(entering):
                break
            matched, failed = self._tested(rule, entering)
            if observer is not None:
                observer.tested(rule, failed, matched)
            if failed < 0:
                others = algebra.without(entering, matched)
                entering = self._matched(chain, rule, matched, others, exits, enter)
        return entering

    def _pass(
        self,
        exits: Exits[S],
        chain: CompiledChain,
        rules: range,
        entering: S,
        enter: _Enter[S],
        observer: Observer[S] | None = None,
    ) -> S:
        """As `_fold`, by what is remembered of tests; the observer hears of rules that matched alone."""
        algebra = self.algebra
        for index in rules:
            matched = algebra.both(entering, self._passing(chain, index))
            if not algebra.is_empty(matched):
                rule = chain.rules[index]
                if observer is not None:
                    observer.tested(rule, -1, matched)
                others = algebra.without(entering, matched)
                entering = self._matched(chain, rule, matched, others, exits, enter)
        return entering

    def _tested(self, rule: CompiledRule, entering: S) -> tuple[S, int]:
        """The packets that pass every test of a rule; or none, and the number of the test that failed."""
        algebra, matched = self.algebra, entering
        if entering is True:  # one packet: its first test that fails is all there is to find
            satisfying = algebra.satisfying
            for number, test in enumerate(rule.tests):
                if not satisfying(test.condition):
                    return algebra.nothing, number
            return entering, -1
        for number, test in enumerate(rule.tests):
            matched = algebra.both(matched, algebra.satisfying(test.condition))
            if algebra.is_empty(matched):
                return matched, number
        return matched, -1

    def _matched(
        self,
        chain: CompiledChain,
        rule: CompiledRule,
        matched: S,
        others: S,
        exits: Exits[S],
        enter: _Enter[S],
    ) -> S:
        """What a rule does with the packets that passed its tests; returns who goes on to the next rule."""
        algebra = self.algebra
        if rule.callee is not None:
            left = enter(self.program.chains[chain.table, rule.callee], matched)
            matched = left.pop(Verdict.FALL, algebra.nothing)
            if not rule.part:  # what a part of a rule returns, its rule returns
                matched = algebra.either(matched, self._returned(left))
            self._join(exits, left)
            if rule.goto:  # what comes back goes on where the caller of this chain would
                self._add(exits, Verdict.RETURN, matched)
                return others
        elif rule.ending is not None:
            self._add(exits, rule.ending, matched)
            return others
        elif rule.rewrite is not None:
            matched = algebra.rewritten(matched, rule.rewrite)
        if rule.last:
            self._add(exits, Verdict.FALL, matched)
            return others
        return algebra.either(others, matched)

    def _returned(self, exits: Exits[S]) -> S:
        return exits.pop(Verdict.RETURN, self.algebra.nothing)

    def _cut(self, summary: tuple[Exits[S], S], entering: S) -> Exits[S]:
        cut: Exits[S] = {}
        self._join_cut(cut, summary[0], entering)
        self._add(cut, Verdict.FALL, self.algebra.both(summary[1], entering))
        return cut

    def _join_cut(self, exits: Exits[S], more: Exits[S], entering: S) -> None:
        for ending, packets in more.items():
            self._add(exits, ending, self.algebra.both(packets, entering))

    def _join(self, exits: Exits[S], more: Exits[S]) -> None:
        for ending, packets in more.items():
            self._add(exits, ending, packets)

    def _add(self, exits: Exits[S], ending: Ending, packets: S) -> None:
        if not self.algebra.is_empty(packets):
            known = exits.get(ending)
            exits[ending] = packets if known is None else self.algebra.either(known, packets)
