"""Sets of packets, as binary decision diagrams: the algebra that answers for all packets at once.

Each field is a row of Boolean variables (`fields`), each unknown a variable of its own. The diagrams are
oxidd's, with complement edges, so that "not" costs nothing. Sets of two `PacketSets` must never meet: the
library ends the process then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from oxidd.bcdd import BCDDFunction, BCDDManager

from netverify.dataplane.condition import (
    All,
    Condition,
    Masked,
    Named,
    Not,
    Unknown,
    Within,
    equals,
)
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.fields import FIRST, MARKS, NAMES, encoded, width
from netverify.dataplane.packet import ICMP, ICMPV6, TCP, UDP, Packet, State
from netverify.dataplane.program import Program
from netverify.dataplane.rewrite import Bits, CopyBits, Rewrite

Set = BCDDFunction

CAPACITY = 1 << 26
"""Nodes that there is room for. They take address space only, but the library cannot grow them later."""
_CACHE = 1 << 20  # remembered results of operations
OTHER = "(another device)"
"""Stands for every device that neither the host nor a rule names."""


@dataclass(frozen=True, slots=True)
class Box:
    """A product of ranges, by the fields' names; a field that is not there has any value."""

    fields: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]


class PacketSets:
    """All packets of one IP version on one host, and every subset of them."""

    summarises = True

    def __init__(
        self, version: int, devices: Iterable[str], *, others: bool = True, capacity: int = CAPACITY
    ) -> None:
        self.version = version
        self.devices = ["", *sorted(set(devices) - {""}), *([OTHER] if others else [])]
        self._codes = {name: code for code, name in enumerate(self.devices)}
        self._manager = BCDDManager(capacity, max(1 << 14, min(_CACHE, capacity >> 3)), 1)
        self._bits: dict[str, list[Set]] = {}
        self._variables: dict[str, list[int]] = {}  # of each field, most significant bit first
        self.unknowns: dict[str, int] = {}
        self._conditions: dict[Condition, Set] = {}
        self.nothing: Set = self._manager.false()
        self.everything: Set = self._manager.true()
        valid = self.everything
        for field in FIRST:
            valid = valid & self._valid(field)
        self.everything = valid

    @classmethod
    def of(cls, *programs: Program, others: bool = True, capacity: int = CAPACITY) -> PacketSets:
        """The packets that the host of these programs can meet, with every device that a rule names.

        Without `others`, only those of the host's own devices.
        """
        first = programs[0]
        devices = {link.name for link in first.host.links}
        if others:
            devices |= {name for program in programs for name in _named(program)}
        return cls(4 if first.ruleset.family == "ipv4" else 6, devices, others=others, capacity=capacity)

    # --- the algebra ----------------------------------------------------------------------------------------

    def both(self, left: Set, right: Set) -> Set:
        """The packets in both."""
        return left & right

    def either(self, left: Set, right: Set) -> Set:
        """The packets in one of the two."""
        return left | right

    def without(self, left: Set, right: Set) -> Set:
        """The packets of the first that are not in the second."""
        return left & ~right

    def is_empty(self, packets: Set) -> bool:
        """Whether no packet is in the set."""
        return not packets.satisfiable()

    def satisfying(self, condition: Condition) -> Set:
        """The packets for which a condition holds."""
        known = self._conditions.get(condition)
        if known is None:
            known = self._conditions[condition] = self._made(condition)
        return known

    def rewritten(self, packets: Set, rewrite: Rewrite) -> Set:
        """What becomes of the packets: the image of the set."""
        if isinstance(rewrite, Bits):
            if rewrite.field != "connmark":
                return self._write(packets, rewrite)
            tracked = self.satisfying(equals("tracked", 1))
            return (packets & ~tracked) | self._write(packets & tracked, rewrite)
        if isinstance(rewrite, CopyBits):
            tracked = self.satisfying(equals("tracked", 1))
            return (packets & ~tracked) | self._copy(packets & tracked, rewrite)
        return self._write(packets, Bits("state", 0b111, int(State.UNTRACKED)))

    def entering(self, chain: str) -> Set:
        """What can come to one of the kernel's own chains: FORWARD has both devices, INPUT only the first."""
        made = self.everything
        for field, chains in (
            ("in_interface", ("PREROUTING", "INPUT", "FORWARD")),
            ("out_interface", ("FORWARD", "OUTPUT", "POSTROUTING")),
        ):
            none = self.satisfying(Named(field, ""))
            made = made & (~none if chain in chains else none)
        return made

    # --- single packets -------------------------------------------------------------------------------------

    def contains(self, packets: Set, packet: Packet, assume: dict[str, bool] | None = None) -> bool:
        """Whether a packet is in a set; unknowns are false unless `assume` says otherwise."""
        values = dict.fromkeys(range(self._manager.num_vars()), False)
        for field, bits in self._bits.items():
            number = self._number(field, getattr(packet, field))
            for index, variable in enumerate(self._variables[field]):
                values[variable] = bool(number >> (len(bits) - 1 - index) & 1)
        for name, variable in self.unknowns.items():
            values[variable] = (assume or {}).get(name, False)
        return packets.eval(list(values.items()))

    def example(self, packets: Set, prefer: Sequence[Condition] = ()) -> Packet | None:
        """A packet of the set, one that people recognise where there is one; None for the empty set.

        `prefer` is asked for first, each only as far as the set allows.
        """
        if self.is_empty(packets):
            return None
        for condition in (*prefer, *self._familiar()):
            narrowed = packets & self.satisfying(condition)
            if not self.is_empty(narrowed):
                packets = narrowed
        cube = packets.pick_cube()
        if cube is None:
            return None
        fields: dict[str, int | str] = {}
        for field, variables in self._variables.items():
            number = 0
            for variable in variables:
                number = number << 1 | bool(cube[variable])
            fields[field] = self.devices[number] if field in NAMES else number
        return _packet(self.version, fields)

    def singleton(self, packet: Packet) -> Set:
        """The set of one packet, as far as its fields have been asked for; unknowns are left open."""
        made = self._manager.true()
        for field, bits in self._bits.items():
            number = self._number(field, getattr(packet, field))
            for index, bit in enumerate(bits):
                made = made & (bit if number >> (len(bits) - 1 - index) & 1 else ~bit)
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

        `fields` are some of `FIRST`; the ranges come in their order there.
        """
        fields = [field for field in FIRST if field in fields]
        others = [field for field in self._bits if field not in fields]
        for field in others:
            packets = packets.exists(self._cube(self._bits[field]))
        packets = self.possibly(packets)
        yield from self._boxes(packets, fields, ())

    # --- making sets ----------------------------------------------------------------------------------------

    def _made(self, condition: Condition) -> Set:
        if isinstance(condition, Within):
            return self._within(condition)
        if isinstance(condition, Masked):
            return self._masked(condition)
        if isinstance(condition, Named):
            return self._named(condition)
        if isinstance(condition, Unknown):
            return self._unknown(condition.name)
        if isinstance(condition, Not):
            return ~self.satisfying(condition.part)
        if isinstance(condition, All):
            made = self._manager.true()
            for part in condition.parts:
                made = made & self.satisfying(part)
            return made
        made = self._manager.false()
        for part in condition.parts:
            made = made | self.satisfying(part)
        return made

    def _within(self, condition: Within) -> Set:
        bits = self._field(condition.field)
        made = self._manager.false()
        top = (1 << len(bits)) - 1
        for low, high in condition.ranges:
            if low <= top and high >= 0:
                made = made | (self._at_least(bits, max(low, 0)) & self._at_most(bits, min(high, top)))
        return made

    def _at_least(self, bits: list[Set], low: int) -> Set:
        made = self._manager.true()
        for index, bit in enumerate(reversed(bits)):
            made = bit & made if low >> index & 1 else bit | made
        return made

    def _at_most(self, bits: list[Set], high: int) -> Set:
        made = self._manager.true()
        for index, bit in enumerate(reversed(bits)):
            made = ~bit | made if high >> index & 1 else ~bit & made
        return made

    def _masked(self, condition: Masked) -> Set:
        bits = self._field(condition.field)
        if condition.value & ~condition.mask:
            return self._manager.false()
        made = self._manager.true()
        for index, bit in enumerate(reversed(bits)):
            if condition.mask >> index & 1:
                made = made & (bit if condition.value >> index & 1 else ~bit)
        return made

    def _named(self, condition: Named) -> Set:
        matching = [
            code
            for code, name in enumerate(self.devices)
            if (name.startswith(condition.name) if condition.prefix else name == condition.name)
            and name != OTHER
        ]
        return self._within(Within(condition.field, tuple((code, code) for code in matching)))

    def _unknown(self, name: str) -> Set:
        if name not in self.unknowns:
            (self.unknowns[name],) = self._manager.add_vars(1)
        return self._manager.var(self.unknowns[name])

    def _field(self, field: str) -> list[Set]:
        if field not in self._bits:
            together = MARKS if field in MARKS else (field,)
            size = width(field, self.version, len(self.devices))
            variables = self._manager.add_vars(size * len(together))
            for offset, each in enumerate(together):
                self._variables[each] = list(variables)[offset :: len(together)]
                self._bits[each] = [self._manager.var(variable) for variable in self._variables[each]]
        return self._bits[field]

    def _valid(self, field: str) -> Set:
        """The values that a field can have."""
        self._field(field)
        if field in NAMES:
            return self._within(Within(field, ((0, len(self.devices) - 1),)))
        if field == "state":
            return self._within(Within(field, ((0, max(State)),)))
        return self._manager.true()

    def _number(self, field: str, value: int | str | None) -> int:
        if field not in NAMES:
            return encoded(field, value)  # type: ignore[arg-type]
        if value in self._codes:
            return self._codes[str(value)]
        if OTHER not in self._codes:
            raise DataplaneError(f"no device {value!r} is known to these packet sets")
        wildcards = [name for name in self.devices if name.endswith("+") and str(value).startswith(name[:-1])]
        return self._codes[max(wildcards, key=len, default=OTHER)]

    # --- writing --------------------------------------------------------------------------------------------

    def _write(self, packets: Set, rewrite: Bits) -> Set:
        bits = self._field(rewrite.field)
        for index, bit in enumerate(reversed(bits)):
            value = rewrite.value >> index & 1
            if rewrite.clear >> index & 1:
                packets = packets.exists(bit) & (bit if value else ~bit)
            elif value:
                packets = self._substituted(packets, rewrite.field, len(bits) - 1 - index, ~bit)
        return packets

    def _copy(self, packets: Set, rewrite: CopyBits) -> Set:
        bits, origin = self._field(rewrite.field), self._field(rewrite.origin)
        for index, bit in enumerate(reversed(bits)):
            clear, copied = rewrite.clear >> index & 1, rewrite.mask >> index & 1
            source = origin[len(origin) - 1 - index]
            if clear:
                packets = packets.exists(bit) & (~(bit ^ source) if copied else ~bit)
            elif copied:
                packets = self._substituted(packets, rewrite.field, len(bits) - 1 - index, bit ^ source)
        return packets

    def _substituted(self, packets: Set, field: str, index: int, by: Set) -> Set:
        variable = self._variables[field][index]
        return packets.substitute(BCDDFunction.make_substitution([(variable, by)]))

    # --- reading out ----------------------------------------------------------------------------------------

    def _familiar(self) -> Iterator[Condition]:
        """What people know, best first: a new echo request, a connection to a named port, a usual source."""
        echo = (ICMP, 8) if self.version == 4 else (ICMPV6, 128)
        yield equals("state", int(State.NEW))
        yield All((equals("protocol", echo[0]), equals("icmp_type", echo[1]), equals("icmp_code", 0)))
        yield All((equals("protocol", TCP), equals("tcp_flags", 2)))
        yield equals("protocol", UDP, TCP)
        yield equals("fragment", 0)
        for port in (80, 443, 22, 53):
            yield equals("dport", port)
        yield equals("sport", 40000)
        yield Within("sport", ((1024, 65535),))
        yield equals("tracked", 1)

    def _unknown_cube(self) -> Set:
        return self._cube([self._manager.var(variable) for variable in self.unknowns.values()])

    def _cube(self, variables: Iterable[Set]) -> Set:
        made = self._manager.true()
        for variable in variables:
            made = made & variable
        return made

    def _boxes(
        self, packets: Set, fields: list[str], done: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
    ) -> Iterator[Box]:
        if self.is_empty(packets):
            return
        if not fields:
            yield Box(done)
            return
        field, rest = fields[0], fields[1:]
        top = (1 << len(self._bits[field])) - 1
        for ranges, left in self._ranges(packets, field).values():
            whole = ranges == [(0, top)]
            yield from self._boxes(left, rest, done if whole else (*done, (field, tuple(ranges))))

    def _ranges(self, packets: Set, field: str) -> dict[Set, tuple[list[tuple[int, int]], Set]]:
        """The values of one field, by what they leave of the set, as ranges in order."""
        first, size = self._variables[field][0], len(self._bits[field])
        found: dict[Set, tuple[list[tuple[int, int]], Set]] = {}
        stack: list[tuple[Set, int, int]] = [(packets, 0, 0)]
        while stack:
            rest, depth, prefix = stack.pop()
            if self.is_empty(rest):
                continue
            variable = rest.node_var()
            if variable is None or not first + depth <= variable < first + size:
                low = prefix << (size - depth)
                high = low + (1 << (size - depth)) - 1
                ranges, _ = found.setdefault(rest, ([], rest))
                if ranges and ranges[-1][1] + 1 == low:
                    ranges[-1] = (ranges[-1][0], high)
                else:
                    ranges.append((low, high))
                continue
            if variable > first + depth:
                positive = negative = rest
            else:
                positive, negative = rest.cofactors()  # type: ignore[misc]
            stack.append((positive, depth + 1, prefix << 1 | 1))
            stack.append((negative, depth + 1, prefix << 1))
        return found


def _named(program: Program) -> Iterator[str]:
    """Every device that a rule names; for `eth+`, a stand-in for all devices that begin so."""
    for _place, rule in program.ruleset.rules():
        for match in rule.matches:
            for option in match.options:
                if option.name in ("in-interface", "out-interface", "physdev-in", "physdev-out"):
                    yield option.value


def _packet(version: int, fields: dict[str, int | str]) -> Packet:
    values: dict[str, int | str | None] = dict(fields)
    if values.get("mac") is not None and int(values["mac"] or 0) >> 48:
        values["mac"] = None
    for field in ("uid", "gid"):
        if field in values and int(values[field] or 0) >> 32:
            values[field] = -1
    return Packet(version, **values)  # type: ignore[arg-type]
