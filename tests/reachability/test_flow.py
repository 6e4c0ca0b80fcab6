"""Flows as facts: what validates, what is derived."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from netverify.reachability.flow import (
    ConntrackEntry,
    ConntrackTuple,
    Direction,
    Leg,
    ObservedFlow,
    Sighting,
    TransportAddress,
)


def at(host: str, port: int | None = None) -> TransportAddress:
    return TransportAddress(ip_address(host), port)


CLIENT, PUBLIC, GATEWAY, SERVER = (
    at("10.0.0.7", 40000),
    at("192.0.2.1", 8080),
    at("172.17.0.1", 40001),
    at("172.17.0.2", 80),
)
SEEN = Sighting("uplink", Leg.REQUEST, Direction.IN, CLIENT, PUBLIC, 0)
BOTH_NAT = ConntrackEntry(
    ConntrackTuple("tcp", CLIENT, PUBLIC), ConntrackTuple("tcp", SERVER, GATEWAY), frozenset({"UNREPLIED"})
)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (at("10.0.0.1"), "10.0.0.1"),
        (at("10.0.0.1", 80), "10.0.0.1:80"),
        (at("fd00::1"), "fd00::1"),
        (at("fd00::1", 80), "[fd00::1]:80"),
    ],
)
def test_addresses_read_as_usual(address, text):
    assert str(address) == text


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: at("10.0.0.1", 65536), "port 65536"),
        (lambda: replace(SEEN, destination=at("fd00::1", 1)), "mixes IPv4 and IPv6"),
        (lambda: replace(SEEN, count=0), "sighting of 0 packets"),
        (lambda: ObservedFlow("", ("a", "a"), ()), "same name: a, a"),
        (lambda: ObservedFlow("", ("a",), (SEEN,)), "seen at uplink, which nobody watched"),
        (
            lambda: ConntrackEntry(BOTH_NAT.original, replace(BOTH_NAT.reply, protocol="udp")),
            "tcp is answered by udp",
        ),
    ],
)
def test_impossible_facts_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


@pytest.mark.parametrize(
    ("leg", "source", "destination", "belongs"),
    [
        (Leg.REQUEST, CLIENT, PUBLIC, True),  # untranslated
        (Leg.REQUEST, CLIENT, SERVER, True),  # after DNAT
        (Leg.REQUEST, GATEWAY, SERVER, True),  # after DNAT and SNAT
        (Leg.REQUEST, GATEWAY, PUBLIC, False),  # no stage: DNAT comes before SNAT
        (Leg.REQUEST, replace(CLIENT, port=1), PUBLIC, False),
        (Leg.REQUEST, SERVER, GATEWAY, False),
        (Leg.REPLY, SERVER, GATEWAY, True),
        (Leg.REPLY, SERVER, CLIENT, True),
        (Leg.REPLY, PUBLIC, CLIENT, True),
        (Leg.REPLY, PUBLIC, GATEWAY, False),
        (Leg.ERROR, CLIENT, PUBLIC, False),
    ],
)
def test_a_packet_belongs_to_a_connection_at_every_stage(leg, source, destination, belongs):
    assert BOTH_NAT.carries(replace(SEEN, leg=leg, source=source, destination=destination)) is belongs


def test_an_echo_belongs_by_its_identifier_before_and_after_nat():
    ends = at("10.0.0.1"), at("10.0.0.2")
    entry = ConntrackEntry(
        ConntrackTuple("icmp", *ends, 38, 8, 0), ConntrackTuple("icmp", *reversed(ends), 1025, 0, 0)
    )
    echo = Sighting("a", Leg.REQUEST, Direction.IN, *ends, 0, identifier=38)
    assert entry.carries(echo)
    assert entry.carries(replace(echo, identifier=1025))
    assert not entry.carries(replace(echo, identifier=39))


def test_status_reads_as_questions():
    assert BOTH_NAT.unreplied
    assert not BOTH_NAT.assured
    assert not BOTH_NAT.source_nat
    assert not BOTH_NAT.destination_nat
    assert BOTH_NAT.version == 4


def test_asking_for_a_point_that_was_not_watched_is_an_error():
    flow = ObservedFlow("", ("uplink",), (SEEN,))
    assert flow.at("uplink", Leg.REQUEST) == (SEEN,)
    with pytest.raises(KeyError, match="'docker0' was not watched; points: uplink"):
        flow.at("docker0", Leg.REQUEST)


def test_path_and_unseen():
    flow = ObservedFlow("", ("uplink", "docker0"), (SEEN,))
    assert flow.path(Leg.REQUEST) == (("uplink", "10.0.0.7:40000", "192.0.2.1:8080"),)
    assert flow.unseen(Leg.REQUEST) == ("docker0",)
    assert flow.unseen(Leg.REPLY) == ("uplink", "docker0")


def test_rewrites_are_told_from_one_sighting_to_the_next_of_the_same_leg():
    inside = replace(SEEN, point="docker0", source=GATEWAY, destination=SERVER)
    answer = replace(inside, leg=Leg.REPLY, source=SERVER, destination=GATEWAY)
    flow = ObservedFlow("", ("uplink", "docker0"), (SEEN, inside, answer))
    assert [rewrites for _, rewrites in flow.with_rewrites(Leg.REQUEST)] == [
        (),
        (
            "source rewritten 10.0.0.7:40000 -> 172.17.0.1:40001",
            "destination rewritten 192.0.2.1:8080 -> 172.17.0.2:80",
        ),
    ]
    assert [rewrites for _, rewrites in flow.with_rewrites(Leg.REPLY)] == [()]
