"""Sets of packets as they entered, while rules write into them: what each of them has become is kept aside.

`PacketSets` follows the packets themselves: where a mark is written, its sets are of packets with the new
mark, and two packets that came with different marks may leave as one. To compare rulesets, the question is
what becomes of a packet that came in, so here a set never changes: written fields are remembered as functions
of the packet that entered, one set for each bit, and a test is asked of them (a substitution in the diagram).
A packet is at one place of its walk at a time, so one function for each bit serves all packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netverify.dataplane.condition import Condition, equals
from netverify.dataplane.diagrams import Diagrams
from netverify.dataplane.packet import State
from netverify.dataplane.rewrite import Add, Bits, CopyBits, Rewrite, Then, Untrack
from netverify.dataplane.sets import PacketSets, Set


class EntrySets(Diagrams):
    """The algebra of one walk through chains that write into packets."""

    summarises = False

    def __init__(self, sets: PacketSets) -> None:
        self.sets = sets
        self.everything, self.nothing = sets.everything, sets.nothing
        self.written: dict[str, list[Set]] = {}
        """Each written field's bits, the most significant first: the packets that now have a one there."""
        self._seen: dict[Condition, Set] = {}

    def satisfying(self, condition: Condition) -> Set:
        """The packets for which a condition holds, as they are now."""
        if not self.written:
            return self.sets.satisfying(condition)
        known = self._seen.get(condition)
        if known is None:
            known = self._seen[condition] = self.now(self.sets.satisfying(condition))
        return known

    def rewritten(self, packets: Set, rewrite: Rewrite) -> Set:
        """The same packets; what is written into them is taken down."""
        if isinstance(rewrite, Then):
            for part in rewrite.parts:
                self.rewritten(packets, part)
        elif isinstance(rewrite, Untrack):
            untracked = Bits("state", 0b111, int(State.UNTRACKED))
            self._write(packets & ~self._tracked(), "state", self._after(untracked))
        elif isinstance(rewrite, Add):
            for which, bits in [(self.satisfying(when), bits) for when, bits in rewrite.cases()]:
                self._write(packets & which, rewrite.field, self._after(bits))
        else:
            of_connection = rewrite.field == "connmark" or isinstance(rewrite, CopyBits)
            written = packets & self._tracked() if of_connection else packets
            self._write(written, rewrite.field, self._after(rewrite))
        return packets

    def bits(self, field: str) -> list[Set]:
        """The bits of a field, the most significant first: the packets that now have a one there."""
        return self.written.get(field) or self.sets.bits(field)

    def now(self, packets: Set) -> Set:
        """Those that have become a packet of the set by now."""
        pairs = [
            (variable, now)
            for field, bits in self.written.items()
            for variable, own, now in zip(
                self.sets.variables(field), self.sets.bits(field), bits, strict=True
            )
            if own != now
        ]
        return packets.substitute(Set.make_substitution(pairs)) if pairs else packets

    def _tracked(self) -> Set:
        return self.satisfying(equals("tracked", 1))

    def _write(self, packets: Set, field: str, after: list[Set]) -> None:
        self.written[field] = [
            old if old == new else packets.ite(new, old)
            for old, new in zip(self.bits(field), after, strict=True)
        ]
        self._seen.clear()

    def _after(self, rewrite: Bits | CopyBits) -> list[Set]:
        """The bits of the field, were every packet written."""
        size = len(self.bits(rewrite.field))
        origin = self.bits(rewrite.origin) if isinstance(rewrite, CopyBits) else []
        made = []
        for index, bit in enumerate(self.bits(rewrite.field)):
            number = size - 1 - index  # of the bit, from the lowest
            kept = self.nothing if rewrite.clear >> number & 1 else bit
            if isinstance(rewrite, Bits):
                made.append(~kept if rewrite.value >> number & 1 else kept)
                continue
            start = number - rewrite.shift
            copied = 0 <= start < len(origin) and rewrite.mask >> start & 1
            made.append(kept ^ origin[len(origin) - 1 - start] if copied else kept)
        return made


def fields_of(rewrite: Rewrite) -> Iterator[str]:
    """The fields that a rewriting writes."""
    if isinstance(rewrite, Then):
        yield from (part.field for part in rewrite.parts)
    else:
        yield rewrite.field


def forget(sets: PacketSets, packets: Set, fields: Iterable[str]) -> Set:
    """The packets that differ from one of a set in nothing but these fields."""
    known = sorted(set(fields) & set(sets.fields))
    return packets.exists(sets.cube(*known)) & sets.everything if known else packets
