"""What became of packets that were sent into a chain, and which rule was it that decided.

`Watcher` listens to a run, over sets as over one packet, so that the two can be held against each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from netverify.dataplane.algebra import Algebra, OnePacket
from netverify.dataplane.alignment import strange_words
from netverify.dataplane.decided import Decided
from netverify.dataplane.entry import EntrySets, fields_of
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.narrow import Deciding, Leaving, TooManyRules
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.program import CompiledChain, CompiledRule, Place, Program
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Ending, Verdict
from netverify.ruleset import RulePlace

S = TypeVar("S")


WORK = 300_000
"""How many nodes of diagrams may be looked at, about, to tell apart the rules that end packets."""
_EACH = 20  # nodes that could be looked at in the time that one matching rule takes beside them


class Watcher(Generic[S]):
    """Takes down who was ended where and how, who wrote last, who passed targets not modelled."""

    def __init__(self, algebra: Algebra[S]) -> None:
        self.algebra = algebra
        self.ended: dict[tuple[Place | None, Ending], S] = {}
        """The packets that a rule, or a policy, gave their ending."""
        self.writers: dict[str, dict[Place, S]] = {}
        """For each written field, the packets by the last rule that wrote it."""
        self.strange: dict[str, S] = {}
        """By the words of a target that is not modelled, the packets that passed it."""

    def tested(self, rule: CompiledRule, failed: int, matched: S, /) -> None:
        """A rule was asked."""
        if failed >= 0:
            return
        if rule.ending is not None and rule.ending is not Verdict.RETURN:
            self._add(self.ended, (rule.place, rule.ending), matched)
        if rule.rewrite is not None:
            for name in fields_of(rule.rewrite):
                writers = self.writers.setdefault(name, {})
                for place, packets in writers.items():
                    writers[place] = self.algebra.without(packets, matched)
                self._add(writers, rule.place, matched)
        if rule.not_modelled:
            self._add(self.strange, strange_words(rule), matched)

    def reached_policy(self, chain: CompiledChain, packets: S, /) -> None:
        """The end of one of the kernel's own chains was reached."""
        self._add(self.ended, (chain.policy_place, chain.policy), packets)

    def _add(self, held: dict[Any, S], key: object, packets: S) -> None:
        held[key] = self.algebra.either(held[key], packets) if key in held else packets


@dataclass(frozen=True)
class Fates:
    """What one ruleset does to a set of packets at one of the kernel's own chains.

    All sets are of packets as they entered. Where too many rules decided to tell them apart, the places in
    `decided` are None, and there is one piece for each ending. `written` has the bits of each field that a
    rule may have written, the most significant first.
    """

    sets: PacketSets
    decided: Decided
    written: dict[str, list[Set]] = field(default_factory=dict)
    writers: dict[str, dict[Place, Set]] = field(default_factory=dict)
    strange: dict[str, Set] = field(default_factory=dict)

    def bits(self, name: str) -> list[Set]:
        """The bits of a field as packets leave with it."""
        return self.written.get(name) or self.sets.bits(name)


def fates(
    run: Evaluator[Set], sets: PacketSets, table: str, chain: str, entering: Set, *, plain: bool = False
) -> Fates:
    """Send packets into one of the kernel's own chains. `run` is the program's evaluator over `sets`.

    `plain` says that all rules there are modelled, so that nothing is lost where rules are not told apart.
    """
    found = run.program.chain(table, chain)
    if found is None:
        nobody = RulePlace(table, chain, 0), Verdict.ACCEPT
        return Fates(sets, Decided.apart(sets, entering, {nobody: entering}))
    if not found.rewrites:
        most = WORK // (_EACH + entering.node_count()) if plain else None
        deciding = Deciding(run, sets, found, entering, most)
        try:
            return Fates(sets, deciding.decided(), strange=deciding.strange())
        except TooManyRules:
            return Fates(sets, Leaving(run, sets, found, entering).decided())
    entered = EntrySets(sets)
    watcher = Watcher(entered)
    Evaluator(run.program, entered, watcher).run(table, chain, entering)
    decided = Decided.apart(sets, entering, watcher.ended)
    return Fates(sets, decided, entered.written, watcher.writers, watcher.strange)


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one packet at one of the kernel's own chains, and by which rule."""

    place: Place
    ending: Ending
    leaving: Packet
    strange: frozenset[str]
    writers: tuple[tuple[str, Place], ...] = ()


def fate(program: Program, packet: Packet, table: str, chain: str, assume: dict[str, bool]) -> Fate:
    """The same of one packet, by a run over booleans."""
    algebra = OnePacket(packet, assume)
    watcher = Watcher(algebra)
    Evaluator(program, algebra, watcher).run(table, chain, True)
    place, ending = next(iter(watcher.ended), (RulePlace(table, chain, 0), Verdict.ACCEPT))
    writers = tuple((n, p) for n, held in watcher.writers.items() for p, last in held.items() if last)
    place = place or RulePlace(table, chain, 0)
    return Fate(place, ending, algebra.packet, frozenset(watcher.strange), writers)


def written_words(found: Fates, name: str, packets: Set) -> str:
    """What a field is left as in a set of packets, in words."""
    sets = found.sets
    own = sets.bits(name)
    other = {"mark": "connmark", "connmark": "mark"}.get(name)
    copied = sets.bits(other) if other is not None else own
    value = mask = kept = taken = 0
    for bit, entered, beside in zip(found.bits(name), own, copied, strict=True):
        value, mask, kept, taken = (each << 1 for each in (value, mask, kept, taken))
        if not (packets & (bit ^ entered)).satisfiable():
            kept |= 1
        elif not (packets & ~bit).satisfiable():
            value, mask = value | 1, mask | 1
        elif not (packets & bit).satisfiable():
            mask |= 1
        elif not (packets & (bit ^ beside)).satisfiable():
            taken |= 1
    whole = (1 << len(own)) - 1
    if kept == whole:
        return "as it came"
    if mask | kept == whole:
        text = State(value).name if name == "state" and mask == whole else f"{value:#x}"
        return text if mask == whole else f"{text}/{mask:#x}"
    if taken | kept == whole and taken:
        return f"from {other}" if taken == whole else f"from {other}/{taken:#x}"
    return "of several values"
