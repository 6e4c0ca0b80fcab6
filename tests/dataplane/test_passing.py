"""All packets through a host agree with single packets through the same host: fate, device, translation."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.outcomes import Delivered, Fate, Sent, Stopped
from netverify.dataplane.packet import Packet
from netverify.dataplane.passing import Passing
from netverify.dataplane.stack import Stack
from netverify.dataplane.view import HostView
from netverify.dataplane.well_formed import QUESTIONS
from tests.strategies.dataplane import headers, hosts

SMALL = 1 << 22
HEADER = ("source", "destination", "sport", "dport")
ENTERS = ("eth0", "eth1", "br0")


def _said(fate: Fate) -> tuple[Any, ...]:
    """What a single packet's run came to."""
    if isinstance(fate, Sent):
        return "sent", fate.device, *(getattr(fate.packet, name) for name in HEADER)
    if isinstance(fate, Delivered):
        return "delivered", "", *(getattr(fate.packet, name) for name in HEADER)
    assert isinstance(fate, Stopped)
    if fate.answer is None:
        return ("dropped",)
    return ("rejected" if fate.place is not None else "unreachable", fate.answer)


def _passing(view: HostView, data: st.DataObject) -> Passing:
    """Translations one by one, or bundled, which must make no difference."""
    passing = Passing(view, capacity=SMALL)
    passing.host.hooks.many = data.draw(st.sampled_from([1, 100]))
    return passing


def _found(
    passing: Passing, ends: list[Any], packet: Packet, assume: dict[str, bool]
) -> list[tuple[Any, ...]]:
    """What the sets say of it; exactly one entry, or the sets are wrong."""
    said: list[tuple[Any, ...]] = []
    for end, now in passing.holding(ends, packet, assume):
        if end.fate in ("sent", "delivered"):
            device = now.out_interface if end.fate == "sent" else ""
            said.append((end.fate, device, *(getattr(now, name) for name in HEADER)))
        elif end.answer is not None:
            said.append((end.fate, end.answer))
        else:
            said.append((end.fate,))
    return said


@settings(max_examples=8, deadline=None)
@given(hosts(), st.lists(headers(), min_size=12, max_size=12), st.data())
def test_what_enters_fares_as_single_packets_do(
    view: HostView, packets: list[Packet], data: st.DataObject
) -> None:
    passing = _passing(view, data)
    ends = passing.entering()
    assume = {name: data.draw(st.booleans()) for name in sorted(passing.sets.unknowns)}
    for packet in packets:
        for device in ENTERS:
            stack = Stack(view)
            stack.assume = assume
            expected = _said(stack.receive(packet, device))
            found = _found(passing, ends, packet.with_(in_interface=device), assume)
            assert found == [expected], (packet, device)


@settings(max_examples=8, deadline=None)
@given(hosts(), st.lists(headers(), min_size=12, max_size=12), st.data())
def test_what_a_host_sends_fares_as_single_packets_do(
    view: HostView, packets: list[Packet], data: st.DataObject
) -> None:
    passing = _passing(view, data)
    ends = passing.sending()
    assume = {name: data.draw(st.booleans()) for name in sorted(passing.sets.unknowns)}
    for packet in packets:
        stack = Stack(view)
        stack.assume = assume
        assert _found(passing, ends, packet, assume) == [_said(stack.send(packet))], packet


@settings(max_examples=8, deadline=None)
@given(hosts(), st.lists(headers(), min_size=12, max_size=12), st.data())
def test_answers_fare_as_single_answers_do(
    view: HostView, packets: list[Packet], data: st.DataObject
) -> None:
    passing = _passing(view, data)
    ends = passing.answering(passing.entering())
    assume = {name: data.draw(st.booleans()) for name in sorted(passing.sets.unknowns)}
    for packet in packets:
        for device in ENTERS:
            stack = Stack(view)
            stack.assume = assume
            there = stack.receive(packet, device)
            asks = OnePacket(packet).satisfying(QUESTIONS[4])
            found = _found(passing, ends, packet.with_(in_interface=device), assume)
            if asks and isinstance(there, Sent):
                expected = _said(stack.receive(there.packet.reply(), there.device))
            elif asks and isinstance(there, Delivered):
                expected = _said(stack.send(there.packet.reply()))
            else:
                assert found == [], packet
                continue
            if (
                expected[0] == "sent"
                and isinstance(there, Sent)
                and expected[1] != device
                and ("astray",) in found
            ):
                continue
            assert found == [expected], (packet, device, there)


@settings(max_examples=6, deadline=None)
@given(hosts(), st.lists(headers(), min_size=12, max_size=12), st.data())
def test_crossings_are_what_goes_through_and_comes_back(
    view: HostView, packets: list[Packet], data: st.DataObject
) -> None:
    passing = _passing(view, data)
    crossings = {(each.source, each.target): each for each in passing.crossings()}
    assume = {name: data.draw(st.booleans()) for name in sorted(passing.sets.unknowns)}
    for packet in packets:
        if packet.tuple == packet.tuple.inverse:
            continue  # its answer is the same packet once more (docs/fidelity.md)
        for device in ENTERS:
            stack = Stack(view)
            stack.assume = assume
            there, back = stack.receive(packet, device), None
            if isinstance(there, Sent) and OnePacket(packet).satisfying(QUESTIONS[4]):
                back = stack.receive(there.packet.reply(), there.device)
            for target in ENTERS:
                crossing = crossings.get((device, target))
                goes = isinstance(there, Sent) and there.device == target
                returns = goes and isinstance(back, Sent) and back.device == device
                held = (False, False)
                if crossing is not None:
                    entered = packet.with_(in_interface=device)
                    held = (
                        passing.sets.contains(crossing.packets, entered, assume),
                        passing.sets.contains(crossing.answered, entered, assume),
                    )
                assert held == (goes, returns), (packet, device, target)
