"""Which rules ended which packets, held so that thousands of rules that did cost little.

The packets of one rule are a `Piece` in two parts: all packets that came to the rule's chain, and a set that
says by the few fields that rules of this chain ask for which of them met the rule. The first part is one
(`Share`) for all rules of a chain; the second is a small diagram. They are put together for many rules at
once, and where the question is only whether a rule got any packets of some set, not at all: it did if the
small set has something in common with those packets of the share, as far as these fields say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as Set_
from dataclasses import dataclass

from netverify.dataplane.program import Place
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Ending

Decider = tuple[Place | None, Ending]
"""A rule or policy and the ending that it gave; None where rules are not told apart."""

_MANY = 8  # rules whose sets are better not put together


@dataclass(frozen=True, eq=False)
class Share:
    """Packets that came to a chain; `others` are the variables of all fields that do not matter there."""

    packets: Set
    others: Set | None = None

    def within(self, packets: Set) -> Share:
        """Those of some packets."""
        return Share(self.packets & packets, self.others)

    def short(self, everything: Set) -> Set:
        """The packets, of everything that there is, as far as the fields say that matter there."""
        return self.packets if self.others is None else self.packets.exists(self.others) & everything


Piece = tuple[Share, Set]
"""Packets of a share, by the fields that matter there."""


class Decided:
    """Whose packets rules and policies ended, in the order in which they first did; `entering` are all."""

    def __init__(self, sets: PacketSets, entering: Set, pieces: Mapping[Decider, list[Piece]]) -> None:
        self.sets = sets
        self.entering = entering
        self.pieces = pieces
        self._deciders: dict[Ending, list[Decider]] = {}
        for decider in pieces:
            self._deciders.setdefault(decider[1], []).append(decider)
        self._endings: dict[Ending, Set] = {}

    @classmethod
    def apart(cls, sets: PacketSets, entering: Set, ended: Mapping[Decider, Set]) -> Decided:
        """From the packets of each rule and policy."""
        share = Share(sets.true)
        return cls(sets, entering, {decider: [(share, packets)] for decider, packets in ended.items()})

    @property
    def endings(self) -> Set_[Ending]:
        """The endings that were given."""
        return self._deciders.keys()

    def __iter__(self) -> Iterator[Decider]:
        return iter(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    def of(self, deciders: Iterable[Decider]) -> Set:
        """The packets that some rules and policies ended."""
        shares: dict[Share, list[Set]] = {}
        for decider in deciders:
            for share, packets in self.pieces.get(decider, ()):
                shares.setdefault(share, []).append(packets)
        return self.sets.union([share.packets & self.sets.union(held) for share, held in shares.items()])

    def ending(self, ending: Ending) -> Set:
        """The packets that ended so: where most rules gave this ending, all but those of the others."""
        found = self._endings.get(ending)
        if found is None:
            own = self._deciders.get(ending, [])
            if len(own) > max(_MANY, len(self) - len(own)):
                others = [self.ending(other) for other in self._deciders if other != ending]
                found = self.entering & ~self.sets.union(others)
            else:
                found = self.of(own)
            self._endings[ending] = found
        return found

    def same(self, other: Decided) -> Set:
        """The packets that both end in the same way."""
        common = [ending for ending in self._deciders if ending in other._deciders]
        return self.sets.union([self.ending(ending) & other.ending(ending) for ending in common])

    def otherwise(self, other: Decided) -> Decided:
        """What is decided of the packets that the other ends otherwise.

        The packets of an ending that the other does not know are all among them, and need not be asked for.
        """
        found: dict[Decider, list[Piece]] = {}
        for ending, deciders in self._deciders.items():
            if ending not in other._deciders:
                found |= {decider: self.pieces[decider] for decider in deciders}
            else:
                found |= self._within(deciders, self.ending(ending) & ~other.ending(ending))
        in_order = {decider: found[decider] for decider in self.pieces if decider in found}
        return Decided(self.sets, self.entering & ~self.same(other), in_order)

    def only(self, deciders: Sequence[Decider]) -> Decided:
        """What some of its rules and policies decided."""
        if len(deciders) == len(self):
            return self
        return Decided(self.sets, self.of(deciders), {each: self.pieces[each] for each in deciders})

    def within(self, packets: Set) -> Decided:
        """What is decided of some of its packets."""
        if packets == self.entering:
            return self
        return Decided(self.sets, packets, self._within(list(self.pieces), packets))

    def _within(self, deciders: Iterable[Decider], packets: Set) -> dict[Decider, list[Piece]]:
        cut: dict[Share, tuple[Share, Set]] = {}
        found: dict[Decider, list[Piece]] = {}
        if not packets.satisfiable():
            return found
        for decider in deciders:
            for share, held in self.pieces[decider]:
                if share not in cut:
                    some = share.within(packets)
                    cut[share] = some, some.short(self.sets.everything)
                some, short = cut[share]
                if (held & short).satisfiable():
                    found.setdefault(decider, []).append((some, held))
        return found
