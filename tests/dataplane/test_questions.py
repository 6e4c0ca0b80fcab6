"""Passages, differences and lint, on rulesets whose answers are plain to see, and on random ones."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import equals
from netverify.dataplane.difference import compare
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.lint import lint
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.reach import passages
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.view import HostView, Link
from netverify.ruleset import Ruleset
from tests.strategies.dataplane import HOST, filters, packets

SMALL = 1 << 20
BRIDGES = ("br-a", "br-b", "br-c")
VIEW = HostView("host", (*(Link.of(name) for name in BRIDGES), Link.of("eth0", "192.0.2.1/24")))
ISOLATED = """*filter
:FORWARD ACCEPT [0:0]
:STAGE1 - [0:0]
:STAGE2 - [0:0]
-A FORWARD -j STAGE1
-A FORWARD -o br-c -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i eth0 -p tcp -m tcp --dport 80 -j ACCEPT
-A FORWARD -i eth0 -j DROP
-A STAGE1 -i br-a ! -o br-a -j STAGE2
-A STAGE1 -i br-b ! -o br-b -j STAGE2
-A STAGE2 -o br-a -j DROP
-A STAGE2 -o br-b -j DROP
COMMIT
"""


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


def test_lint_names_what_shadows() -> None:
    program = _filter(
        "-p tcp -j LOG",
        "-p tcp -m tcp --dport 1:40000 -j DROP",
        "-p tcp -m tcp --dport 30000:65535 -j ACCEPT",
        "-i br-a -j ACCEPT",
        "-p tcp -m tcp --dport 90:60000 -j DROP",
    )
    (found,) = lint(program)
    assert found.kind == "shadowed"
    assert [str(place) for place in found.by] == ["filter:FORWARD:rule:2", "filter:FORWARD:rule:3"]


def test_lint_knows_the_host() -> None:
    found = lint(_filter("-i gone0 -j ACCEPT", "-p tcp -m tcp --dport 90:80 -j DROP", "-i br+ -j ACCEPT"))
    assert [(each.kind, each.place.number) for each in found] == [("impossible", 1), ("impossible", 2)]


def test_lint_finds_chains_and_jumps_that_lead_nowhere() -> None:
    text = "*filter\n:FORWARD ACCEPT [0:0]\n:LOST - [0:0]\n-A FORWARD -j NOWHERE\n-A LOST -j DROP\nCOMMIT\n"
    assert [each.kind for each in lint(_program(text))] == ["jump-to-nothing", "unreached-chain"]


def test_lint_knows_that_docker_user_sees_translated_ports() -> None:
    text = """*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -j DOCKER
-A DOCKER ! -i br-a -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:80
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -p tcp -m tcp --dport 8080 -j DROP
-A DOCKER-USER -p tcp -m tcp --dport 80 -j DROP
COMMIT
"""
    (found,) = lint(_program(text))
    assert (found.kind, found.place.number) == ("pre-dnat-port", 1)


@settings(max_examples=40)
@given(filters(4, size=5), packets(4).filter(lambda p: p.in_interface in ("eth0", "br0", "lo", "port1")))
def test_a_rule_that_a_packet_matches_is_not_called_dead(rules: Ruleset, packet: Packet) -> None:
    packet = packet.with_(out_interface="eth0")
    program = compile_rules(rules, HOST)
    dead = {each.place for each in lint(program) if each.kind in ("shadowed", "impossible", "unreached-rule")}
    seen: set[object] = set()

    class Watching:
        def tested(self, rule: object, failed: int, _matched: bool, /) -> None:
            if failed < 0:
                seen.add(rule.place)  # type: ignore[attr-defined]

        def reached_policy(self, _chain: object, _packets: bool, /) -> None: ...

    Evaluator(program, OnePacket(packet), Watching()).run("filter", "FORWARD", True)
    assert not seen & dead
