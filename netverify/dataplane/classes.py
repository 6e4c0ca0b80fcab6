"""Packets with another fate than before, sorted into classes that can be read.

A class has one fate before and one after. It is divided further by the rules that decided, as long as these
are few; where they are many, they go by their chains, but for rules that the edit itself removed or added,
which say most about it. So a removed isolation rule is one class, though the packets that it stopped are now
let through by five hundred rules of one chain.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass

from netverify.dataplane.change import RANK, Kind, kind_of, may_pass
from netverify.dataplane.condition import equals
from netverify.dataplane.decided import Decided, Decider
from netverify.dataplane.fates import Fates
from netverify.dataplane.program import Place
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Ending, Nat, Verdict

FEW = 6  # rules on a side that each get classes of their own
_MOST = 32  # groups on a side, from which on rules go by their chains, and translations by their kind

Deciders = tuple[Decider, ...]
"""The rules and policies that decided, and the endings that they gave."""


@dataclass
class PacketClass:
    """Packets of one kind of change, and the rules and endings on either side (all of those that are met)."""

    kind: Kind
    packets: Set
    old: Deciders
    new: Deciders
    writes: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()

    def order(self) -> tuple[int, tuple[str, ...]]:
        """Where it stands among others: newly open first."""
        return RANK[self.kind], tuple(str(place) for place, _ in (*self.old, *self.new))


class Classifier:
    """Sorts what changed at one of the kernel's own chains. `edited` are the edit's places on either side."""

    def __init__(
        self,
        sets: PacketSets,
        old: Fates,
        new: Fates,
        edited: tuple[Collection[Place], Collection[Place]],
    ) -> None:
        self.sets = sets
        self.old, self.new = old, new
        self._edited = edited

    def classes(self) -> Iterator[PacketClass]:
        """Every class; they are disjoint, and packets in none have the fate that they had."""
        sets = self.sets
        old, new = self.old.decided, self.new.decided
        same = old.same(new)
        yield from self._of_endings(old.otherwise(new), new.otherwise(old))
        written = sets.nothing
        for ending in old.endings & new.endings if self._written() else ():
            differently = self._differently_written(ending)
            written = written | (old.ending(ending) & new.ending(ending) & differently)
        yield from self._of_writing(written)
        yield from self._of_strangers(same & ~written)

    # --- other endings --------------------------------------------------------------------------------------

    def _of_endings(self, lost: Decided, gained: Decided) -> Iterator[PacketClass]:
        if self.sets.is_empty(lost.entering):
            return
        for old in _grouped(lost, self._edited[0]):
            for new in _grouped(gained, self._edited[1]):
                both = old.entering & new.entering
                if not self.sets.is_empty(both):
                    (_, before), (_, after) = next(iter(old)), next(iter(new))
                    yield self._class(kind_of(before, after), both, old, new)

    def _class(self, kind: Kind, packets: Set, old: Decided, new: Decided) -> PacketClass:
        strange = tuple(name for name, met in self._strangers() if (packets & met).satisfiable())
        olds, news = (tuple(each.within(packets)) for each in (old, new))
        return PacketClass(kind, packets, olds, news, strange=strange)

    # --- other writing --------------------------------------------------------------------------------------

    def _differing(self, name: str) -> Set:
        """The packets that leave with another value of a field."""
        made = self.sets.nothing
        for old, new in zip(self.old.bits(name), self.new.bits(name), strict=True):
            if old != new:
                made = made | (old ^ new)
        return made

    def _differently_written(self, ending: Ending) -> Set:
        """What is written into a packet that is stopped is lost with it; but a connection keeps its mark."""
        made = self.sets.nothing
        for name in self._written():
            differing = self._differing(name)
            if not may_pass(ending):
                if name != "connmark":
                    continue
                differing = differing & self.sets.satisfying(equals("tracked", 1))
            made = made | differing
        return made

    def _written(self) -> list[str]:
        return sorted({*self.old.written, *self.new.written})

    def _of_writing(self, packets: Set) -> Iterator[PacketClass]:
        """By the last rules that wrote the fields which differ, on either side."""
        parts: list[tuple[Set, tuple[str, ...], Deciders, Deciders]] = []
        if not self.sets.is_empty(packets):
            parts.append((packets, (), (), ()))
        for name in self._written():
            differing = self._differing(name)
            split = []
            for held, names, old, new in parts:
                split.append((held & ~differing, names, old, new))
                split += [
                    (part, (*names, name), _joined(old, before), _joined(new, after))
                    for part, before, after in self._by_writers(name, held & differing)
                ]
            parts = [each for each in split if not self.sets.is_empty(each[0])]
        for held, names, old, new in parts:
            ends = [tuple(fates.decided.within(held)) for fates in (self.old, self.new)]
            yield PacketClass(Kind.WRITTEN, held, old or ends[0], new or ends[1], writes=names)

    def _by_writers(self, name: str, packets: Set) -> Iterator[tuple[Set, Deciders, Deciders]]:
        for held, old in self._last(self.old, name, packets):
            for part, new in self._last(self.new, name, held):
                yield part, old, new

    def _last(self, fates: Fates, name: str, packets: Set) -> Iterator[tuple[Set, Deciders]]:
        left = packets
        writers = self._cut_writers(fates, name, packets)
        if len(writers) > _MOST:
            yield packets, tuple((place, Verdict.ACCEPT) for place in writers)
            return
        for place, held in writers.items():
            left = left & ~held
            yield held, ((place, Verdict.ACCEPT),)
        if left.satisfiable():
            yield left, ()

    def _cut_writers(self, fates: Fates, name: str, packets: Set) -> dict[Place, Set]:
        cut = {place: held & packets for place, held in fates.writers.get(name, {}).items()}
        return {place: held for place, held in cut.items() if held.satisfiable()}

    # --- what is not modelled -------------------------------------------------------------------------------

    def _of_strangers(self, packets: Set) -> Iterator[PacketClass]:
        """Packets that pass other targets which are not modelled, and else fare as before."""
        for name, differing in self._strangers():
            met = packets & differing
            if met.satisfiable():
                packets = packets & ~met
                ends = [tuple(fates.decided.within(met)) for fates in (self.old, self.new)]
                yield PacketClass(Kind.UNKNOWN, met, ends[0], ends[1], strange=(name,))

    def _strangers(self) -> Iterator[tuple[str, Set]]:
        """For each target that is not modelled, the packets that pass it in one of the rulesets alone."""
        nothing = self.sets.nothing
        for name in sorted({*self.old.strange, *self.new.strange}):
            old, new = (fates.strange.get(name, nothing) for fates in (self.old, self.new))
            yield name, old ^ new


def _joined(one: Deciders, other: Deciders) -> Deciders:
    return tuple(dict.fromkeys((*one, *other)))


def _grouped(decided: Decided, edited: Collection[Place]) -> list[Decided]:
    """What is decided of the packets that changed, by groups of rules (`_KEYS`)."""
    for key in _KEYS:
        names = [key(place, ending, edited) for place, ending in decided]
        if len(set(names)) <= (FEW if key is _alone else _MOST):
            break
    grouped: dict[Hashable, list[Decider]] = {}
    for name, decider in zip(names, decided, strict=True):
        grouped.setdefault(name, []).append(decider)
    return [decided.only(deciders) for deciders in grouped.values()]


_Key = Callable[[Place | None, Ending, Collection[Place]], Hashable]


def _alone(place: Place | None, ending: Ending, _edited: Collection[Place]) -> Hashable:
    return place, ending


def _by_edit(place: Place | None, ending: Ending, edited: Collection[Place]) -> Hashable:
    """Rules of the edit and policies each for itself, all others by their chain."""
    if place is None or place in edited:
        return place, ending
    return (place.table, place.chain, place.number == 0), ending


def _by_chain(place: Place | None, ending: Ending, _edited: Collection[Place]) -> Hashable:
    return place and (place.table, place.chain), ending


def _by_sort(_place: Place | None, ending: Ending, _edited: Collection[Place]) -> Hashable:
    return ending.kind if isinstance(ending, Nat) else ending


_KEYS: tuple[_Key, ...] = (_alone, _by_edit, _by_chain, _by_sort)
"""How rules are grouped: the first way that gives few enough groups is taken, or the last."""
