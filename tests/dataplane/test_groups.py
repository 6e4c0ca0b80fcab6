"""IPv6 anycast and multicast of a host: one packet at a time, and all packets at once, say the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify.dataplane.packet import Packet
from netverify.dataplane.passing import Passing
from netverify.dataplane.stack import Delivered, Sent, Stack, Stopped
from netverify.dataplane.view import HostView, Link

SMALL = 1 << 20
LINKS = (
    Link.of("lo", "::1/128"),
    Link.of("eth0", "fd00::1/64"),
    Link.of("eth1", "fd01::1/64", "fd02::/64", "fd03::1/127"),
)
ROUTER = HostView("host", LINKS, sysctls={"net.ipv6.conf.all.forwarding": "1"}).with_connected_routes()
NODE = replace(ROUTER, sysctls={})
FATES = {Delivered: "delivered", Sent: "sent", Stopped: "dropped"}


@pytest.mark.parametrize(
    ("target", "router", "node"),
    [
        ("fd01::1", "delivered", "delivered"),
        ("fd01::", "delivered", "dropped"),  # the anycast address of the subnet's routers
        ("fd01::2", "sent", "dropped"),
        ("fd02::", "delivered", "delivered"),  # an address of the host's own that is nobody's anycast
        ("fd03::", "sent", "dropped"),  # a subnet of two addresses has no such address (RFC 6164)
        ("ff02::1", "delivered", "delivered"),
        ("ff02::2", "delivered", "dropped"),
        ("ff02::1:ff00:1", "delivered", "delivered"),
        ("ff02::1:ff00:0", "delivered", "dropped"),
        ("ff02::fb", "dropped", "dropped"),
    ],
)
def test_who_is_delivered_to(target: str, router: str, node: str) -> None:
    packet = Packet.of("fd00::9", target, "udp", dport=7000)
    for view, expected in ((ROUTER, router), (NODE, node)):
        assert FATES[type(Stack(view).receive(packet, "eth0"))] == expected
        passing = Passing(view, version=6, capacity=SMALL)
        found = passing.holding(passing.entering(), packet.with_(in_interface="eth0"), {})
        assert [end.fate for end, _now in found] == [expected]


def test_what_programs_have_joined_is_unknown() -> None:
    stack = Stack(NODE)
    packet = Packet.of("fd00::9", "ff02::fb", "udp", dport=5353)
    assert isinstance(stack.receive(packet, "eth0"), Stopped)
    name = "a program on host has joined ff02::fb on eth0"
    assert dict(stack.recorder.assumed) == {name: False}
    stack.assume = {name: True}
    assert isinstance(stack.receive(packet, "eth0"), Delivered)
