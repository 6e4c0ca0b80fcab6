"""Packets as Boolean variables: each field a row of bits, each unknown one bit, each condition a diagram.

The diagrams are oxidd's, with complement edges, so that "not" costs nothing. They belong to the manager that
made them; diagrams of two managers must never meet, or the library ends the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from oxidd.bcdd import BCDDManager
from oxidd.util import DDMemoryError

from netverify.dataplane.condition import All, Condition, Masked, Named, Not, Unknown, Within
from netverify.dataplane.diagrams import Set, variables_of
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.fields import ABSENT, NAMES, encoded, together, width
from netverify.dataplane.packet import State

T = TypeVar("T")

CAPACITY = 1 << 26
"""Nodes that there is room for. They take address space only, but the library cannot grow them later."""
LARGEST = 1 << 29
"""Nodes that are tried before giving up: some 8 GiB if all of them are used."""
_CACHE = 1 << 20  # remembered results of operations
OTHER = "(another device)"
"""Stands for every device that neither the host nor a rule names."""


def with_room(work: Callable[[int], T], *, capacity: int = CAPACITY, largest: int = LARGEST) -> T:
    """Do work that makes its sets with room for `capacity` nodes, and again with more where that is too few.

    The library cannot enlarge what it has reserved, so the work begins anew, with eight times as much.
    Raises DataplaneError when `largest` is not enough either.
    """
    while True:
        try:
            return work(capacity)
        except DDMemoryError as error:
            if capacity >= largest:
                raise DataplaneError(
                    f"packet sets: {capacity} nodes of decision diagrams are not enough; ask about fewer "
                    "packets (a protocol, a service, some devices) or allow more with `largest`"
                ) from error
            capacity = min(capacity * 8, largest)


class Encoding:
    """The variables of one manager, and the set of packets of each condition."""

    def __init__(self, version: int, devices: Iterable[str], *, others: bool, capacity: int) -> None:
        self.version = version
        self.devices = ["", *sorted(set(devices) - {""}), *([OTHER] if others else [])]
        self._codes = {name: code for code, name in enumerate(self.devices)}
        self._manager = BCDDManager(capacity, max(1 << 14, min(_CACHE, capacity >> 3)), 1)
        self._bits: dict[str, list[Set]] = {}
        self._variables: dict[str, list[int]] = {}  # of each field, most significant bit first
        self._cubes: dict[tuple[str, ...], Set] = {}
        self._conditions: dict[Condition, Set] = {}
        self._asked: dict[Set, frozenset[str]] = {}
        self.unknowns: dict[str, int] = {}
        self.nothing: Set = self._manager.false()
        self.true: Set = self._manager.true()

    # --- fields ---------------------------------------------------------------------------------------------

    def bits(self, field: str) -> list[Set]:
        """The variables of a field, most significant first; made when they are first asked for."""
        if field not in self._bits:
            neighbours = together(field)
            size = width(field, self.version, len(self.devices))
            variables = list(self._manager.add_vars(size * len(neighbours)))
            for offset, each in enumerate(neighbours):
                self._variables[each] = variables[offset :: len(neighbours)]
                self._bits[each] = [self._manager.var(variable) for variable in self._variables[each]]
        return self._bits[field]

    def variables(self, field: str) -> list[int]:
        """The numbers of a field's variables."""
        self.bits(field)
        return self._variables[field]

    def asked(self, packets: Set) -> frozenset[str]:
        """The fields that a set says anything of. Takes a walk through its diagram, once."""
        known = self._asked.get(packets)
        if known is None:
            variables = variables_of([packets])
            known = frozenset(
                field for field, own in self._variables.items() if not variables.isdisjoint(own)
            )
            self._asked[packets] = known
        return known

    @property
    def fields(self) -> Iterable[str]:
        """The fields that have variables so far."""
        return self._bits

    def number(self, field: str, value: int | str | None) -> int:
        """A packet's value of a field as the number that is encoded. Raises DataplaneError for a device."""
        if field not in NAMES:
            return encoded(field, value)  # type: ignore[arg-type]
        if value in self._codes:
            return self._codes[str(value)]
        if OTHER not in self._codes:
            raise DataplaneError(f"no device {value!r} is known to these packet sets")
        wildcards = [name for name in self.devices if name.endswith("+") and str(value).startswith(name[:-1])]
        return self._codes[max(wildcards, key=len, default=OTHER)]

    def value(self, field: str, number: int) -> int | str | None:
        """The value that a number stands for, the other way round."""
        if field in NAMES:
            return self.devices[number]
        if field in ABSENT and number >= ABSENT[field]:
            return None if field == "mac" else -1
        return number

    def fixed(self, field: str, value: int | str | None) -> list[Set]:
        """A value as constant bits, in the form of `bits`."""
        number, size = self.number(field, value), len(self.bits(field))
        return [self.true if number >> (size - 1 - index) & 1 else self.nothing for index in range(size)]

    def cube(self, *fields: str) -> Set:
        """All variables of some fields, for leaving them out of a set."""
        if fields not in self._cubes:
            self._cubes[fields] = self.cube_of([bit for field in fields for bit in self.bits(field)])
        return self._cubes[fields]

    def cube_of(self, variables: Sequence[Set]) -> Set:
        """Some variables, for leaving them out of a set."""
        made = self.true
        for variable in reversed(variables):
            made = variable & made
        return made

    def unknown(self, name: str) -> Set:
        """The variable of an unknown."""
        if name not in self.unknowns:
            (self.unknowns[name],) = self._manager.add_vars(1)
        return self._manager.var(self.unknowns[name])

    # --- conditions -----------------------------------------------------------------------------------------

    def satisfying(self, condition: Condition) -> Set:
        """The packets for which a condition holds."""
        known = self._conditions.get(condition)
        if known is None:
            known = self._conditions[condition] = self._made(condition)
        return known

    def valid(self, field: str) -> Set:
        """The packets whose field has a value that there is."""
        self.bits(field)
        if field in NAMES:
            return self.satisfying(Within(field, ((0, len(self.devices) - 1),)))
        if field == "state":
            return self.satisfying(Within(field, ((0, max(State)),)))
        return self.true

    def _made(self, condition: Condition) -> Set:
        if isinstance(condition, Within):
            return self._within(condition)
        if isinstance(condition, Masked):
            return self._masked(condition)
        if isinstance(condition, Named):
            return self._named(condition)
        if isinstance(condition, Unknown):
            return self.unknown(condition.name)
        if isinstance(condition, Not):
            return ~self.satisfying(condition.part)
        if isinstance(condition, All):
            return self._all(condition)
        made = self.nothing
        for part in condition.parts:
            made = made | self.satisfying(part)
        return made

    def _all(self, condition: All) -> Set:
        made = self.true
        for part in condition.parts:
            made = made & self.satisfying(part)
        return made

    def _within(self, condition: Within) -> Set:
        bits = self.bits(condition.field)
        made = self.nothing
        top = (1 << len(bits)) - 1
        for low, high in condition.ranges:
            if 0 <= low == high <= top:
                made = made | self._exactly(bits, low)
            elif low <= top and high >= 0:
                made = made | (self._at_least(bits, max(low, 0)) & self._at_most(bits, min(high, top)))
        return made

    def _exactly(self, bits: list[Set], number: int) -> Set:
        made = self.true
        for index, bit in enumerate(reversed(bits)):
            made = (bit if number >> index & 1 else ~bit) & made
        return made

    def _at_least(self, bits: list[Set], low: int) -> Set:
        made = self.true
        for index, bit in enumerate(reversed(bits)):
            made = bit & made if low >> index & 1 else bit | made
        return made

    def _at_most(self, bits: list[Set], high: int) -> Set:
        made = self.true
        for index, bit in enumerate(reversed(bits)):
            made = ~bit | made if high >> index & 1 else ~bit & made
        return made

    def _masked(self, condition: Masked) -> Set:
        bits = self.bits(condition.field)
        if condition.value & ~condition.mask:
            return self.nothing
        made = self.true
        for index, bit in enumerate(reversed(bits)):
            if condition.mask >> index & 1:
                made = (bit if condition.value >> index & 1 else ~bit) & made
        return made

    def _named(self, condition: Named) -> Set:
        if not condition.prefix:
            code = None if condition.name == OTHER else self._codes.get(condition.name)
            return self.nothing if code is None else self._exactly(self.bits(condition.field), code)
        matching = [
            code
            for code, name in enumerate(self.devices)
            if name.startswith(condition.name) and name != OTHER
        ]
        return self._within(Within(condition.field, tuple((code, code) for code in matching)))
