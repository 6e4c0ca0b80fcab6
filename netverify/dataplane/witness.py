"""Single packets that prove that a set is not empty, without making the set.

The intersection of large sets is dear, and often the question is only whether it has a member. A packet of
the smallest of them is then asked of the others, which takes one walk down each diagram. Where none of a few
packets is in all of them, nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from netverify.dataplane.fields import FIRST
from netverify.dataplane.sets import PacketSets, Set

TURNS, TRIES = 12, 8  # parts of the set, and packets of each


class Witnesses:
    """Draws packets, the same ones in every run."""

    def __init__(self, sets: PacketSets) -> None:
        self._sets = sets
        self._random = Random(0)

    def any_in(self, packets: Set, others: Iterable[Set]) -> bool:
        """Whether a packet was found that is in the first set and in all others; False says nothing."""
        if self._sets.is_empty(packets):
            return False
        held = list(others)
        if not held:
            return True
        for turn in range(TURNS):
            cube = (self._narrowed(packets) if turn else packets).pick_cube()
            if cube is None:
                return False
            for _ in range(TRIES):
                bits = self._random.getrandbits(len(cube))
                packet = [
                    (variable, bool(bits >> variable & 1) if value is None else value)
                    for variable, value in enumerate(cube)
                ]
                if all(members.eval(packet) for members in held):
                    return True
        return False

    def _narrowed(self, packets: Set) -> Set:
        """A part of a set, another one each time: some bits are as the dice say, where they may be so."""
        for field in FIRST:
            bits = self._sets.bits(field)
            for bit in self._random.sample(bits, min(2, len(bits))):
                part = packets & (bit if self._random.getrandbits(1) else ~bit)
                if not self._sets.is_empty(part):
                    packets = part
        return packets
