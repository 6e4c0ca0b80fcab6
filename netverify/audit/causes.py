"""Why a host forwards what its engine means to stop: the rule that opened it, or the rule that is missing.

A packet that is stopped by the rules that are meant, and passes by those that are there, shows which it is:
its way through both is compared. Then every packet with the same cause is taken away, until none is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from netverify.audit.forwarding import Forwarding, Stop, is_empty, text_of, where
from netverify.dataplane.condition import ALWAYS, AnyOf, Condition, all_of
from netverify.dataplane.diagrams import Set
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import CompiledRule, Place, Program
from netverify.dataplane.view import LEGACY

MOST = 48
"""Causes that are told apart; what is left after them is told as one."""


class Why(Enum):
    """How a packet came through."""

    INSERTED = "a rule that Docker did not write lets them pass"
    EMPTIED = "a chain that stops them is empty"
    ABSENT = "a chain that stops them is gone"
    UNREACHED = "no rule leads to the chain that stops them"
    MISSING = "the rule that stops them is missing"
    ORDER = "a rule that lets them pass stands before the one that stops them"
    MANIFOLD = "for several reasons"


@dataclass(frozen=True)
class Cause:
    """Why some packets pass: the rules at fault as text, with their table and chain.

    `place` is where such a rule stands; None where it is missing. `letting` is what let the example pass, in
    the rules that are there, and `packets` all those that this explains.
    """

    why: Why
    table: str
    chain: str
    rules: tuple[str, ...]
    place: Place | None
    letting: Stop
    example: Packet
    packets: Set


def causes(forwarding: Forwarding, opened: Set, prefer: Sequence[Condition] = ()) -> Iterator[Cause]:
    """Every cause for which packets of a set pass that were not meant to.

    `prefer` are conditions on the examples. Raises DataplaneError if a packet of the set does not pass, or
    was meant to, which would be a defect of netverify.
    """
    for number in range(MOST + 1):
        packet = forwarding.example(opened, prefer)
        if packet is None:
            return
        letting, stopping = _ends(forwarding, packet)
        if number == MOST:
            table, chain = where(letting.place)
            yield Cause(Why.MANIFOLD, table, chain, (), letting.place, letting, packet, opened)
            return
        cause, explained = _cause(forwarding, letting, stopping)
        packets = opened & forwarding.sets.satisfying(explained)
        if not forwarding.sets.contains(packets, packet):
            packets = opened & forwarding.sets.singleton(packet)
        yield Cause(*cause, letting, packet, packets)
        opened = forwarding.sets.without(opened, packets)


def _ends(forwarding: Forwarding, packet: Packet) -> tuple[Stop, Stop]:
    """Where the packet passes by what is there, and where it is stopped by what is meant."""
    meant = forwarding.stops(forwarding.meant, packet)
    if not meant or meant[-1].passes:
        raise DataplaneError(f"{packet} was meant to pass: this is a defect of netverify")
    stopping = meant[-1]
    passed = forwarding.stops(forwarding.actual, packet)
    same = [stop for stop in passed if _at(stop) == _at(stopping)]
    for stop in [each for each in same if each.path] or same:
        return stop, stopping
    call = stopping.call  # not even the kernel's own chain is there: nothing stands in its place
    return Stop(call, stopping.ending, stopping.place), stopping


def _at(stop: Stop) -> tuple[str, str]:
    return stop.call.table.removeprefix(LEGACY), stop.call.chain


_Told = tuple[Why, str, str, tuple[str, ...], Place | None]


def _cause(forwarding: Forwarding, letting: Stop, stopping: Stop) -> tuple[_Told, Condition]:
    """What is at fault, and which packets that explains."""
    meant = stopping.call.program
    if letting.path:
        last = letting.path[-1]
        if any(not forwarding.is_meant(rule) for rule in letting.path):
            inserted: _Told = (Why.INSERTED, *where(last.place), (text_of(last),), last.place)
            return inserted, all_of(test.condition for rule in letting.path for test in rule.tests)
    for index, rule in enumerate(stopping.path):
        if not forwarding.stands(rule):
            leads = index < len(stopping.path) - 1
            return _missing(forwarding, meant, rule, leads=leads)
    if letting.path and stopping.path:
        first, before = letting.path[0], stopping.path[0]
        order: _Told = (Why.ORDER, *where(first.place), (text_of(first),), first.place)
        return order, all_of(test.condition for test in before.tests)
    policy: _Told = (Why.INSERTED, *where(letting.place), (), letting.place)
    return policy, ALWAYS


def _missing(
    forwarding: Forwarding, meant: Program, rule: CompiledRule, *, leads: bool
) -> tuple[_Told, Condition]:
    """A rule that is not there, with the others of its chain and kind that are not there either."""
    table, chain = where(rule.place)
    there, rules = forwarding.chain(table, chain), rules_of(meant, table, chain)
    if there is None or (len(rules) > 1 and is_empty(there)):
        why = Why.ABSENT if there is None else Why.EMPTIED
        return (why, table, chain, (), None), some(rules)
    lost = [
        each
        for each in rules
        if (each.callee, each.ending) == (rule.callee, rule.ending) and not forwarding.stands(each)
    ]
    why = Why.UNREACHED if leads else Why.MISSING
    return (why, table, chain, tuple(map(text_of, lost)), None), some(lost)


def rules_of(program: Program, table: str, chain: str) -> tuple[CompiledRule, ...]:
    """The rules of a chain; none where it is not there."""
    found = program.chain(table, chain)
    return () if found is None else found.rules


def some(rules: Sequence[CompiledRule]) -> Condition:
    """The packets that some rule matches."""
    return AnyOf(tuple(all_of(test.condition for test in rule.tests) for rule in rules))
