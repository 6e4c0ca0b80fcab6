"""What becomes of some packets, told quickly: which rule ended each of them, or only how they ended.

`Deciding` tells to the packet what an observer of `Evaluator.follow` hears, and `Leaving` what is the outcome
of `Evaluator.run`, for chains that write nothing into packets (`walk`).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netverify.dataplane.alignment import strange_words
from netverify.dataplane.decided import Decided, Decider, Piece
from netverify.dataplane.evaluator import Evaluator, Exits
from netverify.dataplane.program import CompiledChain, CompiledRule
from netverify.dataplane.segments import Segment
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Ending, Verdict
from netverify.dataplane.walk import Walk

_OFTEN = 3  # calls of a chain after which it pays to know what it does to everything
_FEW = 8  # endings of a segment whose packets are worth a set each


class TooManyRules(Exception):
    """More rules match than it pays to tell apart; this never leaves the dataplane."""


@dataclass(frozen=True, slots=True)
class _Passage:
    """What became of packets in a segment, and how many rules matched, each as often as packets met it."""

    rules: int
    on: Set
    fallen: Set
    returned: Set


class Deciding(Walk):
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
        tests: int,
        matched: Set,
        fallen: list[Set],
        returned: list[Set],
    ) -> Set:
        self._count(1)
        if rule.not_modelled:
            self._strange.setdefault(strange_words(rule), []).append((chain.name, matched))
        return super()._met(chain, rule, tests, matched, fallen, returned)

    def _ended(self, chain: CompiledChain, rule: CompiledRule, ending: Ending, matched: Set) -> None:
        known = self._pieces.get(id(rule))
        if known is None:
            self._pieces[id(rule)] = chain.name, (rule.place, ending), [matched]
        else:
            known[2].append(matched)


class Leaving(Walk):
    """Tells only how packets leave. Endings that do not matter, if `matters` says so, may be missing.

    Where an edited chain is called from everywhere, no segment of its callers says what it said before. So
    packets are taken by the summaries that there are, and rule by rule only where there is none, instead of
    summarising all callers again for the sake of some packets.
    """

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

    def _walked(
        self, chain: CompiledChain, entering: Set, rules: Sequence[int] | None = None
    ) -> tuple[Set, Set]:
        if rules is None and chain is not self._base:
            self._calls[chain.name] += 1
            if self._calls[chain.name] > _OFTEN:
                self._run.summary(chain)
        return super()._walked(chain, entering, rules)

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
