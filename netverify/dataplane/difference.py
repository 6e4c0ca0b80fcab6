"""What a change of rules changes: the packets whose fate is another one, in classes, newly open first.

Each of the kernel's own chains is compared by itself, for every packet that could come to it: "filter FORWARD
dropped these and now accepts them". Sets are of packets as they entered that chain, also where rules write
into them (`entry`), so marks and other written fields are compared packet by packet. Two rulesets are
equivalent exactly when no class is found.

Only packets that the edit can affect are looked at (`affected`), and those are followed rule by rule; what is
not affected costs nothing but finding that out. Each example is run through both rulesets as a single packet,
and must meet the fates of its class: sets and single packets check each other every time.

What is not seen: rules that log or count (LOG, NFLOG, TRACE) change no packet, and a difference in them is
none. A chain of nat is compared for packets that are asked there, the first of a connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from netverify.dataplane.affected import Affected
from netverify.dataplane.alignment import Edit, align
from netverify.dataplane.change import RANK, Change, Kind, Side
from netverify.dataplane.change import ending_words as words
from netverify.dataplane.classes import Classifier, PacketClass
from netverify.dataplane.decided import Decider
from netverify.dataplane.describe import describe
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.examples import Examples
from netverify.dataplane.fates import Fate, Fates, fate, fates, written_words
from netverify.dataplane.onward import Onward
from netverify.dataplane.ordering import order_for
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import Place, Program
from netverify.dataplane.segments import called_by
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.starts import starts
from netverify.dataplane.targets import Verdict
from netverify.ruleset import RulePlace
from netverify.ruleset.vocabulary import BUILTIN_CHAINS

__all__ = ["Change", "Difference", "Kind", "Side", "compare", "words"]

SHOWN = 64
"""Classes that are worked out unless another number is asked for."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The classes of packets with another fate, newly open first; `more` is how many there are besides.

    `opens` says whether some packet that can get there passes now and did not before, also among those that
    are not shown; where that cannot be told it says so as well. `unsettled` are chains (table and name) in
    which targets that are not modelled were changed.
    """

    version: int
    changes: tuple[Change, ...] = ()
    more: int = 0
    opens: bool = False
    unsettled: tuple[tuple[str, str], ...] = ()

    @property
    def is_equivalent(self) -> bool:
        """Whether it is certain that no packet notices the change."""
        return not self.changes

    def as_facts(self) -> dict[str, Any]:
        """The difference for JSON."""
        return {
            "family": self.version,
            "equivalent": self.is_equivalent,
            "opens": self.opens,
            "changes": [change.as_facts() for change in self.changes],
            "more": self.more,
            "unsettled": [list(chain) for chain in self.unsettled],
        }


def compare(old: Program, new: Program, *, sets: PacketSets | None = None, most: int = SHOWN) -> Difference:
    """Compare two rulesets of one IP version: everything, with at most `most` classes worked out.

    `sets` must know the devices of both; over the same sets a second comparison of an edited ruleset is much
    quicker than the first. Raises DataplaneError where the two are of different families, where `sets` does
    not know a device, and if sets and single packets disagree, which would be a defect of netverify.
    """
    return Comparison(old, new, sets=sets).difference(most)


_HIDDEN = {"nat": (("state", ((1, 1), (3, 3))),)}
"""Ranges that go without saying in a table: nat is asked about packets that begin a connection."""


class Comparison:
    """Two rulesets side by side."""

    def __init__(self, old: Program, new: Program, *, sets: PacketSets | None = None) -> None:
        if old.ruleset.family != new.ruleset.family:
            raise DataplaneError(
                f"an {old.ruleset.family} and an {new.ruleset.family} ruleset: only rulesets of one family "
                "can be compared"
            )
        self.sets = sets if sets is not None else sets_for(old, new)
        self.old = old
        self.new, self.edits = align(old, new)
        if sets is not None:
            _check_devices(sets, self.old, self.new, self.edits)
        self._runs = Evaluator(self.old, self.sets), Evaluator(self.new, self.sets)
        self._runs[1].segments().like(self._runs[0].segments(), self._touched())
        self._onward = tuple(Onward(run, self.sets) for run in self._runs)
        self._affected = Affected(*self._runs, self.edits, self.sets)
        self._examples = Examples(self.sets, self.old, self.new)
        self._starts = {**starts(self.old), **starts(self.new)}

    def difference(self, most: int = SHOWN) -> Difference:
        """Everything that changed."""
        found: list[tuple[tuple[str, str], Fates, Fates, PacketClass]] = []
        edited = self._edited()
        for where in self._bases():
            both = self.fates(*where)
            if both is not None:
                found += ((where, *both, each) for each in Classifier(self.sets, *both, edited).classes())
        found.sort(key=lambda each: each[3].order())
        changes = [self._change(*each) for each in found[:most]]
        opens = any(change.opens for change in changes)
        opens = opens or any(self._opens(where, each) for where, _, _, each in found[most:])
        changes.sort(key=lambda change: (RANK[change.kind], not change.opens))
        unsettled = dict.fromkeys(where for where, _, _, each in found if each.strange)
        return Difference(
            self.sets.version, tuple(changes), len(found) - len(changes), opens, tuple(unsettled)
        )

    def fates(self, table: str, chain: str) -> tuple[Fates, Fates] | None:
        """What both do to the packets that the edit can affect at one of the kernel's own chains."""
        packets = self._affected.entering((table, chain), self._starts[table, chain])
        if self.sets.is_empty(packets):
            return None
        plain = self._affected.is_plain(table, chain)
        old, new = (fates(run, self.sets, table, chain, packets, plain=plain) for run in self._runs)
        return old, new

    def _bases(self) -> Iterator[tuple[str, str]]:
        """The chains that the kernel calls, tables in their usual order."""
        order = [(table, chain) for table, chains in BUILTIN_CHAINS.items() for chain in chains]
        usual = {where: number for number, where in enumerate(order)}
        yield from sorted(self._starts, key=lambda where: (usual.get(where, len(order)), where))

    def _touched(self) -> set[tuple[str, str]]:
        """The chains that were edited, and those from which one can come to an edited chain."""
        callers: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for program in (self.old, self.new):
            for where, chain in program.chains.items():
                for name in called_by(program, chain):
                    callers.setdefault((where[0], name), []).append(where)
        found = set(self.edits)
        waiting = list(found)
        while waiting:
            more = set(callers.get(waiting.pop(), ())) - found
            found |= more
            waiting += more
        return found

    def _edited(self) -> tuple[set[Place], set[Place]]:
        """The places of rules that one side alone has, and of policies that differ."""
        found: tuple[set[Place], set[Place]] = set(), set()
        for where, edit in self.edits.items():
            for side, (program, indices) in enumerate(((self.old, edit.removed), (self.new, edit.added))):
                chain = program.chain(*where)
                if chain is not None:
                    found[side].update(chain.rules[index].place for index in indices)
        for where in self._bases():
            chains = [program.chain(*where) for program in (self.old, self.new)]
            policies = {Verdict.ACCEPT if chain is None else chain.policy for chain in chains}
            if len(policies) > 1:
                for side, chain in enumerate(chains):
                    found[side].add(RulePlace(*where, 0) if chain is None else chain.policy_place)
        return found

    # --- one class ------------------------------------------------------------------------------------------

    def _change(self, where: tuple[str, str], old: Fates, new: Fates, each: PacketClass) -> Change:
        packet, assumed = self._examples.of(each.packets)
        assume = {**self._examples.usual(), **assumed}
        ones = [fate(program, packet, *where, assume) for program in (self.old, self.new)]
        for one, many, program in zip(ones, (old, new), (self.old, self.new), strict=True):
            self._confirm(packet, assume, one, many, program)
        sides = [
            self._side(one, deciders, many, program, each)
            for one, deciders, many, program in zip(
                ones, (each.old, each.new), (old, new), (self.old, self.new), strict=True
            )
        ]
        reaches, continues = self._way(where, each, packet)
        return Change(
            *where,
            each.kind,
            sides[0],
            sides[1],
            packet,
            describe(self.sets, each.packets, hidden=_HIDDEN.get(where[0], ())),
            tuple(sorted(assumed.items())),
            reaches,
            continues,
            self._opens(where, each),
            each.packets,
        )

    def _side(
        self,
        one: Fate,
        deciders: Sequence[Decider],
        many: Fates,
        program: Program,
        each: PacketClass,
    ) -> Side:
        place = one.place
        for name, writer in one.writers:
            if name in each.writes:
                place = writer
        endings = {ending for _, ending in deciders} if not each.writes else {one.ending}
        return Side(
            one.ending,
            place,
            rule_text(program, place),
            len(endings),
            len({held for held, _ in deciders if held is not None}),
            tuple((name, written_words(many, name, each.packets)) for name in each.writes),
            tuple(name for name in each.strange if name in one.strange),
        )

    def _confirm(
        self, packet: Packet, assume: dict[str, bool], one: Fate, many: Fates, program: Program
    ) -> None:
        """Hold the sets against the run of the single packet."""
        known = [
            each for each in ((one.place, one.ending), (None, one.ending)) if each in many.decided.pieces
        ]
        if not self.sets.contains(many.decided.of(known[:1]), packet, assume):
            raise DataplaneError(
                f"host {program.host.name}: for all packets at once, {packet} does not end at {one.place} by "
                f"{words(one.ending)}, as it does alone: this is a defect of netverify"
            )
        for name in many.written:
            bits = [self.sets.contains(bit, packet, assume) for bit in many.bits(name)]
            left = self.sets.number(name, getattr(one.leaving, name))
            if left != int("".join("01"[bit] for bit in bits), 2):
                raise DataplaneError(
                    f"host {program.host.name}: for all packets at once, {packet} leaves {one.place} with "
                    f"another {name} than alone, {left:#x}: this is a defect of netverify"
                )

    # --- the way before and after ---------------------------------------------------------------------------

    def _way(self, where: tuple[str, str], each: PacketClass, packet: Packet) -> tuple[bool, bool]:
        """Whether packets of a class come to the chain, and past all that follows, where they pass it."""
        reaches = continues = False
        for side in {Kind.OPENED: (1,), Kind.CLOSED: (0,)}.get(each.kind, (1, 0)):
            if not (reaches and continues):
                way = self._onward[side].way(*where, each.packets, packet)
                reaches, continues = reaches or way[0], continues or way[1]
        return reaches, continues

    def _opens(self, where: tuple[str, str], each: PacketClass) -> bool:
        """Whether packets of a class may pass now that did not."""
        if each.kind is Kind.UNKNOWN or (each.kind is Kind.REFUSED and each.strange):
            return self._onward[1].way(*where, each.packets)[0]
        if each.kind in (Kind.CLOSED, Kind.REFUSED):
            return False
        if each.kind is Kind.WRITTEN and not self._matters(each):
            return False
        if each.kind is Kind.TRANSLATED and where[1] not in ("PREROUTING", "OUTPUT"):
            return False
        reaches, continues = self._onward[1].way(*where, each.packets)
        return reaches and continues

    def _matters(self, each: PacketClass) -> bool:
        """Whether anything asks for the fields that are written otherwise: a rule, routing, the kernel."""
        return any(onward.asks(name) for onward in self._onward for name in each.writes)


