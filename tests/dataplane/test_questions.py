"""Passages and differences, on rulesets whose answers are plain to see, and on random ones."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import equals
from netverify.dataplane.difference import compare
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.reach import passages
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.view import HostView, Link
from netverify.ruleset import Ruleset
from tests.dataplane.isolated import BRIDGES, ISOLATED
from tests.strategies.dataplane import HOST, filters, packets

SMALL = 1 << 20
VIEW = HostView("host", (*(Link.of(name) for name in BRIDGES), Link.of("eth0", "192.0.2.1/24")))


def _program(text: str, view: HostView = VIEW) -> Program:
    return compile_rules(Ruleset.parse(text), view)


def _filter(*rules: str, policy: str = "ACCEPT") -> Program:
    lines = "\n".join(f"-A FORWARD {rule}" for rule in rules)
    return _program(f"*filter\n:FORWARD {policy} [0:0]\n:OWN - [0:0]\n:LOST - [0:0]\n{lines}\nCOMMIT\n")


def test_passages_of_isolated_bridges() -> None:
    found = {(p.in_interface, p.out_interface): p for p in passages(_program(ISOLATED))}
    assert ("br-a", "br-b") not in found
    assert ("br-b", "br-a") not in found
    assert str(found["br-a", "eth0"].place) == "filter:FORWARD:policy"
    assert str(found["br-a", "eth0"].packet).startswith("icmp")
    assert str(found["eth0", "br-a"].packet).startswith("tcp")
    assert found["eth0", "br-a"].packet.dport == 80
    assert str(found["eth0", "br-a"].place) == "filter:FORWARD:rule:3"


def test_passages_of_one_service() -> None:
    found = passages(_program(ISOLATED), only=equals("protocol", 17))
    assert ("eth0", "br-a") not in {(p.in_interface, p.out_interface) for p in found}


def test_passages_under_an_unknown() -> None:
    (found,) = passages(_filter('-i br-a -o br-b -m string --algo bm --string "x" -j ACCEPT', policy="DROP"))
    assert not found.surely
    assert [value for _name, value in found.assumed] == [True]
    assert str(found.place) == "filter:FORWARD:rule:1"


@settings(max_examples=40, deadline=None)
@given(filters(4, size=5), st.data(), st.lists(packets(4), min_size=5, max_size=5))
def test_a_difference_is_what_single_packets_show(
    rules: Ruleset, data: st.DataObject, probes: list[Packet]
) -> None:
    chain = rules.chain("filter", "FORWARD")
    new = rules.with_policy("filter", "FORWARD", "DROP")
    if chain.rules:
        new = rules.with_rule_removed("filter", "FORWARD", data.draw(st.integers(1, len(chain.rules))))
    old_program, new_program = compile_rules(rules, HOST), compile_rules(new, HOST)
    sets = PacketSets.of(old_program, new_program, capacity=SMALL)
    difference = compare(old_program, new_program, sets=sets)
    for change in difference.changes:
        assume = dict(change.assumed)
        fates = [_fate(each, change.chain, change.example, assume) for each in (old_program, new_program)]
        assert fates == [change.before, change.after]
    if difference.is_equivalent:
        for packet in probes:
            assert _fate(old_program, "FORWARD", packet, {}) == _fate(new_program, "FORWARD", packet, {})


def _fate(program: Program, chain: str, packet: Packet, assume: dict[str, bool]) -> object:
    (ending,) = Evaluator(program, OnePacket(packet, assume)).run("filter", chain, True)
    return ending
