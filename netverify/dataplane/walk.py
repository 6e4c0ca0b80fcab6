"""Some packets on their way through one of the kernel's own chains that writes nothing into them.

There a packet is the same wherever it comes. So what a chain does to it depends on nothing but the fields
that its rules, and those of the chains that it calls, ask for; and each time that it comes to a chain, the
same happens. A walk uses this in four ways:

- A chain is asked only about these fields of the packets that are sent into it (`_into`). Sets are smaller
  then, and the packets of hundreds of calls look alike.
- Which packets came to a chain is put together once (`_share`), and the pieces of its rules are not even cut
  out of them (`decided`).
- What rules match is taken from those packets that match some rule of a segment, and what is left of these is
  put together with all others once: what many rules leave of all packets can be a large set.
- Packets that have passed the tests of a call can match only some rules of the chain that is called. Which
  these are is asked once for all rulesets (`_meetable`): it depends on tests alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from weakref import WeakKeyDictionary

from netverify.dataplane.decided import Share
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.program import CompiledChain, CompiledRule
from netverify.dataplane.segments import GUARDED, Memory, Segment, memory_of
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.support import fields_of_rule
from netverify.dataplane.targets import Ending, Verdict

_SHORT = 16  # rules that are better asked one by one than looked for in segments


_fields: WeakKeyDictionary[PacketSets, dict[int, frozenset[str]]] = WeakKeyDictionary()
"""The fields that segments ask for, by the numbers of their tests (`Segment.tests`)."""


_few: WeakKeyDictionary[PacketSets, dict[tuple[int, int], tuple[int, ...] | None]] = WeakKeyDictionary()
"""What `Walk._meetable` found, by the numbers of tests of a call and of a segment."""


class Walk:
    """Takes packets through one of the kernel's own chains, once, by a program's evaluator over `sets`.

    What it finds out about segments it leaves in the memory that all evaluators over these sets share.
    """

    def __init__(self, run: Evaluator[Set], sets: PacketSets, chain: CompiledChain, entering: Set) -> None:
        self._run = run
        self._program = run.program
        self._sets = sets
        self._memory: Memory[Set] = memory_of(sets)
        self._base, self._entering = chain, entering
        self._fields = _fields.setdefault(sets, {})
        self._few = _few.setdefault(sets, {})
        self._numbers: dict[str, Sequence[int]] = {}
        self._others: dict[str, Set | None] = {}
        self._coming: dict[str, dict[str, list[Set]]] = {}
        """By chains, and those that call them, the packets sent there, as far as the caller's fields say."""
        self._shares: dict[str, Share] = {chain.name: Share(entering, self._untold(chain))}

    def _go(self) -> Set:
        """Take the packets through: those that come to the policy, by the fields that matter."""
        fallen, returned = self._walked(
            self._base, self._shares[self._base.name].short(self._sets.everything)
        )
        return fallen | returned

    def _share(self, name: str) -> Share:
        """All packets that come to a chain: from each caller, those of its own that match a call."""
        known = self._shares.get(name)
        if known is None:
            coming = [
                self._share(caller).packets & self._sets.union(calls)
                for caller, calls in self._coming[name].items()
            ]
            chain = self._program.chains[self._base.table, name]
            known = self._shares[name] = Share(self._sets.union(coming), self._untold(chain))
        return known

    # --- chains ---------------------------------------------------------------------------------------------

    def _into(self, caller: CompiledChain, chain: CompiledChain, packets: Set, tests: int) -> tuple[Set, Set]:
        """Call a chain: those of the packets that come to its end, and those that it returns.

        They have passed tests of that number; that may leave only a few rules which any of them can match.
        """
        self._coming.setdefault(chain.name, {}).setdefault(caller.name, []).append(packets)
        others = self._untold(chain)
        told = packets if others is None else packets.exists(others) & self._sets.everything
        fallen, returned = self._walked(chain, told, self._meetable(chain, self._segment(chain), tests))
        return packets if fallen == told else packets & fallen, packets & returned

    def _walked(
        self, chain: CompiledChain, entering: Set, rules: Sequence[int] | None = None
    ) -> tuple[Set, Set]:
        """Those that come to the end of a chain, and those that it returns; no other rules can match."""
        fallen: list[Set] = []
        returned: list[Set] = []
        segment = self._segment(chain)
        if rules is None:
            fallen.append(self._through(chain, segment, entering, fallen, returned))
        else:
            fallen.append(self._by_rules(chain, rules, entering, fallen, returned))
        return self._sets.union(fallen), self._sets.union(returned)

    def _segment(self, chain: CompiledChain) -> Segment:
        return self._run.segments().of(chain)

    def _untold(self, chain: CompiledChain) -> Set | None:
        """The variables of all fields that neither a chain asks for nor one that it calls; None for none."""
        if chain.name not in self._others:
            told = self._told(chain)
            others = [field for field in self._sets.fields if field not in told]
            self._others[chain.name] = self._sets.cube(*others) if others else None
        return self._others[chain.name]

    def _told(self, chain: CompiledChain) -> frozenset[str]:
        """The fields that a chain asks for, and those that it calls."""
        told = self._asked(chain, self._segment(chain))
        for name in {rule.callee for rule in chain.rules if rule.callee is not None}:
            told |= self._told(self._program.chains[chain.table, name])
        return told

    def _asked(self, chain: CompiledChain, segment: Segment) -> frozenset[str]:
        """The fields that the rules of a segment ask for."""
        known = self._fields.get(segment.tests)
        if known is None:
            if segment.halves is None:
                rules = chain.rules[segment.start : segment.stop]
                known = frozenset(field for rule in rules for field in fields_of_rule(rule))
            else:
                known = frozenset().union(*(self._asked(chain, half) for half in segment.halves))
            self._fields[segment.tests] = known
        return known

    # --- rules ----------------------------------------------------------------------------------------------

    def _through(
        self, chain: CompiledChain, segment: Segment, entering: Set, fallen: list[Set], returned: list[Set]
    ) -> Set:
        """Send packets through a segment; returns who comes to the rule after it."""
        is_guarded = segment.stop - segment.start <= GUARDED
        all_rules = self._matching(chain, segment) if is_guarded else self._sets.true
        met = entering & all_rules
        if not met.satisfiable():
            return entering
        on = self._meeting(chain, segment, met, fallen, returned)
        if on == met:
            return entering
        return on if met == entering else (entering & ~all_rules) | on

    def _meeting(
        self, chain: CompiledChain, segment: Segment, on: Set, fallen: list[Set], returned: list[Set]
    ) -> Set:
        """The same for packets that may all match a rule of the segment."""
        if segment.halves is not None:
            for half in segment.halves:
                if on.satisfiable():
                    on = self._through(chain, half, on, fallen, returned)
            return on
        return self._by_rules(chain, range(segment.start, segment.stop), on, fallen, returned)

    def _by_rules(
        self, chain: CompiledChain, rules: Sequence[int], on: Set, fallen: list[Set], returned: list[Set]
    ) -> Set:
        """The same by some rules of a chain (from 0), if the packets can match no others."""
        tests = self._tests(chain)
        for index in rules:
            rule = chain.rules[index]
            matched = on & self._passing(rule, tests[index])
            if matched.satisfiable():
                goes_on = self._met(chain, rule, tests[index], matched, fallen, returned)
                if goes_on != matched:
                    on = (on & ~matched) | goes_on
                    if not on.satisfiable():
                        break
        return on

    def _tests(self, chain: CompiledChain) -> Sequence[int]:
        """The numbers of the tests of a chain's rules."""
        known = self._numbers.get(chain.name)
        if known is None:
            known = self._numbers[chain.name] = self._segment(chain).all_tests()
        return known

    def _meetable(self, chain: CompiledChain, segment: Segment, tests: int) -> tuple[int, ...] | None:
        """The rules of a segment, from its start, that packets can match which pass tests of that number.

        None where these are many. It is the same for every ruleset, and asked once.
        """
        known = self._few
        key = tests, segment.tests
        if key not in known:
            known[key] = self._find_meetable(chain, segment, tests)
        return known[key]

    def _find_meetable(self, chain: CompiledChain, segment: Segment, tests: int) -> tuple[int, ...] | None:
        passing = self._memory.matching[tests]
        is_guarded = segment.stop - segment.start <= GUARDED
        if is_guarded and not (passing & self._matching(chain, segment)).satisfiable():
            return ()
        if segment.halves is None:
            rules = zip(islice(chain.rules, segment.start, segment.stop), segment.each, strict=True)
            return tuple(
                index for index, each in enumerate(rules) if (passing & self._passing(*each)).satisfiable()
            )
        found: list[int] = []
        for half in segment.halves:
            few = self._meetable(chain, half, tests)
            if few is None or len(found) + len(few) > _SHORT:
                return None
            found += (half.start - segment.start + index for index in few)
        return tuple(found)

    def _matching(self, chain: CompiledChain, segment: Segment) -> Set:
        """The packets that pass all tests of some rule of a segment."""
        known = self._memory.matching.get(segment.tests)
        if known is None:
            if segment.halves is None:
                rules = islice(chain.rules, segment.start, segment.stop)
                parts = [self._passing(*each) for each in zip(rules, segment.each, strict=True)]
            else:
                parts = [self._matching(chain, half) for half in segment.halves]
            known = self._memory.matching[segment.tests] = self._sets.union(parts)
        return known

    def _passing(self, rule: CompiledRule, tests: int) -> Set:
        """The packets that pass all tests of a rule, which have that number."""
        known = self._memory.matching.get(tests)
        if known is None:
            known = self._sets.everything
            for test in rule.tests:
                known = known & self._sets.satisfying(test.condition)
            self._memory.matching[tests] = known
        return known

    def _met(
        self,
        chain: CompiledChain,
        rule: CompiledRule,
        tests: int,
        matched: Set,
        fallen: list[Set],
        returned: list[Set],
    ) -> Set:
        """As `Evaluator._matched`: what a rule does with the packets that passed its tests."""
        goes_on = matched
        if rule.callee is not None:
            goes_on, back = self._into(chain, self._program.chains[chain.table, rule.callee], matched, tests)
            if rule.part:  # what a part of a rule returns, its rule returns
                returned.append(back)
            else:
                goes_on = goes_on | back
            if rule.goto:
                returned.append(goes_on)
                return self._sets.nothing
        elif rule.ending is Verdict.RETURN:
            returned.append(matched)
            return self._sets.nothing
        elif rule.ending is not None:
            self._ended(chain, rule, rule.ending, matched)
            return self._sets.nothing
        if rule.last:
            fallen.append(goes_on)
            return self._sets.nothing
        return goes_on

    def _ended(self, chain: CompiledChain, rule: CompiledRule, ending: Ending, matched: Set) -> None:
        """A rule gave packets their ending."""
        raise NotImplementedError