def sets_for(*programs: Program) -> PacketSets:
    """Packet sets that know every device of these programs' hosts, and every one that a rule names."""
    devices = {link.name for program in programs for link in program.host.links}
    devices |= {name for program in programs for name in program.devices()}
    version = 4 if programs[0].ruleset.family == "ipv4" else 6
    return PacketSets(version, devices, order=order_for(programs))


_checked: WeakKeyDictionary[PacketSets, list[ReferenceType[Program]]] = WeakKeyDictionary()
"""The programs of which it is known that some sets know all of their devices."""


def _check_devices(
    sets: PacketSets, old: Program, new: Program, edits: Mapping[tuple[str, str], Edit]
) -> None:
    named = _added_devices(new, edits)
    checked = _checked.setdefault(sets, [])
    if not any(held() is old for held in checked):
        named |= old.devices()
    links = {link.name for program in (old, new) for link in program.host.links}
    missing = (named | links) - set(sets.devices)
    if missing:
        raise DataplaneError(
            f"host {new.host.name}: the packet sets do not know {', '.join(sorted(missing))}; "
            "make them of both programs"
        )
    checked[:] = [*(held for held in checked if held() is not None and held() is not old), ref(old)]


def _added_devices(new: Program, edits: Mapping[tuple[str, str], Edit]) -> frozenset[str]:
    """The devices that added rules name."""
    chains = {
        where: replace(chain, rules=tuple(chain.rules[index] for index in edit.added))
        for where, edit in edits.items()
        if (chain := new.chain(*where)) is not None
    }
    return replace(new, chains=chains).devices()


def rule_text(program: Program, place: Place) -> str:
    """A rule, or a policy, in the words of its file."""
    if place.number:
        for where, chain in program.chains.items():
            if where[1] == place.chain and chain.rules:
                for rule in chain.rules:
                    if rule.place == place:
                        return str(rule.rule)
    chain_found = program.chain(place.table, place.chain)
    policy = Verdict.ACCEPT if chain_found is None else chain_found.policy
    return f"policy {policy.value}" if chain_found is not None else "no such chain: everything passes"
