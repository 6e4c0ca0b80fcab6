"""What rules asked of an exchange that could tell one pair of namespaces from another of the same kinds.

Two packets that differ in personal fields alone (addresses, names of ports) fare alike in a chain if each of
its rules matches both or neither. A rule that fails a test of anything else matches neither. One that matched
must match again: all its personal tests are kept. One that did not match is kept by a single test of it that
failed, which is enough; of several, one that asks for the receiver.

All rules of every chain that was entered are kept so, those behind the deciding one too, so that it does not
matter which of them a brief trace has left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import All, AnyOf, Condition, Masked, Named, Not, Unknown, Within, leaves
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import CompiledChain, CompiledRule, Program
from netverify.dataplane.trace import PolicyStep, RuleStep, Trace
from netverify.dataplane.world import World
from netverify.model.kinds import Kinds, Value

PERSONAL = (
    *("source", "destination", "ct_source", "ct_destination", "reply_source", "reply_destination"),
    *("in_interface", "out_interface", "physdev_in", "physdev_out"),
)
"""The fields of a packet that can tell two namespaces of one kind apart; besides its Ethernet address."""
_OTHERS = attrgetter(*(f.name for f in fields(Packet) if f.name not in (*PERSONAL, "mac", "embedded")))
_VALUES = attrgetter(*PERSONAL)

Slot = tuple[int, int]
"""Whose value: 0 the sender's, 1 the receiver's; and which of those that its kind has."""
Ends = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Findings:
    """By slot: of the tests in the first number, those in the second one held."""

    by_slot: tuple[tuple[Slot, int, int], ...]


@dataclass
class _Personal:
    """The rules of a chain that nothing but personal tests keeps from matching, for packets of one sort.

    `single` has the tests of rules with one, by slot. `double` those of rules with two, by their two slots,
    as bits of the first with the bits of the second; `first` is all of the first. `more` are all others.
    """

    single: dict[Slot, int] = field(default_factory=dict)
    double: dict[tuple[Slot, Slot], dict[int, list[int]]] = field(default_factory=dict)
    first: dict[tuple[Slot, Slot], int] = field(default_factory=dict)
    more: list[list[tuple[Slot, int]]] = field(default_factory=list)
    is_complex: bool = False


class Asked:
    """Remembers the tests that were met, and what they say of whom."""

    def __init__(self, world: World, kinds: Kinds) -> None:
        self._kinds = kinds
        self._chains = {
            name: dict(_chains_of(program for program in stack.filters[4].programs))
            for name, stack in world.stacks.items()
        }
        self._atoms = _Atoms()
        self._rules: dict[int, list[tuple[str, Condition, bool]]] = {}
        self._sorts: dict[object, _Personal] = {}

    def agree(self, findings: Findings, ends: Ends) -> bool:
        """Whether all tests say of two namespaces what they said of those that the findings are of."""
        for (side, slot), asked, held in findings.by_slot:
            value = self._kinds.of(ends[side]).values[slot]
            if self._atoms.bits(value) & asked != held:
                return False
        return True

    def by(self, traces: Iterable[Trace], ends: Ends) -> Findings | None:
        """What the packets of some traces were asked; None where a test is too complex to be kept."""
        found: dict[Slot, tuple[int, int]] = {}
        entered: dict[tuple[int, int], None] = {}
        for trace in traces:
            for step in trace.steps:
                if isinstance(step, PolicyStep):
                    met = [step.chain]
                elif isinstance(step, RuleStep):
                    met = self._met(step)
                else:
                    continue
                for chain in met:
                    key = id(chain), id(step.packet)
                    if key not in entered:
                        entered[key] = None
                        if not self._enter(chain, step.packet, ends, found):
                            return None
        return Findings(tuple((slot, asked, held) for slot, (asked, held) in found.items()))

    def _met(self, step: RuleStep) -> list[CompiledChain]:
        """The chain that a step is in, and the one that it calls."""
        program, chain = self._chains[step.host][id(step.rule)]
        if step.matched and step.rule.callee is not None:
            return [chain, program.chains[chain.table, step.rule.callee]]
        return [chain]

    def _enter(
        self, chain: CompiledChain, packet: Packet, ends: Ends, found: dict[Slot, tuple[int, int]]
    ) -> bool:
        """Take down what a chain asks of a packet; whether that could be done."""
        slots = tuple(self._kinds.slot(ends, value) for value in _VALUES(packet))
        rest = tuple(
            None if slot is not None else value for slot, value in zip(slots, _VALUES(packet), strict=True)
        )
        key = id(chain), slots, rest, _OTHERS(packet)
        sort = self._sorts.get(key)
        if sort is None:
            sort = self._sorts[key] = self._sort(chain, packet, dict(zip(PERSONAL, slots, strict=True)))
        if sort.is_complex:
            return False

        def bits(slot: Slot) -> int:
            return self._atoms.bits(self._kinds.of(ends[slot[0]]).values[slot[1]])

        def take(slot: Slot, asked: int) -> None:
            old, held = found.get(slot, (0, 0))
            found[slot] = old | asked, held | (bits(slot) & asked)

        for slot, asked in sort.single.items():
            take(slot, asked)
        for (one, other), rules in sort.double.items():
            true = bits(one) & sort.first[one, other]
            take(one, sort.first[one, other] & ~true)
            while true:
                bit = true & -true
                true ^= bit
                for second in rules[bit]:
                    take(other, second)
                    if bits(other) & second:  # the rule matched
                        take(one, bit)
        for tests in sort.more:
            failed = next(((slot, bit) for slot, bit in tests if not bits(slot) & bit), None)
            for slot, bit in tests if failed is None else [failed]:
                take(slot, bit)
        return True

    def _sort(self, chain: CompiledChain, packet: Packet, slots: Mapping[str, Slot | None]) -> _Personal:
        """The rules of a chain for packets like this one."""
        sort = _Personal()
        algebra = OnePacket(packet, on_wire=True)
        for rule in chain.rules:
            kept: list[tuple[Slot, int]] = []
            for name, condition, simple in self._tests(rule):
                slot = slots.get(name)
                if not simple and (name == "mac" or any(slots.values())):
                    sort.is_complex = True
                elif slot is None:
                    if not algebra.satisfying(condition):
                        break
                else:
                    kept.append((slot, self._atoms.bit(condition)))
            else:
                self._file(sort, sorted(kept, key=lambda test: -test[0][0]))
        return sort

    @staticmethod
    def _file(sort: _Personal, kept: list[tuple[Slot, int]]) -> None:
        if len(kept) == 1:
            slot, bit = kept[0]
            sort.single[slot] = sort.single.get(slot, 0) | bit
        elif len(kept) == 2:
            (one, first), (other, second) = kept
            sort.double.setdefault((one, other), {}).setdefault(first, []).append(second)
            sort.first[one, other] = sort.first.get((one, other), 0) | first
        elif kept:
            sort.more.append(kept)

    def _tests(self, rule: CompiledRule) -> list[tuple[str, Condition, bool]]:
        """The tests of a rule, those of nothing personal first: field, condition, whether that is all."""
        known = self._rules.get(id(rule))
        if known is None:
            read = [_read(test.condition) for test in rule.tests]
            known = self._rules[id(rule)] = sorted(read, key=lambda test: test[0] != "")
        return known


def _read(condition: Condition) -> tuple[str, Condition, bool]:
    found = list(leaves(condition))
    names = {leaf.field for leaf in found if not isinstance(leaf, Unknown)}
    personal = names & {*PERSONAL, "mac"}
    if not personal:
        return "", condition, True
    if "mac" in personal:
        return "mac", condition, False
    return min(personal), condition, len(names) == 1 and not any(isinstance(leaf, Unknown) for leaf in found)


def _chains_of(programs: Iterable[Program]) -> Iterator[tuple[int, tuple[Program, CompiledChain]]]:
    for program in programs:
        for chain in program.chains.values():
            for rule in chain.rules:
                yield id(rule), (program, chain)


class _Atoms:
    """The tests that were met, numbered, and which of them hold for a value."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._conditions: list[Condition] = []
        self._bits: dict[Value, tuple[int, int]] = {}

    def bit(self, condition: Condition) -> int:
        """The bit of a test."""
        key = _nameless(condition)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._conditions)
            self._conditions.append(condition)
        return 1 << number

    def bits(self, value: Value) -> int:
        """The tests that hold for a value."""
        bits, known = self._bits.get(value, (0, 0))
        if known < len(self._conditions):
            for number in range(known, len(self._conditions)):
                if _holds(self._conditions[number], value):
                    bits |= 1 << number
            self._bits[value] = bits, len(self._conditions)
        return bits


