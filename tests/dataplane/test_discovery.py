"""Neighbour discovery through packet filters: what rules stop, for single packets and for sets of them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane.discovery import link_local, solicited_node
from netverify.dataplane.explore import whatever
from netverify.dataplane.packet import Packet
from netverify.dataplane.reach import pairs
from netverify.dataplane.view import HostView, Link
from netverify.dataplane.world import Exchange, Wire, World
from netverify.ruleset import Ruleset
from tests.dataplane.neighbour_cases import ADDRESSES, CASES, WIRES, Case

SMALL = 1 << 20
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def ping(source: str, target: str) -> Packet:
    return Packet.of(ADDRESSES[source], ADDRESSES[target], "icmpv6", icmp_type=128, sport=7)


def connect(source: str, target: str) -> Packet:
    return Packet.of(ADDRESSES[source], ADDRESSES[target], "tcp", dport=80)


def fate(found: Exchange) -> str:
    return "unanswered" if found.outcome == "delivered" and not found.replied else found.outcome


@BY_NAME
def test_what_becomes_of_a_ping(case: Case) -> None:
    world = World(case.views(), WIRES)
    found = {}
    for pair in case.expected:
        world.forget()
        found[pair] = world.ask(ping(*pair), pair[0])
    assert {pair: fate(exchange) for pair, exchange in found.items()} == case.expected
    for pair, exchange in found.items():
        stopped = exchange.decided
        if pair not in case.reasons:
            assert "neighbour discovery" not in stopped.reason
            continue
        assert f"neighbour discovery of {case.reasons[pair]}" in stopped.reason
        assert stopped.place is not None
        assert (stopped.host, stopped.place) in stopped.hits()


@BY_NAME
def test_sets_say_the_same(case: Case) -> None:
    world = World(case.views(), WIRES)
    reach = pairs(world, version=6, capacity=SMALL)
    for (source, target), expected in case.expected.items():
        pair = reach.pair(source, target)
        packet = ping(source, target)
        arrives = pair is not None and reach.sets.contains(pair.sure, packet)
        returns = pair is not None and reach.sets.contains(pair.surely_answered, packet)
        assert (arrives, returns) == (expected in ("delivered", "unanswered"), expected == "delivered")


def world(rules: str, **fields: bool) -> World:
    """a asks b, which has these rules."""
    cable = Wire(frozenset({("a", "eth0"), ("b", "eth0")}))
    filtered = Ruleset.parse(f"*filter\n{rules}\nCOMMIT\n", family="ipv6")
    link = Link.of("eth0", "fd00::1/64", **fields)
    loop = Link.of("lo", "::1/128")
    views = (HostView("a", (loop, link)), HostView("b", (loop, Link.of("eth0", "fd00::2/64")), ipv6=filtered))
    return World((view.with_connected_routes() for view in views), (cable,))


WEB = Packet.of("fd00::1", "fd00::2", "tcp", dport=80)
DEAF = ":INPUT DROP [0:0]\n-A INPUT -p tcp -j ACCEPT"


def test_tunnels_ask_nobody() -> None:
    assert world(DEAF).trace(WEB, "a").verdict == "unreachable"
    assert world(DEAF, asks=False).trace(WEB, "a").verdict == "delivered"


def test_unknowns_of_the_question_count() -> None:
    """Also for the sets: they arrive for one value of the unknown and not for the other."""
    limited = world("-A INPUT -p ipv6-icmp -m limit --limit 5/min -j DROP")
    found = whatever(limited, WEB, "a")
    verdicts = {case.assumed[0][1]: case.found.verdict for case in found.cases}
    assert verdicts == {False: "delivered", True: "unreachable"}
    reach = pairs(limited, ["a"], ["b"], version=6, capacity=SMALL)
    (pair,) = reach.pairs
    assert reach.sets.contains(pair.possible, WEB)
    assert not reach.sets.contains(pair.sure, WEB)


def test_a_host_whose_rules_change_is_asked_anew() -> None:
    changed = world(DEAF)
    assert changed.trace(WEB, "a").verdict == "unreachable"
    stack = changed.stacks["b"]
    changed.put(type(stack)(replace(stack.view, ipv6=Ruleset("ipv6")), on_wire=True))
    assert changed.trace(WEB, "a").verdict == "delivered"


def test_what_was_learned_is_forgotten_with_the_connections() -> None:
    asked = world(":OUTPUT ACCEPT [0:0]\n-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 136 -j DROP")
    back = Packet.of("fd00::2", "fd00::1", "tcp", dport=80)
    assert asked.trace(WEB, "a").verdict == "delivered"
    assert asked.trace(back, "b").verdict == "delivered"
    asked.forget()
    assert asked.trace(back, "b").verdict == "unreachable"


def test_addresses() -> None:
    """RFC 4291: section 2.7.1 has the group, appendix A the address made of an Ethernet address."""
    assert solicited_node(IPv6Address("4037::1:800:200e:8c6c")) == IPv6Address("ff02::1:ff0e:8c6c")
    assert link_local(Link.of("eth0", mac=0x3456789ABCDE)) == IPv6Address("fe80::3656:78ff:fe9a:bcde")
    assert link_local(Link.of("eth0", "fe80::7/64", mac=1)) == IPv6Address("fe80::7")


_TESTS = [
    *(f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind}" for kind in (128, 129, 135, 135, 136, 136)),
    "-s fe80::/10", "-d ff02::/16", "-s fd00:1::/64", "! -d fd00:1::/64", "-m hl --hl-eq 255",
    "-p ipv6-icmp -m limit --limit 5/min", "-p tcp",
]  # fmt: skip
_CHAINS = {
    "host": {"INPUT": ["", "-i br0"], "OUTPUT": ["", "-o br0"], "FORWARD": ["", "-i br0", "-i br0 -o br0"]},
    "b": {"INPUT": [""], "OUTPUT": [""]},
    "c": {"INPUT": [""]},
}


@st.composite
def ruled(draw: st.DrawFn) -> Case:
    """A few rules on each host, most of them about neighbour discovery."""
    found = {}
    for host, chains in _CHAINS.items():
        lines = [f":{chain} {draw(st.sampled_from(['ACCEPT', 'ACCEPT', 'DROP']))} [0:0]" for chain in chains]
        for chain, devices in chains.items():
            rule = st.builds(
                "-A {} {} {} -j {}".format,
                st.just(chain),
                st.sampled_from(devices),
                st.sampled_from(_TESTS),
                st.sampled_from(["ACCEPT", "ACCEPT", "DROP", "REJECT"]),
            )
            lines += draw(st.lists(rule, max_size=3))
        found[host] = "\n".join(lines)
    return Case("drawn", found, {}, {})


@settings(max_examples=6, deadline=None)
@given(ruled())
def test_sets_and_single_packets_say_the_same_whatever_the_rules(case: Case) -> None:
    world = World(case.views(), WIRES)
    reach = pairs(world, version=6, capacity=SMALL)
    for (source, target), make in product(permutations(ADDRESSES, 2), (ping, connect)):
        packet, pair = make(source, target), reach.pair(source, target)
        for assume in (dict.fromkeys(reach.sets.unknowns, value) for value in (False, True)):
            world.forget()
            there = world.trace(packet, source, assume=assume)
            arrives = (there.verdict, there.host) == ("delivered", target)
            back = world.trace(there.final.reply(), target, assume=assume) if arrives else None
            returns = back is not None and (back.verdict, back.host) == ("delivered", source)
            sets = (reach.sets.nothing, reach.sets.nothing, reach.sets.nothing, reach.sets.nothing)
            if pair is not None:
                sets = (pair.sure, pair.possible, pair.surely_answered, pair.answered)
            sure, possible, surely_back, possibly_back = (reach.sets.contains(one, packet) for one in sets)
            assert sure <= arrives <= possible, (packet, source, target, there.reason)
            assert surely_back <= returns <= possibly_back, (packet, source, target, back)
