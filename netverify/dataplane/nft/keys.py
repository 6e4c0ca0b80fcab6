"""What an expression of nftables looks at, as something that can be compared with values.

A `Key` knows its `guard`: what must hold for the expression to have a value at all. Without a value the rule
is over for the packet, whether the comparison is negated or not (NFT_BREAK in net/netfilter/nft_*.c). Guards
are also the tests that nft writes for itself and does not print: `tcp dport` tests the protocol, `ip saddr`
in a table of family inet the version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from netverify.dataplane.condition import (
    ALWAYS,
    NEVER,
    All,
    AnyOf,
    Condition,
    Masked,
    Named,
    Not,
    Within,
    all_of,
)
from netverify.dataplane.matches.devices import mac_number
from netverify.dataplane.nft.numbers import Words
from netverify.ruleset.nft_expressions import (
    Concatenation,
    Element,
    Expression,
    Flags,
    Operation,
    Prefix,
    Presence,
    Range,
)

Ranges = Sequence[tuple[int, int]]

_UNTYPED = " [invalid type]"
_MOST_VALUES = 256  # of a mask's values that are written down one by one


class NotModelled(Exception):
    """An expression or value without a meaning here; it becomes an unknown and never leaves this package."""


class Key:
    """What is compared. `guard` must hold for it to have a value."""

    guard: Condition = ALWAYS

    def any_of(self, values: Iterable[Expression]) -> Condition:
        """The key is one of some values."""
        return AnyOf(tuple(self.holds(value) for value in values))

    def holds(self, value: Expression) -> Condition:
        """The key is a value, or lies in it. Raises NotModelled."""
        raise NotModelled(f"{self} compared with {value}")

    def has_flag(self, value: Expression) -> Condition:
        """Some bit of the key is one of the value's. Raises NotModelled."""
        raise NotModelled(f"{self} asked for flags {value}")

    def beyond(self, operator: str, value: Expression) -> Condition:
        """The key is less or more than a value. Raises NotModelled."""
        raise NotModelled(f"{self} {operator} {value}")


@dataclass(frozen=True)
class Number(Key):
    """A number: `bits` bits of a field, from bit `shift` on, with `offset` added.

    `whole` is how many bits the field has. `words` are names of values.
    """

    field: str
    bits: int
    guard: Condition = ALWAYS
    words: Words | None = None
    shift: int = 0
    whole: int = 0
    offset: int = 0
    read: Callable[[str], int] | None = None

    def any_of(self, values: Iterable[Expression]) -> Condition:
        """See Key."""
        return self.among([self.range(value) for value in values])

    def holds(self, value: Expression) -> Condition:
        """See Key."""
        return self.among([self.range(value)])

    def has_flag(self, value: Expression) -> Condition:
        """See Key."""
        number = self.number(value)
        bits = [1 << bit for bit in range(self.bits) if number >> bit & 1]
        return AnyOf(tuple(self.masked(bit, bit) for bit in bits))

    def beyond(self, operator: str, value: Expression) -> Condition:
        """See Key."""
        number, top = self.number(value), (1 << self.bits) - 1
        ranges = {
            "<": (0, number - 1), "<=": (0, number), ">": (number + 1, top), ">=": (number, top),
        }  # fmt: skip
        low, high = ranges[operator]
        return self.among([(low, high)]) if low <= high else NEVER

    def among(self, ranges: Ranges) -> Condition:
        """It lies in one of the ranges."""
        if self.shift + self.bits < (self.whole or self.bits):  # the lower bits of a field
            numbers = [number for low, high in ranges for number in range(low, high + 1)]
            return AnyOf(tuple(self.masked(number, (1 << self.bits) - 1) for number in numbers))
        rest = (1 << self.shift) - 1
        moved = [
            (low - self.offset << self.shift, high - self.offset << self.shift | rest) for low, high in ranges
        ]
        return Within(self.field, tuple(sorted(moved))) if moved else NEVER

    def masked(self, value: int, mask: int) -> Condition:
        """Its bits of a mask are those of a value."""
        if self.offset:
            raise NotModelled
        mask &= (1 << self.bits) - 1
        if value & ~mask:
            return NEVER
        return Masked(self.field, value << self.shift, mask << self.shift) if mask else ALWAYS

    def range(self, value: Expression) -> tuple[int, int]:
        """The first and the last number of a value."""
        if isinstance(value, Element):
            return self.range(value.value)
        if isinstance(value, Range):
            return self.number(value.low), self.number(value.high)
        if isinstance(value, Prefix):
            base, rest = self.number(value.address), (1 << self.bits - value.length) - 1
            return base & ~rest, base | rest
        number = self.number(value)
        return number, number

    def number(self, value: Expression) -> int:
        """The number that a single value is: a literal, a word, or flags together."""
        if isinstance(value, int):
            return value
        if isinstance(value, str):
            known = self.words or {}
            return known[value] if value in known else self._literal(value)
        if isinstance(value, Flags):
            return self._united(value.values)
        if isinstance(value, Operation) and value.operator == "|":
            return self._united(value.operands)
        raise NotModelled

    def _united(self, values: Iterable[Expression]) -> int:
        number = 0
        for value in values:
            number |= self.number(value)
        return number

    def _literal(self, text: str) -> int:
        """A number or an address; nft 1.0.6 prints some ports as `0x35 [invalid type]`."""
        text = text.removesuffix(_UNTYPED)
        try:
            return int(text, 0) if self.read is None else self.read(text)
        except ValueError as error:
            raise NotModelled from error


