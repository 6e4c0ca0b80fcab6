"""Chains that many rules call, each for the packets of one device: what they do, by halves of the devices.

What Docker's FORWARD sends to a chain of all published ports, it sends device by device. To cut the whole
chain's sets for each of hundreds of devices asks every time for everything that stands above the outgoing
device in the diagrams, and that is much where rules tell the incoming devices apart. Cut in halves first, bit
by bit of the device's number, those parts are soon alike, and each half is cut once for all devices in it.
"""

from __future__ import annotations

from netverify.dataplane.diagrams import Set
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.program import CompiledRule, Program
from netverify.dataplane.segments import Exits
from netverify.dataplane.sets import PacketSets

LARGE = 2048
"""Nodes of a chain's sets from which on this pays."""
_FIELD = "out_interface"
_Summary = tuple[Exits[Set], Set]


class Caller(Evaluator[Set]):
    """Runs chains like any evaluator, to the same result."""

    def __init__(self, program: Program, sets: PacketSets) -> None:
        super().__init__(program, sets)
        self._sets = sets
        self._parts: dict[int, _Parts] = {}

    def _tested(self, rule: CompiledRule, entering: Set) -> tuple[Set, int]:
        # What rules before have left is asked once for all tests: these are small, and it is not.
        passing = self._sets.true
        for test in rule.tests:
            passing = passing & self._sets.satisfying(test.condition)
        matched = entering & passing
        return matched, -1 if matched.satisfiable() else 0

    def _cut(self, summary: _Summary, entering: Set) -> Exits[Set]:
        parts = self._parts.get(id(summary))
        if parts is None:
            parts = self._parts[id(summary)] = _Parts(self._sets, summary)
        return super()._cut(parts.for_device(entering), entering)


class _Parts:
    """One chain's sets, and what is left of them for the devices whose numbers begin with some bits."""

    def __init__(self, sets: PacketSets, summary: _Summary) -> None:
        self._sets, self._whole = sets, summary  # holding it keeps its number its own
        exits, left = summary
        self._is_large = sum(packets.node_count() for packets in (*exits.values(), left)) >= LARGE
        self._known: dict[tuple[bool, ...], _Summary] = {}

    def for_device(self, entering: Set) -> _Summary:
        """A part that holds all that some packets do; if these leave by one device, a small one."""
        bits = self._device(entering) if self._is_large else ()
        part = self._whole
        for depth, bit in enumerate(self._sets.bits(_FIELD)[: len(bits)]):
            prefix = bits[: depth + 1]
            if prefix not in self._known:
                half = bit if bits[depth] else ~bit
                exits, left = part
                self._known[prefix] = {end: some & half for end, some in exits.items()}, left & half
            part = self._known[prefix]
        return part

    def _device(self, entering: Set) -> tuple[bool, ...]:
        """The bits of the device by which all of some packets leave; none if they leave by several."""
        some = entering.pick_cube()
        if some is None:
            return ()
        bits = tuple(bool(some[variable]) for variable in self._sets.variables(_FIELD))
        only = self._sets.true
        for bit, one in zip(reversed(self._sets.bits(_FIELD)), reversed(bits), strict=True):
            only = (bit if one else ~bit) & only
        return () if (entering & ~only).satisfiable() else bits
