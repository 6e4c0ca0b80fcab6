"""Who reaches whom in a world: sets against single packets, and examples that the single packet confirms."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import equals
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.packet import Packet
from netverify.dataplane.reach import ModelsDisagree, Reach, pairs
from netverify.dataplane.view import HostView, Link, Route
from netverify.dataplane.well_formed import QUESTIONS
from netverify.dataplane.world import Wire, World
from netverify.ruleset import Ruleset
from tests.strategies.dataplane import headers, hosts

SMALL = 1 << 20
ROOM = SMALL << 3


def _end(name: str, address: str, gateway: str, *more: str) -> HostView:
    link = Link.of("eth0", address, *more)
    way = Route(ip_network("0.0.0.0/0"), via=ip_address(gateway), device="eth0")
    return HostView(name, (Link.of("lo", "127.0.0.1/8"), link), (way,)).with_connected_routes()


def _world(host: HostView) -> World:
    """A container behind the bridge of a host, and somebody on the host's uplink."""
    return World(
        (
            host,
            _end("inside", "10.0.0.2/16", "10.0.0.1"),
            _end("outside", "192.0.2.254/24", "192.0.2.1", "198.51.100.7/32"),
        ),
        (
            Wire(frozenset({("host", "port1"), ("inside", "eth0")})),
            Wire(frozenset({("host", "eth0"), ("outside", "eth0")})),
        ),
    )


ROUTER = HostView(
    "host",
    (
        Link.of("lo", "127.0.0.1/8"),
        Link.of("eth0", "192.0.2.1/24"),
        Link.of("br0", "10.0.0.1/16", is_bridge=True),
        Link("port1", master="br0"),
    ),
    sysctls={"net.ipv4.ip_forward": "1"},
).with_connected_routes()
PUBLISHED = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i eth0 -d 192.0.2.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.2:80
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A FORWARD -i br0 -o eth0 -p udp -j ACCEPT
-A FORWARD -i eth0 -o br0 -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
"""


def _published(rules: str = PUBLISHED) -> World:
    return _world(replace(ROUTER, ipv4=Ruleset.parse(rules)))


def test_an_example_is_as_it_is_sent() -> None:
    reach = pairs(_published(), ["outside"], ["inside"], only=equals("protocol", 6), capacity=SMALL)
    (pair,) = reach.pairs
    assert pair.example is not None
    assert pair.example.packet.destination in (_number("192.0.2.1"), _number("10.0.0.2"))
    assert pair.example.trace.final.destination == _number("10.0.0.2")
    assert pair.example.place is not None
    assert str(pair.example.place[1]) == "filter:FORWARD:rule:3"
    port = Packet.of("192.0.2.254", "192.0.2.1", "tcp", dport=8080)
    assert reach.sets.contains(pair.answered, port)
    assert not reach.sets.contains(pair.possible, port.with_(dport=8081))


def test_an_answer_that_is_cut_is_no_exchange() -> None:
    rules = PUBLISHED.replace("-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n", "")
    (pair,) = pairs(_published(rules), ["outside"], ["inside"], capacity=SMALL).pairs
    assert pair.example is not None
    assert pair.exchange is None


def test_forged_sources_are_asked_for() -> None:
    honest = pairs(_published(), ["inside"], ["outside"], capacity=SMALL)
    forged = pairs(_published(), ["inside"], ["outside"], spoofed=True, capacity=SMALL)
    packet = Packet.of("10.0.7.7", "192.0.2.254", "udp", dport=53)
    assert not honest.sets.contains(honest.pairs[0].possible, packet)
    assert forged.sets.contains(forged.pairs[0].possible, packet)


def test_a_disagreement_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _published()
    trace = World.trace

    def wrong(self: World, packet: Packet, host: str, **more: object) -> object:
        return trace(self, packet.with_(dport=9), host, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(World, "trace", wrong)
    with pytest.raises(ModelsDisagree, match=r"outside to inside.*as a single packet it is dropped at host"):
        pairs(world, ["outside"], ["inside"], only=equals("protocol", 6), capacity=SMALL)


def test_a_host_that_is_not_there() -> None:
    with pytest.raises(DataplaneError, match="no host 'nobody' in this world"):
        pairs(_published(), ["nobody"])


@settings(max_examples=6, deadline=None)
@given(hosts(), st.lists(headers(), min_size=15, max_size=15))
def test_pairs_are_what_single_packets_show(host: HostView, packets: list[Packet]) -> None:
    world = _world(host)
    try:
        reach = pairs(world, ["inside", "outside"], spoofed=True, capacity=SMALL, largest=ROOM)
    except DataplaneError:  # some hosts compare two free addresses: too much, and said to be
        reject()
    for source in ("inside", "outside"):
        for packet in packets:
            for unknown in (False, True):
                _same(world, reach, source, packet, dict.fromkeys(reach.sets.unknowns, unknown))


def _same(world: World, reach: Reach, source: str, packet: Packet, assume: dict[str, bool]) -> None:
    world.forget()
    there = world.trace(packet, source, assume=assume)
    answer = None
    if there.verdict == "delivered" and OnePacket(packet).satisfying(QUESTIONS[4]):
        answer = world.trace(there.final.reply(), there.host, assume=assume)
    for receiver in world.stacks:
        pair = reach.pair(source, receiver)
        arrives = there.verdict == "delivered" and there.host == receiver
        returns = arrives and answer is not None and (answer.verdict, answer.host) == ("delivered", source)
        if pair is None:
            assert not arrives, (packet, source, receiver)
            continue
        for happens, sure, possible in (
            (arrives, pair.sure, pair.possible),
            (returns, pair.surely_answered, pair.answered),
        ):
            assert reach.sets.contains(sure, packet) <= happens <= reach.sets.contains(possible, packet), (
                packet, source, receiver, happens,
            )  # fmt: skip


def _number(text: str) -> int:
    return Packet.of(text, text).source