def _holds(condition: Condition, value: Value) -> bool:
    """Whether a test of one field holds for a value of it. What is asked of names fails for numbers."""
    if isinstance(condition, Within):
        return isinstance(value, int) and any(low <= value <= high for low, high in condition.ranges)
    if isinstance(condition, Masked):
        return isinstance(value, int) and value & condition.mask == condition.value
    if isinstance(condition, Named):
        if not isinstance(value, str):
            return False
        return value.startswith(condition.name) if condition.prefix else value == condition.name
    if isinstance(condition, Not):
        return not _holds(condition.part, value)
    if isinstance(condition, All):
        return all(_holds(part, value) for part in condition.parts)
    if isinstance(condition, AnyOf):
        return any(_holds(part, value) for part in condition.parts)
    return condition.usual


def _nameless(condition: Condition) -> object:
    """A test without the field that it reads: those of sources and destinations are the same atoms."""
    if isinstance(condition, Within):
        return "within", condition.ranges
    if isinstance(condition, Masked):
        return "masked", condition.value, condition.mask
    if isinstance(condition, Named):
        return "named", condition.name, condition.prefix
    if isinstance(condition, Not):
        return "not", _nameless(condition.part)
    if isinstance(condition, All | AnyOf):
        return type(condition).__name__, tuple(map(_nameless, condition.parts))
    return condition
