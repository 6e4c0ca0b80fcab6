"""What becomes of some packets, told quickly: which rule ended each of them, or only how they ended.

`Deciding` tells to the packet what an observer of `Evaluator.follow` hears, and `Leaving` what is the outcome
of `Evaluator.run`. They are for chains that write nothing into packets. There a packet is the same wherever
it comes, so that what a chain does to it depends on nothing but the fields that its rules, and those of the
chains that it calls, ask for; and each time that it comes to that chain, the same happens. So:

- A chain is asked only about these fields of the packets that are sent into it (`_into`). Sets are smaller
  then; and the packets of hundreds of calls look alike, so that most of a chain is gone through once.
- The pieces of all rules are never put together, and not even cut out of the packets that came (`decided`).
- What rules match is taken from those packets that match some rule of a segment, and what is left of these is
  put together with all others once: what many rules leave of all packets can be a large set.
- Where an edited chain is called from everywhere, no segment of its callers says what it said before.
  `Leaving` takes packets by the summaries that there are, and rule by rule only where there is none, instead
  of summarising all of them again for the sake of some packets.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from weakref import WeakKeyDictionary

from netverify.dataplane.alignment import strange_words
from netverify.dataplane.decided import Decided, Decider, Piece, Share
from netverify.dataplane.evaluator import Evaluator, Exits
from netverify.dataplane.program import CompiledChain, CompiledRule
from netverify.dataplane.segments import GUARDED, Memory, Segment, memory_of
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.support import fields_of_rule
from netverify.dataplane.targets import Ending, Verdict

_OFTEN = 3  # calls of a chain after which it pays to know what it does to everything
_FEW = 8  # endings of a segment whose packets are worth a set each


_fields: WeakKeyDictionary[PacketSets, dict[int, frozenset[str]]] = WeakKeyDictionary()
"""The fields that segments ask for, by the numbers of their tests (`Segment.tests`)."""


class TooManyRules(Exception):
    """More rules match than it pays to tell apart; this never leaves the dataplane."""


class _Walk:
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
        self._others: dict[str, Set | None] = {}
        self._coming: dict[str, dict[str, list[Set]]] = {}
        """By chains, and those that call them, the packets sent there, as far as the caller's fields say."""
        self._shares: dict[str, Share] = {chain.name: Share(entering, self._untold(chain))}

    def _go(self) -> Set:
        """Take the packets through: those that come to the policy, by the fields that matter."""
        fallen, returned = self._walked(self._base, self._shares[self._base.name].short())
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

    def _into(self, caller: CompiledChain, chain: CompiledChain, packets: Set) -> tuple[Set, Set]:
        """Call a chain: those of the packets that come to its end, and those that it returns."""
        self._coming.setdefault(chain.name, {}).setdefault(caller.name, []).append(packets)
        others = self._untold(chain)
        told = packets if others is None else packets.exists(others)
        fallen, returned = self._walked(chain, told)
        return packets if fallen == told else packets & fallen, packets & returned

    def _walked(self, chain: CompiledChain, entering: Set) -> tuple[Set, Set]:
        """Those that come to the end of a chain, and those that it returns."""
        fallen: list[Set] = []
        returned: list[Set] = []
        fallen.append(self._through(chain, self._run.segments().of(chain), entering, fallen, returned))
        return self._sets.union(fallen), self._sets.union(returned)

    def _untold(self, chain: CompiledChain) -> Set | None:
        """The variables of all fields that neither a chain asks for nor one that it calls; None for none."""
        if chain.name not in self._others:
            told = self._told(chain)
            others = [field for field in self._sets.fields if field not in told]
            self._others[chain.name] = self._sets.cube(*others) if others else None
        return self._others[chain.name]

    def _told(self, chain: CompiledChain) -> frozenset[str]:
        """The fields that a chain asks for, and those that it calls."""
        told = self._asked(chain, self._run.segments().of(chain))
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
        rules = islice(chain.rules, segment.start, segment.stop)
        for rule, tests in zip(rules, segment.each, strict=True):
            matched = on & self._passing(rule, tests)
            if matched.satisfiable():
                goes_on = self._met(chain, rule, matched, fallen, returned)
                if goes_on != matched:
                    on = (on & ~matched) | goes_on
                    if not on.satisfiable():
                        break
        return on

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
        matched: Set,
        fallen: list[Set],
        returned: list[Set],
    ) -> Set:
        """As `Evaluator._matched`: what a rule does with the packets that passed its tests."""
        goes_on = matched
        if rule.callee is not None:
            goes_on, back = self._into(chain, self._program.chains[chain.table, rule.callee], matched)
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


@dataclass(frozen=True, slots=True)
class _Passage:
    """What became of packets in a segment, and how many rules matched, each as often as packets met it."""

    rules: int
    on: Set
    fallen: Set
    returned: Set


