"""What a rule tests, as data: and, or, not over tests of single fields, and unknowns.

A condition says nothing about how it is decided. `algebra.OnePacket` asks it about one packet, `sets` makes
the set of all packets of it; both know the four leaves here and nothing of iptables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Within:
    """A number field lies in one of the ranges, both ends included."""

    field: str
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Masked:
    """A number field, cut down by a mask, has a value: `field & mask == value`."""

    field: str
    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Named:
    """A name field (a device) is `name`, or begins with it when `prefix` is set."""

    field: str
    name: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that is not modelled: a variable of the result.

    Two unknowns of one `name` have the same value. `usual` is the sensible reading for a single packet: a
    rate that is not exceeded, a string that does not occur.
    """

    name: str
    usual: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; with none, always."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Some part holds; with none, never."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition


Condition = Within | Masked | Named | Unknown | All | AnyOf | Not

ALWAYS = All()
NEVER = AnyOf()


def equals(field: str, *values: int) -> Condition:
    """A number field has one of the values."""
    return Within(field, tuple((value, value) for value in values))


def negated_if(condition: Condition, negated: bool) -> Condition:
    """The condition, or its opposite."""
    return Not(condition) if negated else condition


def all_of(parts: Iterable[Condition]) -> Condition:
    """Every part holds."""
    found = tuple(parts)
    return found[0] if len(found) == 1 else All(found)


def leaves(condition: Condition) -> Iterator[Within | Masked | Named | Unknown]:
    """The tests of single fields and the unknowns that a condition is put together from."""
    if isinstance(condition, Not):
        yield from leaves(condition.part)
    elif isinstance(condition, All | AnyOf):
        for part in condition.parts:
            yield from leaves(part)
    else:
        yield condition


def unknowns(condition: Condition) -> frozenset[Unknown]:
    """The unknowns in a condition."""
    return frozenset(leaf for leaf in leaves(condition) if isinstance(leaf, Unknown))


def tested_fields(condition: Condition) -> frozenset[str]:
    """The fields of packets that a condition asks for."""
    return frozenset(leaf.field for leaf in leaves(condition) if not isinstance(leaf, Unknown))
