"""Questions and answers: who speaks for a userland proxy, and from which address."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netverify.dataplane.packet import UDP, Packet
from netverify.dataplane.view import HostView, Link, Route, Service
from netverify.dataplane.world import Exchange, Wire, World
from netverify.ruleset import Ruleset

LISTENING = frozenset({("inner", 53)})
HOST, BRIDGE, INNER, CLIENT = "192.0.2.1", "10.0.0.1", "10.0.1.2", "10.0.0.2"


def ask(asked: str, service: Service, rules: str = "") -> Exchange:
    """client, on one network of the host, asks the proxy for inner, on another."""
    end = {name: Link.of("eth0", f"{address}/24") for name, address in (("client", CLIENT), ("inner", INNER))}
    host = HostView(
        "host",
        (
            Link.of("lo", "127.0.0.1/8"),
            Link.of("eth0", f"{HOST}/24"),
            Link.of("one", f"{BRIDGE}/24"),
            Link.of("two", "10.0.1.1/24"),
        ),
        services=(service,),
        ipv4=Ruleset.parse(f"*filter\n{rules}\nCOMMIT\n") if rules else Ruleset("ipv4"),
    )
    ways = {"client": BRIDGE, "inner": "10.0.1.1"}
    views = [host.with_connected_routes()]
    for name, link in end.items():
        way = Route(ip_network("0.0.0.0/0"), ip_address(ways[name]), "eth0")
        views.append(HostView(name, (link,), (way,)).with_connected_routes())
    wires = [Wire(frozenset({("host", "one"), ("client", "eth0")})),
             Wire(frozenset({("host", "two"), ("inner", "eth0")}))]  # fmt: skip
    packet = Packet.of(CLIENT, asked, "udp", dport=5353)
    return World(views, wires).ask(packet, "client", listening=LISTENING)


PROXY = Service(UDP, 5353, upstream=(ip_address(INNER), 53), version=4)


@pytest.mark.parametrize(
    ("asked", "service", "replied"),
    [
        (HOST, PROXY, True),
        (HOST, replace(PROXY, answers_as_asked=False), False),
        (BRIDGE, replace(PROXY, answers_as_asked=False), True),  # the address that the kernel picks
        (HOST, replace(PROXY, address=ip_address(HOST), answers_as_asked=False), True),
    ],
)
def test_from_where_a_proxy_answers(asked: str, service: Service, replied: bool) -> None:
    """A socket on all addresses says for UDP from where it answers, or lets the kernel pick (ip(7))."""
    found = ask(asked, service)
    assert (found.outcome, found.receiver, found.replied) == ("delivered", "inner", replied)
    if not replied:
        assert found.decided.reason == f"answered from {BRIDGE}, and {HOST} was asked: clients discard that"


def test_the_answer_of_a_proxy_passes_rules_too() -> None:
    rules = ":OUTPUT ACCEPT [0:0]\n-A OUTPUT -o one -j DROP"
    found = ask(HOST, PROXY, rules)
    assert (found.outcome, found.receiver, found.replied) == ("delivered", "inner", False)
    assert str(found.decided.place) == "filter:OUTPUT:rule:1"