class Deciding(_Walk):
    """Tells who ended whom, and who passed targets that are not modelled.

    With `most`, TooManyRules is raised when one more matches; a rule counts each time that packets meet it.
    """

    def __init__(
        self,
        run: Evaluator[Set],
        sets: PacketSets,
        chain: CompiledChain,
        entering: Set,
        most: int | None = None,
    ) -> None:
        super().__init__(run, sets, chain, entering)
        self._most = sys.maxsize if most is None else most
        self._rules = 0
        self._known_passages: dict[tuple[int, Set], _Passage] = {}
        self._pieces: dict[int, tuple[str, Decider, list[Set]]] = {}
        self._strange: dict[str, list[tuple[str, Set]]] = {}

    def decided(self) -> Decided:
        """Who gave which packets their ending."""
        at_policy = self._go()
        pieces: dict[Decider, list[Piece]] = {}
        for name, decider, parts in self._pieces.values():  # steps of a rule of nftables have one place
            pieces.setdefault(decider, []).append((self._share(name), self._sets.union(parts)))
        if at_policy.satisfiable():
            policy = self._base.policy_place, self._base.policy
            pieces.setdefault(policy, []).append((self._share(self._base.name), at_policy))
        return Decided(self._sets, self._entering, pieces)

    def strange(self) -> dict[str, Set]:
        """By the words of a target that is not modelled, the packets that passed it."""
        return {
            words: self._sets.union([self._share(name).packets & met for name, met in passed])
            for words, passed in self._strange.items()
        }

    def _meeting(
        self, chain: CompiledChain, segment: Segment, on: Set, fallen: list[Set], returned: list[Set]
    ) -> Set:
        if chain is self._base:
            return super()._meeting(chain, segment, on, fallen, returned)
        passage = self._known_passages.get((id(segment), on))
        if passage is None:
            own_fallen: list[Set] = []
            own_returned: list[Set] = []
            before = self._rules
            left = super()._meeting(chain, segment, on, own_fallen, own_returned)
            back = self._sets.union(own_fallen), self._sets.union(own_returned)
            passage = self._known_passages[id(segment), on] = _Passage(self._rules - before, left, *back)
        else:
            self._count(passage.rules)
        fallen.append(passage.fallen)
        returned.append(passage.returned)
        return passage.on

    def _count(self, rules: int) -> None:
        self._rules += rules
        if self._rules > self._most:
            raise TooManyRules

    def _met(
        self,
        chain: CompiledChain,
        rule: CompiledRule,
        matched: Set,
        fallen: list[Set],
        returned: list[Set],
    ) -> Set:
        self._count(1)
        if rule.not_modelled:
            self._strange.setdefault(strange_words(rule), []).append((chain.name, matched))
        return super()._met(chain, rule, matched, fallen, returned)

    def _ended(self, chain: CompiledChain, rule: CompiledRule, ending: Ending, matched: Set) -> None:
        known = self._pieces.get(id(rule))
        if known is None:
            self._pieces[id(rule)] = chain.name, (rule.place, ending), [matched]
        else:
            known[2].append(matched)


class Leaving(_Walk):
    """Tells only how packets leave. Endings that do not matter, if `matters` says so, may be missing."""

    def __init__(
        self,
        run: Evaluator[Set],
        sets: PacketSets,
        chain: CompiledChain,
        entering: Set,
        matters: Callable[[Ending], bool] = lambda _ending: True,
    ) -> None:
        super().__init__(run, sets, chain, entering)
        self._exits: dict[Ending, dict[str, list[Set]]] = {}
        self._matters = matters
        self._calls: Counter[str] = Counter()

    def decided(self) -> Decided:
        """How packets left, whichever rules it were."""
        at_policy = self._go()
        if at_policy.satisfiable():
            self._add_piece(self._base, self._base.policy, at_policy)
        return Decided(
            self._sets,
            self._entering,
            {
                (None, ending): [(self._share(name), self._sets.union(parts)) for name, parts in held.items()]
                for ending, held in self._exits.items()
            },
        )

    def exits(self) -> Exits[Set]:
        """The packets of each ending."""
        decided = self.decided()
        return {ending: decided.of([(place, ending)]) for place, ending in decided}

    def _into(self, caller: CompiledChain, chain: CompiledChain, packets: Set) -> tuple[Set, Set]:
        self._calls[chain.name] += 1
        if self._calls[chain.name] > _OFTEN:
            self._run.summary(chain)
        return super()._into(caller, chain, packets)

    def _through(
        self, chain: CompiledChain, segment: Segment, entering: Set, fallen: list[Set], returned: list[Set]
    ) -> Set:
        known = self._memory.summaries.get(segment.content)
        if known is None or (chain is self._base and len(known[0]) > _FEW):
            return super()._through(chain, segment, entering, fallen, returned)
        exits, left = known
        for ending, packets in exits.items():
            if not self._matters(ending):
                continue
            part = entering & packets
            if not part.satisfiable():
                continue
            if ending is Verdict.RETURN:
                returned.append(part)
            elif ending is Verdict.FALL:
                fallen.append(part)
            else:
                self._add_piece(chain, ending, part)
        return entering & left

    def _ended(self, chain: CompiledChain, _rule: CompiledRule, ending: Ending, matched: Set) -> None:
        self._add_piece(chain, ending, matched)

    def _add_piece(self, chain: CompiledChain, ending: Ending, packets: Set) -> None:
        self._exits.setdefault(ending, {}).setdefault(chain.name, []).append(packets)
