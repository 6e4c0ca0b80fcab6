"""What a change of rules changes: the packets whose fate is another one, in classes, newly open first.

Each of the kernel's own chains is compared by itself, for every packet that could reach it: "filter FORWARD
dropped these and now accepts them". Two rulesets are equivalent exactly when no class is found and nothing is
left unsettled.
"""

from __future__ import annotations

from dataclasses import dataclass

from netverify.dataplane.evaluator import Evaluator, Exits
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import Program
from netverify.dataplane.reach import deciding_rule
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Ending, Nat, Reject, Verdict
from netverify.ruleset import RulePlace
from netverify.ruleset.vocabulary import BUILTIN_CHAINS


@dataclass(frozen=True, slots=True)
class Change:
    """One class of packets with a new fate: an example, and the rule that decides it before and after.

    `assumed` are values of unknowns with which the example's fate changes.
    """

    table: str
    chain: str
    before: Ending
    after: Ending
    example: Packet
    old_place: RulePlace
    new_place: RulePlace
    assumed: tuple[tuple[str, bool], ...] = ()

    @property
    def opens(self) -> bool:
        """Whether packets pass now that did not."""
        return not _passes(self.before) and _passes(self.after)

    def __str__(self) -> str:
        devices = f" ({self.example.in_interface or '-'} -> {self.example.out_interface or '-'})"
        return (
            f"{self.table} {self.chain}: {words(self.before)} -> {words(self.after)}: for example "
            f"{self.example}{devices}; before {self.old_place}, after {self.new_place}"
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """Every change; `unsettled` are chains that write into packets and are not equal as written.

    Their sets show packets as they leave, not as they came, so that they cannot be compared class by class.
    """

    changes: tuple[Change, ...]
    unsettled: tuple[tuple[str, str], ...] = ()

    @property
    def opens(self) -> bool:
        """Whether anything passes now that did not."""
        return any(change.opens for change in self.changes)

    @property
    def is_equivalent(self) -> bool:
        """Whether it is certain that no packet notices the change."""
        return not self.changes and not self.unsettled


def compare(old: Program, new: Program, *, sets: PacketSets | None = None) -> Difference:
    """Compare two rulesets of one family on one host. `sets` must know the devices of both."""
    sets = sets or PacketSets.of(old, new)
    changes: list[Change] = []
    unsettled: list[tuple[str, str]] = []
    runs = Evaluator(old, sets), Evaluator(new, sets)
    for table, chains in BUILTIN_CHAINS.items():
        for chain in chains:
            held = old.chain(table, chain), new.chain(table, chain)
            if any(each is not None and each.rewrites for each in held):
                if not _same_words(old, new, table):
                    unsettled.append((table, chain))
                continue
            if any(held):
                before, after = (run.run(table, chain, sets.entering(chain)) for run in runs)
                changes += _changes(old, new, sets, (table, chain), before, after)
    changes.sort(key=lambda change: not change.opens)
    return Difference(tuple(changes), tuple(unsettled))


def _changes(
    old: Program,
    new: Program,
    sets: PacketSets,
    where: tuple[str, str],
    before: Exits[Set],
    after: Exits[Set],
) -> list[Change]:
    found = []
    for was, packets in before.items():
        moved = sets.without(packets, after.get(was, sets.nothing))
        if sets.is_empty(moved):
            continue
        for now, others in after.items():
            both = sets.both(moved, others) if now != was else sets.nothing
            example = sets.example(both)
            if example is not None:
                assumed = sets.assumptions(sets.both(both, sets.singleton(example)))
                first, second = (deciding_rule(each, example, *where, assumed) for each in (old, new))
                found.append(Change(*where, was, now, example, first, second, tuple(sorted(assumed.items()))))
    return found


def _same_words(old: Program, new: Program, table: str) -> bool:
    if not (old.ruleset.has_table(table) and new.ruleset.has_table(table)):
        return False
    return old.ruleset.table(table) == new.ruleset.table(table)


def _passes(ending: Ending) -> bool:
    return ending in (Verdict.ACCEPT, Verdict.QUEUE) or isinstance(ending, Nat)


def words(ending: Ending) -> str:
    """An ending as people write it."""
    if isinstance(ending, Reject):
        return f"REJECT with {ending.words}"
    if isinstance(ending, Nat):
        return ending.kind.value
    return ending.value
