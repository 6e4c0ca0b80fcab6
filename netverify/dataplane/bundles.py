"""Many translations at once: hundreds of published ports in one piece instead of hundreds of pieces.

A chain of DNAT rules ends differently at each. Here these endings become one, and which rule it was becomes a
field of the packet, `mapping`: a number that follows from the packet as it entered. What the rules write
depends on that number alone, so a piece holds it as a table (`Rows`), which `pieces.Lens` puts into a set in
one operation. The number's bits stand last in the diagrams: all that precedes the choice is then held once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from netverify.dataplane.condition import Condition, equals, tested_fields, unknowns
from netverify.dataplane.diagrams import Set
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.program import CompiledRule, Program
from netverify.dataplane.rewrite import Rewrite
from netverify.dataplane.segments import Exits, Memory
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.support import fields_of_rule
from netverify.dataplane.targets import Ending, Nat, NatKind

V = TypeVar("V", bound=Hashable)

MAPPING = "mapping"
BUNDLE = Nat(NatKind.DNAT, base=-1)
"""The ending that stands for all of a chain's translations to one address and one port."""
MANY = 8
"""Translations that are worth a bundle."""

Bits = tuple[Set, ...]


@dataclass(frozen=True)
class Column:
    """One written field: the value of each row, and its bits as functions of the number."""

    values: tuple[int, ...]
    bits: Bits

    @classmethod
    def of(cls, sets: PacketSets, field: str, values: Sequence[int]) -> Column:
        """From the values of all rows."""
        size = len(sets.bits(field))
        if len(set(values)) == 1:
            ones = [sets.true if values[0] >> index & 1 else sets.nothing for index in range(size)]
        else:
            numbers = _numbers(sets, values)
            ones = [
                sets.union([some for value, some in numbers.items() if value >> index & 1])
                for index in range(size)
            ]
        return cls(tuple(values), tuple(reversed(ones)))


@dataclass(frozen=True)
class Rows:
    """A table: what was written, by the number of the rule."""

    columns: tuple[Column, ...]

    def column(self, bits: object) -> Column | None:
        """The column that a field was written from, if it was and nobody wrote it since."""
        return next((column for column in self.columns if column.bits is bits), None)

    def with_column(self, column: Column) -> Rows:
        """The table with another column."""
        return Rows((*self.columns, column))


def written(sets: PacketSets, columns: Mapping[str, Column]) -> Set:
    """The values of fields that were written from columns of one table, each row's with its number.

    Rows are joined in the order of the variables: neighbours then meet in one path of the diagram alone.
    """
    fields = sorted(columns, key=sets.variables)
    rows = _numbers(sets, list(zip(*(columns[field].values for field in fields), strict=True)))
    made = []
    for values, numbers in sorted(rows.items(), key=lambda row: row[0]):
        for field, value in zip(reversed(fields), reversed(values), strict=True):
            numbers = sets.satisfying(equals(field, value)) & numbers
        made.append(numbers)
    return sets.union(made)


def _numbers(sets: PacketSets, values: Sequence[V]) -> dict[V, Set]:
    """The numbers of the rows that have each value."""
    found: dict[V, list[Set]] = {}
    for number, value in enumerate(values):
        found.setdefault(value, []).append(sets.satisfying(equals(MAPPING, number)))
    return {value: sets.union(numbers) for value, numbers in found.items()}


def is_simple(ending: Ending | None) -> bool:
    """Whether a translation always writes the same address and the same port."""
    return (
        isinstance(ending, Nat)
        and ending.kind is NatKind.DNAT
        and ending.addresses is not None
        and ending.ports is not None
        and ending.addresses[0] == ending.addresses[1]
        and ending.ports[0] == ending.ports[1]
        and ending.base is None
    )


def simple_endings(program: Program, table: str) -> list[Nat]:
    """The different translations of a table that can be bundled, in the order of its rules."""
    endings = (
        rule.ending for chain in program.chains.values() if chain.table == table for rule in chain.rules
    )
    return list(dict.fromkeys(ending for ending in endings if isinstance(ending, Nat) and is_simple(ending)))


