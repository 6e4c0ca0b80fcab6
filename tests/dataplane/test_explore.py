"""One packet under every value of the unknowns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netverify.dataplane.explore import explore, whatever, whatever_is_said
from netverify.dataplane.packet import Packet
from netverify.dataplane.view import HostView, Link
from netverify.dataplane.world import Wire, World
from netverify.ruleset import Ruleset

CABLE = Wire(frozenset({("a", "eth0"), ("b", "eth0")}))


def world(rules: str) -> World:
    """A sender, and a receiver with these rules."""
    sender = HostView("a", (Link.of("eth0", "10.0.0.1/24", "fd00::1/64"),)).with_connected_routes()
    filtered = Ruleset.parse(f"*filter\n:INPUT ACCEPT [0:0]\n{rules}\nCOMMIT\n")
    receiver = HostView("b", (Link.of("eth0", "10.0.0.2/24", "fd00::2/64"),), ipv4=filtered)
    return World((sender, receiver.with_connected_routes()), (CABLE,))


WEB = Packet.of("10.0.0.1", "10.0.0.2", "tcp", dport=80)


def test_no_unknown() -> None:
    found = whatever(world("-A INPUT -p udp -j DROP"), WEB, "a")
    assert found.is_certain
    assert (found.runs, found.unknowns, found.usual.verdict) == (1, (), "delivered")


def test_an_unknown_that_decides() -> None:
    found = whatever(world('-A INPUT -m string --string "x" --algo bm -j DROP'), WEB, "a")
    assert not found.is_certain
    assert found.complete
    verdicts = {str(case): case.found.verdict for case in found.cases}
    assert sorted(verdicts.values()) == ["delivered", "dropped"]
    dropped = next(case for case in found.cases if case.found.verdict == "dropped")
    assert dropped.assumed == ((found.unknowns[0], True),)


def test_unknowns_that_make_no_difference_are_left_out() -> None:
    rules = '-A INPUT -m string --string "x" --algo bm -j ACCEPT\n-A INPUT -p tcp -j ACCEPT'
    found = whatever(world(rules), WEB, "a")
    assert found.is_certain
    assert (found.runs, str(found.cases[0])) == (2, "whatever the unknowns say")


def test_only_the_unknown_that_matters_is_named() -> None:
    rules = """-A INPUT -m string --string "x" --algo bm -j LOG
-A INPUT -m string --string "y" --algo bm -j ACCEPT
-A INPUT -m string --string "z" --algo bm -j DROP"""
    found = whatever(world(rules), WEB, "a")
    assert found.complete
    assert len(found.unknowns) == 2
    assert not any('"x"' in name for name in found.unknowns)
    assert [case.found.verdict for case in found.cases].count("dropped") == 1


def test_the_answer_counts_as_well() -> None:
    """The request passes; the answer is stopped where a string occurs."""
    asked = world('-A INPUT -p tcp -j ACCEPT\nCOMMIT\n*raw\n:OUTPUT ACCEPT [0:0]\n'
                  '-A OUTPUT -m string --string "x" --algo bm -j DROP')  # fmt: skip
    found = whatever_is_said(asked, WEB, "a", listening=frozenset({("b", 80)}))
    assert [(case.found.outcome, case.found.replied) for case in found.cases] == [
        ("delivered", True),
        ("delivered", False),
    ]


def test_too_many_unknowns_are_said_not_to_be_complete() -> None:
    names = [f"u{number}" for number in range(10)]

    def run(assume: Mapping[str, bool]) -> dict[str, bool]:
        return {name: assume.get(name, False) for name in names}

    found = explore(run, lambda asked: tuple(asked.items()), lambda asked: sum(asked.values()), most=20)
    assert (found.complete, found.is_certain, found.runs) == (False, False, 20)
    whole = explore(run, lambda asked: tuple(asked.items()), lambda asked: sum(asked.values()), most=2000)
    assert (whole.complete, whole.runs) == (True, 1024)


def test_neighbour_discovery_that_rules_stop_is_told() -> None:
    view = world("").stacks["b"].view
    deaf = Ruleset.parse("*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n", family="ipv6")
    sender = world("").stacks["a"].view
    silent = World((sender, replace(view, ipv6=deaf)), (CABLE,))
    trace = silent.trace(Packet.of("fd00::1", "fd00::2", "tcp", dport=80), "a")
    told = [step.text for step in trace.steps if getattr(step, "what", "") == "neighbour"]
    assert told == ["neighbour discovery of fd00::2: the question is dropped by filter:INPUT:policy on b"]
    heard = World((sender, view), silent.wires)
    trace = heard.trace(Packet.of("fd00::1", "fd00::2", "tcp", dport=80), "a")
    assert not [step for step in trace.steps if getattr(step, "what", "") == "neighbour"]
