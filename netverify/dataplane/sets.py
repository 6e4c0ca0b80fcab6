"""Sets of packets, as binary decision diagrams: the algebra that answers for all packets at once.

How fields become variables stands in `encoding`, how a set is read in `readout`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from oxidd.bcdd import BCDDFunction

from netverify.dataplane import readout
from netverify.dataplane.condition import Condition, Named, equals
from netverify.dataplane.diagrams import Diagrams, Set
from netverify.dataplane.encoding import CAPACITY, LARGEST, OTHER, Encoding, with_room
from netverify.dataplane.fields import FIRST
from netverify.dataplane.ordering import order_for
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.program import Program
from netverify.dataplane.readout import Box
from netverify.dataplane.rewrite import Add, Bits, CopyBits, Rewrite, Then, Untrack

__all__ = ["CAPACITY", "LARGEST", "OTHER", "Box", "PacketSets", "Set", "named_devices", "with_room"]


class PacketSets(Encoding, Diagrams):
    """All packets of one IP version on one host, and every subset of them."""

    summarises = True

    def __init__(
        self,
        version: int,
        devices: Iterable[str],
        *,
        others: bool = True,
        capacity: int = CAPACITY,
        order: Sequence[str] = FIRST,
    ) -> None:
        super().__init__(version, devices, others=others, capacity=capacity)
        self.order = tuple(order)
        valid = self.true
        for field in self.order:
            valid = valid & self.valid(field)
        self.everything: Set = valid

    @classmethod
    def of(cls, *programs: Program, others: bool = True, capacity: int = CAPACITY) -> PacketSets:
        """The packets that the host of these programs can meet, with every device that a rule names.

        Without `others`, only those of the host's own devices.
        """
        first = programs[0]
        devices = {link.name for link in first.host.links}
        if others:
            devices |= {name for program in programs for name in named_devices(program)}
        version = 4 if first.ruleset.family == "ipv4" else 6
        return cls(version, devices, others=others, capacity=capacity, order=order_for(programs))

    # --- the algebra ----------------------------------------------------------------------------------------

    def rewritten(self, packets: Set, rewrite: Rewrite) -> Set:
        """What becomes of the packets: the image of the set."""
        if isinstance(rewrite, Then):
            for part in rewrite.parts:
                packets = self.rewritten(packets, part)
            return packets
        if isinstance(rewrite, Add):
            cases = [(packets & self.satisfying(when), bits) for when, bits in rewrite.cases()]
            return self.union([self._write(some, bits) for some, bits in cases if some.satisfiable()])
        tracked = self.satisfying(equals("tracked", 1))
        if isinstance(rewrite, Untrack):
            untracked = Bits("state", 0b111, int(State.UNTRACKED))
            return (packets & tracked) | self._write(packets & ~tracked, untracked)
        if isinstance(rewrite, CopyBits):
            return (packets & ~tracked) | self._copy(packets & tracked, rewrite)
        if rewrite.field != "connmark":
            return self._write(packets, rewrite)
        return (packets & ~tracked) | self._write(packets & tracked, rewrite)

    def entering(self, chain: str) -> Set:
        """What can come to one of the kernel's own chains: FORWARD has both devices, INPUT only the first.

        POSTROUTING sees where a forwarded packet came in (net/ipv4/ip_output.c since Linux 5.7).
        """
        made = self.everything
        for field, chains in (
            ("in_interface", ("PREROUTING", "INPUT", "FORWARD")),
            ("out_interface", ("FORWARD", "OUTPUT", "POSTROUTING")),
        ):
            if (field, chain) != ("in_interface", "POSTROUTING"):
                none = self.satisfying(Named(field, ""))
                made = made & (~none if chain in chains else none)
        return made

    def union(self, sets: Sequence[Set]) -> Set:
        """The packets of any of the sets, joined by halves."""
        if len(sets) <= 2:
            return self.nothing if not sets else sets[0] if len(sets) == 1 else sets[0] | sets[1]
        middle = len(sets) // 2
        return self.union(sets[:middle]) | self.union(sets[middle:])

    # --- single packets, and reading out --------------------------------------------------------------------

    def contains(self, packets: Set, packet: Packet, assume: dict[str, bool] | None = None) -> bool:
        """Whether a packet is in a set; unknowns are false unless `assume` says otherwise."""
        return packets.eval(self.assignment(packet, assume))

    def assignment(self, packet: Packet, assume: Mapping[str, bool] | None = None) -> list[tuple[int, bool]]:
        """A packet, and values of unknowns, as values of all variables; what nobody says is false."""
        values = dict.fromkeys(range(self._manager.num_vars()), False)
        for field, variables in self._variables.items():
            number = self.number(field, getattr(packet, field, 0))
            for index, variable in enumerate(reversed(variables)):
                values[variable] = bool(number >> index & 1)
        for name, variable in self.unknowns.items():
            values[variable] = (assume or {}).get(name, False)
        return list(values.items())

    def example(self, packets: Set, prefer: Sequence[Condition] = ()) -> Packet | None:
        """A packet of the set, one that people recognise where there is one; None for the empty set.

        `prefer` is asked for first, each only as far as the set allows.
        """
        return readout.example(self, packets, prefer)

    def singleton(self, packet: Packet) -> Set:
        """The set of one packet, as far as its fields have been asked for; unknowns are left open."""
        made = self.true
        for field, bits in self._bits.items():
            if not hasattr(packet, field):
                continue
            number = self.number(field, getattr(packet, field))
            for index, bit in enumerate(reversed(bits)):
                made = made & (bit if number >> index & 1 else ~bit)
        return made

    def assumptions(self, packets: Set) -> dict[str, bool]:
        """Unknowns that matter to a set, with values under which it is not empty."""
        cube = packets.pick_cube()
        chosen = {} if cube is None else {n: cube[v] for n, v in self.unknowns.items()}
        return {name: value for name, value in chosen.items() if value is not None}

    def surely(self, packets: Set) -> Set:
        """The packets that are in the set whatever the unknowns say."""
        return packets.forall(self._unknown_cube()) if self.unknowns else packets

    def possibly(self, packets: Set) -> Set:
        """The packets that are in the set for some values of the unknowns."""
        return packets.exists(self._unknown_cube()) if self.unknowns else packets

    def boxes(self, packets: Set, fields: Sequence[str] = FIRST) -> Iterator[Box]:
        """The set as disjoint products of ranges over `fields`; what other fields say is left out.

        `fields` are some of `FIRST`; the ranges come in the order of these sets.
        """
        chosen = [field for field in self.order if field in fields]
        others = [field for field in self._bits if field not in chosen]
        packets = self.possibly(packets.exists(self.cube(*others))) if others else self.possibly(packets)
        yield from readout.boxes(self, packets, chosen)

    def _unknown_cube(self) -> Set:
        return self.cube_of([self._manager.var(variable) for variable in self.unknowns.values()])

    # --- writing --------------------------------------------------------------------------------------------

    def _write(self, packets: Set, rewrite: Bits) -> Set:
        bits = self.bits(rewrite.field)
        for index, bit in enumerate(reversed(bits)):
            value = rewrite.value >> index & 1
            if rewrite.clear >> index & 1:
                packets = packets.exists(bit) & (bit if value else ~bit)
            elif value:
                packets = self._substituted(packets, rewrite.field, len(bits) - 1 - index, ~bit)
        return packets

    def _copy(self, packets: Set, rewrite: CopyBits) -> Set:
        """Bit by bit, in such an order that a field shifted within itself is read before it is lost."""
        bits, origin = self.bits(rewrite.field)[::-1], self.bits(rewrite.origin)[::-1]
        order = range(len(bits)) if rewrite.shift < 0 else reversed(range(len(bits)))
        for index in order:
            start, bit = index - rewrite.shift, bits[index]
            copied = 0 <= start < len(origin) and rewrite.mask >> start & 1
            if rewrite.clear >> index & 1:
                same = copied and rewrite.field == rewrite.origin and not rewrite.shift
                if not same:
                    packets = packets.exists(bit) & (~(bit ^ origin[start]) if copied else ~bit)
            elif copied:
                by = bit ^ origin[start]
                packets = self._substituted(packets, rewrite.field, len(bits) - 1 - index, by)
        return packets

    def _substituted(self, packets: Set, field: str, index: int, by: Set) -> Set:
        variable = self.variables(field)[index]
        return packets.substitute(BCDDFunction.make_substitution([(variable, by)]))


def named_devices(program: Program) -> Iterator[str]:
    """Every device that a rule names; for `eth+`, a stand-in for all devices that begin so."""
    for _place, rule in program.ruleset.rules():
        for match in rule.matches:
            for option in match.options:
                if option.name in ("in-interface", "out-interface", "physdev-in", "physdev-out"):
                    yield option.value