class Renamed:
    """The algebra of packets whose fields have changed places, as an answer's have.

    To change places in the sets of a large chain is dear, to make them in their new places is not.
    """

    summarises = True

    def __init__(self, sets: PacketSets, rename: Callable[[Set], Set]) -> None:
        self.sets, self._rename = sets, rename
        self.everything, self.nothing = sets.true, sets.nothing
        self.both, self.either, self.without = sets.both, sets.either, sets.without
        self.is_empty = sets.is_empty
        self._known: dict[Condition, Set] = {}

    def satisfying(self, condition: Condition) -> Set:
        """The packets for which a condition holds, after the change."""
        known = self._known.get(condition)
        if known is None:
            known = self._known[condition] = self._rename(self.sets.satisfying(condition))
        return known

    def rewritten(self, _packets: Set, rewrite: Rewrite) -> Set:
        """Chains that write are not run in this algebra."""
        raise DataplaneError(f"{rewrite}: packets whose fields have changed places are not written into")


@dataclass(frozen=True)
class Coming:
    """The packets that come to a chain: by each device what is sent there, in a tree of halves.

    Devices stand above addresses in the diagrams, so what a rule for one address leaves would be looked for
    under every device. `addressed` says of a whole half, without devices, whether anything is there.
    """

    addressed: Set
    packets: Set
    halves: tuple[Coming, Coming] | None = None

    @classmethod
    def of(cls, sets: PacketSets, by_device: Sequence[tuple[Set, Set]]) -> Coming:
        """From each device's packets, and what is sent there; not from no devices."""
        if len(by_device) == 1:
            ((device, addressed),) = by_device
            return cls(addressed, device & addressed)
        middle = len(by_device) // 2
        one, other = cls.of(sets, by_device[:middle]), cls.of(sets, by_device[middle:])
        return cls(one.addressed | other.addressed, one.packets | other.packets, (one, other))

    def among(self, packets: Set) -> Set:
        """Those of some packets that come: the same as `packets & self.packets`."""
        if self.halves is None:
            return packets & self.packets
        some = packets & self.addressed
        if not some.satisfiable():
            return some
        one, other = self.halves
        return one.among(some) | other.among(some)


class Bundler(Evaluator[Set]):
    """Runs chains like any evaluator, but gives simple translations one ending, and a number.

    `coming` are the packets that matter. Rules that ask for a destination match no others: without that, what
    many such rules leave would be asked of every device that no packet to that destination leaves by.
    """

    def __init__(
        self, program: Program, sets: PacketSets, endings: Sequence[Nat], coming: Coming | None = None
    ) -> None:
        super().__init__(program, sets, memory=Memory())
        self._coming = coming
        self._among: dict[Set, Set] = {}
        self._numbered: Mapping[Ending, Set] = {
            ending: sets.satisfying(equals(MAPPING, number)) for number, ending in enumerate(endings)
        }

    def _tested(self, rule: CompiledRule, entering: Set) -> tuple[Set, int]:
        matched, failed = super()._tested(rule, entering)
        if self._coming is None or failed >= 0:
            return matched, failed
        asked = fields_of_rule(rule)
        if "destination" in asked and "out_interface" not in asked:
            matched = matched & self._coming_to(rule, self._coming)
        return matched, failed

    def _coming_to(self, rule: CompiledRule, coming: Coming) -> Set:
        """What comes, of the packets that pass a rule's tests of their destination."""
        wanted = self.algebra.everything
        for test in rule.tests:
            if tested_fields(test.condition) == {"destination"} and not unknowns(test.condition):
                wanted = wanted & self.algebra.satisfying(test.condition)
        if wanted not in self._among:
            self._among[wanted] = coming.among(wanted)
        return self._among[wanted]

    def _add(self, exits: Exits[Set], ending: Ending, packets: Set) -> None:
        number = self._numbered.get(ending)
        if number is None:
            super()._add(exits, ending, packets)
        else:
            super()._add(exits, BUNDLE, packets & number)
