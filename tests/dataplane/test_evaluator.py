"""Chains, jumps, gotos, RETURN, policies: the walk of a packet, and what each rule would count."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane import evaluator
from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import Within, all_of
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.evaluator import SHORT, Evaluator
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.program import compile_rules
from netverify.dataplane.routing import Routing
from netverify.dataplane.segments import Memory, Segments
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.stack import Stack
from netverify.dataplane.trace import Trace
from netverify.dataplane.view import DEFAULT_RULES, HostView, Link, Route, RoutingRule
from netverify.dataplane.world import Wire, World
from netverify.ruleset import Chain, Ruleset, Table
from tests.strategies.dataplane import packets

WALK = """*filter
:INPUT DROP [0:0]
:A - [0:0]
:B - [0:0]
{rules}
COMMIT
"""


def _host(rules: str, *more: str) -> HostView:
    text = "\n".join((rules, *more))
    return HostView(
        "host",
        (Link.of("lo", "127.0.0.1/8"), Link.of("eth0", "192.0.2.1/24")),
        ipv4=Ruleset.parse(text),
    ).with_connected_routes()


def _arrive(rules: list[str], **fields: int) -> Trace:
    view = _host(WALK.format(rules="\n".join(rules)))
    packet = Packet.of("192.0.2.9", "192.0.2.1", "tcp", dport=80, **fields)
    return World([view], []).enter(packet, "host", "eth0")


@pytest.mark.parametrize(
    ("rules", "verdict", "place"),
    [
        ([], "dropped", "filter:INPUT:policy"),
        (["-A INPUT -j A", "-A INPUT -j ACCEPT", "-A A -j RETURN", "-A A -j DROP"], "delivered", None),
        (["-A INPUT -g A", "-A INPUT -j ACCEPT", "-A A -p udp -j ACCEPT"], "dropped", "filter:INPUT:policy"),
        (
            ["-A INPUT -j A", "-A INPUT -j ACCEPT", "-A A -g B", "-A A -j DROP", "-A B -p udp"],
            "delivered",
            None,
        ),
        (["-A INPUT -g A", "-A A -j B", "-A A -j ACCEPT", "-A B -j RETURN"], "delivered", None),
        (["-A INPUT -j RETURN", "-A INPUT -j ACCEPT"], "dropped", "filter:INPUT:policy"),
        (["-A INPUT -p tcp", "-A INPUT -j LOG", "-A INPUT -j REJECT"], "rejected", "filter:INPUT:rule:3"),
        (["-A INPUT -j A", "-A A -j DROP"], "dropped", "filter:A:rule:1"),
    ],
)
def test_walk(rules: list[str], verdict: str, place: str | None) -> None:
    trace = _arrive(rules)
    assert trace.verdict == verdict
    assert (None if trace.place is None else str(trace.place)) == place


def test_hits_are_what_counters_would_show() -> None:
    trace = _arrive(["-A INPUT -j A", "-A INPUT -p tcp -j ACCEPT", "-A A -p udp -j DROP", "-A A -p tcp"])
    assert {str(place): count for (_host, place), count in trace.hits().items()} == {
        "filter:INPUT:rule:1": 1,
        "filter:A:rule:2": 1,
        "filter:INPUT:rule:2": 1,
    }


def test_the_trace_tells_what_failed_and_is_json() -> None:
    trace = _arrive(["-A INPUT ! -i eth0 -j ACCEPT", '-A INPUT -m string --algo bm --string "x" -j ACCEPT'])
    text = trace.render(every_rule=True)
    assert "no: ! -i eth0" in text
    assert 'assumed no: -m string --algo bm --string "x"' in text
    assert "Verdict: DROPPED at host: dropped by filter:INPUT:policy" in text
    facts = json.loads(trace.as_json())
    assert facts["deciding"] == "filter:INPUT:policy"
    assert facts["steps"][1]["failed"] == "! -i eth0"


def test_an_assumption_can_be_turned_around() -> None:
    view = _host(WALK.format(rules='-A INPUT -m string --algo bm --string "x" -j ACCEPT'))
    packet = Packet.of("192.0.2.9", "192.0.2.1", "tcp", dport=80)
    world = World([view], [])
    (name, _value) = world.enter(packet, "host", "eth0").assumed[0]
    assert world.enter(packet, "host", "eth0", assume={name: True}).verdict == "delivered"


def test_chains_in_a_circle_are_refused() -> None:
    rules = Ruleset.parse(WALK.format(rules="-A INPUT -j A\n-A A -j B\n-A B -j A"))
    with pytest.raises(DataplaneError, match="A -> B -> A"):
        compile_rules(rules, HostView("host"))


def test_a_target_that_nobody_knows_is_said() -> None:
    assert "not modelled: target TARPIT" in _arrive(["-A INPUT -p tcp -j TARPIT"]).render()


# A client, a router that translates, a server that does not know the way to the client.
NAT = """*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
{rules}
COMMIT
"""


def _three(rules: str, **sysctls: str) -> World:
    client = HostView(
        "client", (Link.of("lo", "127.0.0.1/8"), Link.of("eth0", "10.0.0.2/24")),
        (Route(ip_network("0.0.0.0/0"), ip_address("10.0.0.1"), "eth0"),),
    )  # fmt: skip
    router = HostView(
        "router",
        (Link.of("lo", "127.0.0.1/8"), Link.of("in", "10.0.0.1/24"), Link.of("out", "192.0.2.1/24")),
        sysctls={"net.ipv4.ip_forward": "1", **{key.replace("__", "."): v for key, v in sysctls.items()}},
        ipv4=Ruleset.parse(NAT.format(rules=rules)),
    )
    server = HostView("server", (Link.of("lo", "127.0.0.1/8"), Link.of("eth0", "192.0.2.9/24")))
    wires = [
        Wire(frozenset({("client", "eth0"), ("router", "in")})),
        Wire(frozenset({("server", "eth0"), ("router", "out")})),
    ]
    return World([view.with_connected_routes() for view in (client, router, server)], wires)


ALL = frozenset((name, port) for name in ("client", "router", "server") for port in (80, 8080))


def test_without_translation_the_answer_does_not_find_back() -> None:
    exchange = _three("").ask(Packet.of("10.0.0.2", "192.0.2.9", "tcp", dport=80), "client", listening=ALL)
    assert (exchange.outcome, exchange.replied) == ("delivered", False)


def test_masquerade_and_back() -> None:
    world = _three("-A POSTROUTING -o out -j MASQUERADE --to-ports 1024-2000")
    exchange = world.ask(Packet.of("10.0.0.2", "192.0.2.9", "tcp", dport=80), "client", listening=ALL)
    assert (exchange.outcome, exchange.replied, exchange.receiver) == ("delivered", True, "server")
    assert str(exchange.request.final) == "tcp 192.0.2.1:1024 -> 192.0.2.9:80 (SYN)"
    assert exchange.answer is not None
    assert str(exchange.answer.final) == "tcp 192.0.2.9:80 -> 10.0.0.2:40000 (SYN+ACK)"


@pytest.mark.parametrize(
    ("rule", "final", "receiver"),
    [
        ("-A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80", "10.0.0.2:80", "client"),
        ("-A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 80", "192.0.2.1:80", "router"),
        ("-A PREROUTING -d 192.0.2.0/24 -j NETMAP --to 10.0.0.0/24", "10.0.0.1:8080", "router"),
    ],
)
def test_destination_translation(rule: str, final: str, receiver: str) -> None:
    world = _three(rule)
    exchange = world.ask(Packet.of("192.0.2.9", "192.0.2.1", "tcp", dport=8080), "server", listening=ALL)
    assert f"-> {final} " in str(exchange.request.final)
    assert (exchange.receiver, exchange.replied) == (receiver, True)


def test_a_refusal_finds_back_through_translation() -> None:
    world = _three("-A POSTROUTING -o out -j MASQUERADE")
    exchange = world.ask(Packet.of("10.0.0.2", "192.0.2.9", "udp", dport=9), "client")
    assert exchange.outcome == "refused"
    assert exchange.answer is not None
    assert exchange.answer.host == "client"
    assert str(exchange.answer.final.destination_address) == "10.0.0.2"


def test_the_nat_table_is_asked_once() -> None:
    stack = Stack(_three("-A POSTROUTING -o out -j MASQUERADE").stacks["router"].view)
    world = World([stack.view], [])
    packet = Packet.of("10.0.0.2", "192.0.2.9", "udp", dport=9)
    nat = [step for step in world.enter(packet, "router", "in").hits() if step[1].table == "nat"]
    again = [step for step in world.enter(packet, "router", "in").hits() if step[1].table == "nat"]
    assert (len(nat), len(again)) == (2, 0)


@pytest.mark.parametrize(
    ("sysctls", "packet", "reason"),
    [
        ({"net__ipv4__ip_forward": "0"}, ("10.0.0.2", "192.0.2.9"), "does not forward"),
        ({"net__ipv4__conf__in__rp_filter": "1"}, ("192.0.2.7", "192.0.2.9"), "reverse path filter"),
        ({"net__ipv4__conf__all__rp_filter": "2"}, ("203.0.113.1", "192.0.2.9"), "reverse path filter"),
        ({}, ("10.0.0.2", "127.0.0.1"), "martian destination"),
        ({}, ("192.0.2.1", "192.0.2.9"), "martian source"),
        ({}, ("10.0.0.2", "203.0.113.1"), "no route"),
    ],
)
def test_what_the_kernel_itself_refuses(
    sysctls: dict[str, str], packet: tuple[str, str], reason: str
) -> None:
    trace = _three("", **sysctls).enter(Packet.of(*packet), "router", "in")
    assert reason in trace.reason
    assert trace.place is None


def test_a_packet_nobody_answers_for_is_unreachable() -> None:
    trace = _three("-A POSTROUTING -o out -j MASQUERADE").trace(Packet.of("10.0.0.2", "192.0.2.77"), "client")
    assert (trace.verdict, trace.reason) == ("unreachable", "nobody on out answers for 192.0.2.77")


def test_a_connection_is_established_by_its_answer() -> None:
    world = _three("-A POSTROUTING -o out -j MASQUERADE")
    packet = Packet.of("10.0.0.2", "192.0.2.9", "udp", dport=80)
    states = [world.trace(packet, "client").steps[-1].packet.state for _ in range(2)]
    world.ask(packet, "client", listening=ALL)
    states.append(world.trace(packet, "client").steps[-1].packet.state)
    assert states == [State.NEW, State.NEW, State.ESTABLISHED]


def test_each_router_takes_one_off_the_time_to_live() -> None:
    world = _three("")
    assert world.trace(Packet.of("10.0.0.2", "192.0.2.9"), "client").final.ttl == 63
    assert world.trace(Packet.of("10.0.0.2", "192.0.2.9", ttl=1), "client").verdict == "unreachable"


def test_the_longest_prefix_and_the_rule_with_the_mark_decide() -> None:
    routes = (
        Route(ip_network("0.0.0.0/0"), ip_address("192.0.2.2"), "eth0"),
        Route(ip_network("203.0.113.0/24"), ip_address("192.0.2.3"), "eth0"),
        Route(ip_network("203.0.113.7/32"), kind="prohibit"),
        Route(ip_network("0.0.0.0/0"), ip_address("192.0.2.4"), "eth0", table=100),
    )
    marked = RoutingRule(100, 100, mark=1, mark_mask=1)
    view = HostView("host", (Link.of("eth0", "192.0.2.1/24"),), routes, (*DEFAULT_RULES, marked))
    routing = Routing(view.with_connected_routes())
    found = [
        routing.lookup(4, int(ip_address(text)), mark=mark)
        for text, mark in (("8.8.8.8", 0), ("203.0.113.9", 0), ("203.0.113.9", 3), ("192.0.2.9", 0))
    ]
    assert [str(decision.next_hop) for decision in found] == [
        "192.0.2.2",
        "192.0.2.3",
        "192.0.2.4",
        "192.0.2.9",
    ]
    assert routing.lookup(4, int(ip_address("203.0.113.7"))).kind == "prohibit"


# --- the memory of segments -------------------------------------------------------------------------

SMALL = 1 << 20
_LINES = [
    "-p tcp -m tcp --dport {} -j ACCEPT", "-p udp -m udp --dport {} -j DROP", "-s 10.0.{}.0/24 -j A",
    "-d 10.0.{}.0/24 -j B", "-p tcp -m tcp --sport {} -g A", "-m mark --mark {} -j RETURN",
]  # fmt: skip
_numbers = st.integers(0, 30)
_line = st.builds(str.format, st.sampled_from(_LINES), _numbers)
_plain = st.builds(str.format, st.sampled_from([line for line in _LINES if line[-1] not in "AB"]), _numbers)


def _long(data: st.DataObject) -> Ruleset:
    """A chain that is long enough to be cut, and two that it calls."""
    chains = [
        Chain.of("FORWARD", *data.draw(st.lists(_line, min_size=9, max_size=40)), policy="DROP"),
        *(Chain.of(name, *data.draw(st.lists(_plain, max_size=12))) for name in "AB"),
    ]
    return Ruleset("ipv4", (Table("filter", tuple(chains)),))


def _edited(data: st.DataObject, rules: Ruleset) -> Ruleset:
    """One rule removed, doubled or written anew."""
    place = data.draw(st.sampled_from([place for place, _ in rules.rules()]))
    where = (place.table, place.chain, place.number)
    kind = data.draw(st.sampled_from(["remove", "double", "replace"]))
    if kind == "remove":
        return rules.with_rule_removed(*where)
    if kind == "double":
        return rules.with_rule_inserted(*where, rules.rule(place))
    return rules.with_rule_replaced(*where, f"-p tcp -m tcp --dport {data.draw(_numbers)} -j ACCEPT")


@settings(max_examples=40, deadline=None)
@given(st.data(), st.lists(packets(4), min_size=4, max_size=4))
def test_what_is_remembered_of_an_edited_ruleset_is_what_it_says(
    data: st.DataObject, drawn: list[Packet]
) -> None:
    rules = _long(data)
    sets = PacketSets(4, ["eth0"], capacity=SMALL)
    for _ in range(4):
        program = compile_rules(rules, HostView("host"))
        evaluator = Evaluator(program, sets)
        reused = evaluator.run("filter", "FORWARD", sets.everything)
        fresh = Evaluator(program, sets, memory=Memory())
        assert reused == fresh.run("filter", "FORWARD", sets.everything)
        assert reused == evaluator.follow("filter", "FORWARD", sets.everything)
        for packet in drawn:
            packet = packet.with_(in_interface="eth0", out_interface="eth0")
            (ending,) = Evaluator(program, OnePacket(packet)).run("filter", "FORWARD", True)
            assert [each for each, held in reused.items() if sets.contains(held, packet)] == [ending]
        rules = _edited(data, rules)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([0, SHORT]))
def test_the_way_to_a_rule_is_what_comes_to_it(data: st.DataObject, short: int) -> None:
    program = compile_rules(_long(data), HostView("host"))
    sets = PacketSets(4, ["eth0"], capacity=SMALL)
    run = Evaluator(program, sets)
    chain = program.chains["filter", "FORWARD"]
    some = sets.everything & sets.satisfying(Within("dport", ((2, 20),)))
    met = dict(run.meeting(chain, some))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evaluator, "SHORT", short)
        for index, rule in enumerate(chain.rules):
            passing = some & sets.satisfying(all_of(test.condition for test in rule.tests))
            assert met.get(index, sets.nothing) == passing
            near, left = run.way_to(chain, index, some)
            for each in left:
                near = near & each
            assert near == run.reaching(chain, index, some)


@pytest.mark.parametrize(
    "target", ["-j ACCEPT", "-j DROP", "-j RETURN", "-j A", "-g A", "-j LOG", "-j REJECT"]
)
def test_what_rules_do_is_part_of_what_is_remembered(target: str) -> None:
    sets = PacketSets(4, ["eth0"], capacity=SMALL)
    for own in ("-j ACCEPT", target):
        chains = Chain.of("FORWARD", f"-p tcp {own}", "-j ACCEPT", policy="DROP"), Chain.of("A")
        program = compile_rules(Ruleset("ipv4", (Table("filter", chains),)), HostView("host"))
        found = Evaluator(program, sets).run("filter", "FORWARD", sets.everything)
        fresh = Evaluator(program, sets, memory=Memory())
        assert found == fresh.run("filter", "FORWARD", sets.everything)


@pytest.mark.parametrize("kind", ["insert", "remove"])
def test_an_edit_leaves_most_segments_as_they_were(kind: str) -> None:
    lines = [f"-p tcp -m tcp --dport {number} -j ACCEPT" for number in range(2000)]
    rules = Ruleset("ipv4", (Table("filter", (Chain.of("FORWARD", *lines),)),))
    memory: Memory[object] = Memory()
    contents = _contents(rules, memory)
    fresh = []
    for number in range(1, 2001, 41):
        edited = rules.with_rule_removed("filter", "FORWARD", number)
        if kind == "insert":
            edited = rules.with_rule_inserted("filter", "FORWARD", number, "-p udp -j ACCEPT")
        fresh.append(len(_contents(edited, memory) - contents))
    assert len(contents) > 300
    assert sum(fresh) / len(fresh) < 30
    assert max(fresh) < 150


def _contents(rules: Ruleset, memory: Memory[object]) -> set[int]:
    program = compile_rules(rules, HostView("host"))
    waiting = [Segments(program, memory).of(program.chains["filter", "FORWARD"])]
    found = set()
    while waiting:
        segment = waiting.pop()
        found.add(segment.content)
        waiting += segment.halves or ()
    return found


def test_equal_rules_are_cut_in_halves() -> None:
    rules = Ruleset("ipv4", (Table("filter", (Chain.of("FORWARD", *["-p tcp -j LOG"] * 1000),)),))
    assert len(_contents(rules, Memory())) < 30  # equal halves are one content