@dataclass(frozen=True)
class Chosen(Number):
    """One of a few numbers, each with the condition for it: a state, a type of address, a constant."""

    cases: tuple[tuple[int, Condition], ...] = ()

    def among(self, ranges: Ranges) -> Condition:
        """See Number."""
        return self._where(lambda value: any(low <= value <= high for low, high in ranges))

    def masked(self, value: int, mask: int) -> Condition:
        """See Number."""
        return self._where(lambda own: own & mask == value)

    def _where(self, suits: Callable[[int], bool]) -> Condition:
        found = tuple(condition for value, condition in self.cases if suits(value))
        return found[0] if len(found) == 1 else AnyOf(found)


@dataclass(frozen=True)
class BitField(Number):
    """Bits of which each has a condition of its own; only flags and masks can be asked for."""

    conditions: tuple[tuple[int, Condition], ...] = ()

    def among(self, ranges: Ranges) -> Condition:
        """Its whole value is nobody's to know."""
        raise NotModelled(f"{self} within {ranges}")

    def masked(self, value: int, mask: int) -> Condition:
        """See Number."""
        known = dict(self.conditions)
        bits = [1 << bit for bit in range(self.bits) if mask >> bit & 1]
        if value & ~mask:
            return NEVER
        if any(bit not in known for bit in bits):
            raise NotModelled
        return all_of(known[bit] if value & bit else Not(known[bit]) for bit in bits)


@dataclass(frozen=True)
class Name(Key):
    """The name of a device; `eth*` are all that begin so (and `eth\\*` is called so)."""

    field: str
    guard: Condition = ALWAYS

    def holds(self, value: Expression) -> Condition:
        """See Key."""
        if isinstance(value, Element):
            return self.holds(value.value)
        if isinstance(value, int):
            return NEVER  # an index that nft found no device for
        if not isinstance(value, str):
            raise NotModelled
        if value.endswith("\\*"):
            return Named(self.field, value[:-2] + "*")
        return Named(self.field, value.removesuffix("*"), prefix=value.endswith("*"))


@dataclass(frozen=True)
class Found(Key):
    """What a lookup in the routing found: something or nothing, perhaps compared with a device's name."""

    condition: Condition
    device: str = ""
    """The field of the device that was found, where it is known which."""
    guard: Condition = ALWAYS

    def holds(self, value: Expression) -> Condition:
        """See Key."""
        if isinstance(value, Element):
            return self.holds(value.value)
        if isinstance(value, Presence):
            return self.condition if value.exists else Not(self.condition)
        if value == 0:
            return Not(self.condition)
        if self.device and isinstance(value, str):
            return All((self.condition, Name(self.device).holds(value)))
        raise NotModelled


@dataclass(frozen=True)
class Together(Key):
    """Several keys side by side."""

    parts: tuple[Key, ...]

    @property
    def guard(self) -> Condition:  # type: ignore[override] # of all its parts
        """Each of them must have a value."""
        return all_of(part.guard for part in self.parts if part.guard != ALWAYS)

    def holds(self, value: Expression) -> Condition:
        """See Key."""
        if isinstance(value, Element):
            return self.holds(value.value)
        if not isinstance(value, Concatenation) or len(value.parts) != len(self.parts):
            raise NotModelled
        return all_of(key.holds(part) for key, part in zip(self.parts, value.parts, strict=True))


@dataclass(frozen=True)
class Worked(Key):
    """A number after arithmetic with bits: `number & mask ^ flipped`."""

    inner: Number
    mask: int
    flipped: int
    guard: Condition = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "guard", self.inner.guard)

    def holds(self, value: Expression) -> Condition:
        """See Key."""
        low, high = self.inner.range(value)
        if high - low >= _MOST_VALUES:
            raise NotModelled
        found = tuple(self._equals(number) for number in range(low, high + 1))
        return found[0] if len(found) == 1 else AnyOf(found)

    def _equals(self, number: int) -> Condition:
        wanted = number ^ self.flipped
        return NEVER if wanted & ~self.mask else self.inner.masked(wanted, self.mask)


def address_reader(version: int) -> Callable[[str], int]:
    """Reads addresses of one family; raises ValueError for the other's."""

    def read(text: str) -> int:
        found = ip_address(text)
        if found.version != version:
            raise ValueError(text)
        return int(found)

    return read


read_mac = mac_number
