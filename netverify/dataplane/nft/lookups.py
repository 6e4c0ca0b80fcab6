"""Comparisons of nftables, and lookups in its sets and maps, as conditions.

A lookup finds at most one element: the elements of a map never overlap, and `*` is what is found where no
other element is. A lookup that finds nothing ends the rule for the packet (nft_lookup_eval).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netverify.dataplane.condition import (
    ALWAYS,
    NEVER,
    All,
    AnyOf,
    Condition,
    Not,
    Unknown,
    all_of,
    negated_if,
)
from netverify.dataplane.nft.context import Context
from netverify.dataplane.nft.fields import key
from netverify.dataplane.nft.keys import Key, NotModelled
from netverify.ruleset.errors import NoSuchPlace
from netverify.ruleset.nft import NftSet
from netverify.ruleset.nft_expressions import (
    AnonymousSet,
    Element,
    Expression,
    MapLookup,
    Pair,
    SetReference,
    show,
)
from netverify.ruleset.nft_statements import Comparison

CATCH_ALL = "*"


@dataclass(frozen=True)
class Found:
    """One element of a map: when it is found, in words, and what it says."""

    condition: Condition
    words: str
    value: Expression


def comparison(statement: Comparison, context: Context) -> Condition:
    """What a comparison tests. What is not understood of it is an unknown, usually not so."""
    try:
        return _compared(statement, context)
    except NotModelled:
        return Unknown(str(statement))


def found_in(looked_up: Expression, data: Expression, context: Context) -> tuple[Found, ...]:
    """Every element of a map, with the condition under which a lookup finds it.

    Where the key is not understood (a random number, a hash), each element is an unknown, and the first is
    the usual one.
    """
    pairs = [_pair(element) for element in elements(data, context)]
    try:
        wanted = key(looked_up, context)
        chosen = [pair for pair in pairs if pair.key != CATCH_ALL]
        found = [
            Found(all_of((wanted.guard, wanted.holds(pair.key))), show(pair.key, looked_up), pair.value)
            for pair in chosen
        ]
        guard: Condition = wanted.guard
    except NotModelled:
        return _any_of(pairs, looked_up, context)
    for pair in pairs:
        if pair.key == CATCH_ALL:
            rest = Not(AnyOf(tuple(each.condition for each in found)))
            found.append(Found(All((guard, rest)), CATCH_ALL, pair.value))
    if isinstance(data, SetReference) and data.name in context.changing:
        stale = Unknown(f"{data} still says what it said in the dump", usual=True)
        found = [Found(All((each.condition, stale)), each.words, each.value) for each in found]
    return tuple(found)


def values_of(expression: Expression | None, context: Context) -> tuple[Found, ...]:
    """What an expression may be: itself, or each value of the map that it looks up."""
    if isinstance(expression, MapLookup):
        return found_in(expression.key, expression.data, context)
    return () if expression is None else (Found(ALWAYS, "", expression),)


def elements(data: Expression, context: Context) -> Sequence[Expression]:
    """The elements of a set or map, written out or named. Raises NotModelled for one that is not there."""
    if isinstance(data, AnonymousSet):
        return data.elements
    return _named(data, context).elements


def _named(data: Expression, context: Context) -> NftSet:
    if isinstance(data, SetReference):
        try:
            return context.table.set(data.name)
        except NoSuchPlace as error:
            raise NotModelled from error
    raise NotModelled


def _compared(statement: Comparison, context: Context) -> Condition:
    left = key(statement.left, context)
    if left.guard == NEVER:
        return NEVER
    return all_of(part for part in (left.guard, _tested(statement, left, context)) if part != ALWAYS)


def _tested(statement: Comparison, left: Key, context: Context) -> Condition:
    right = statement.right
    if statement.operator in ("in", "!"):
        return negated_if(left.has_flag(right), statement.operator == "!")
    if statement.operator in ("<", ">", "<=", ">="):
        return left.beyond(statement.operator, right)
    if isinstance(right, AnonymousSet | SetReference):
        tested = _in_set(left, right, context)
    else:
        tested = left.holds(right)
    return Not(tested) if statement.operator == "!=" else tested


def _in_set(left: Key, data: AnonymousSet | SetReference, context: Context) -> Condition:
    members = elements(data, context)
    plain = [member for member in members if _bare(member) != CATCH_ALL]
    tested = ALWAYS if len(plain) < len(members) else left.any_of(plain)
    if isinstance(data, SetReference) and data.name in context.changing:
        return AnyOf((tested, Unknown(f"the packet is in {data}, which rules change as packets pass")))
    return tested


def _any_of(pairs: Sequence[Pair], looked_up: Expression, context: Context) -> tuple[Found, ...]:
    found: list[Found] = []
    before: list[Condition] = []
    for pair in pairs:
        words = show(pair.key, looked_up)
        unknown = Unknown(f"{looked_up} is {words} ({context.place})", usual=not before)
        found.append(Found(All((unknown, *map(Not, before))), words, pair.value))
        before.append(unknown)
    return tuple(found)


def _pair(element: Expression) -> Pair:
    if not isinstance(element, Pair):
        raise NotModelled
    return Pair(_bare(element.key), element.value)


def _bare(member: Expression) -> Expression:
    return member.value if isinstance(member, Element) else member
