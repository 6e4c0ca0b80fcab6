"""What every modelled match and target says, on packets that just do and just do not."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.program import compile_rules
from netverify.dataplane.targets import Verdict
from netverify.dataplane.view import HostView, Link, Route
from netverify.dataplane.world import Wire, World
from netverify.ruleset import Chain, Rule, Ruleset, Table
from tests.strategies.dataplane import HOST

V4 = ("192.0.2.7", "10.0.0.2")
V6 = ("2001:db8::7", "2001:db8::9")

ERROR = {"protocol": 1, "icmp_type": 3}
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # match, fields of a packet that it takes, and of one that it leaves
    ("-s 192.0.2.0/24", {}, {"source": 1}),
    ("! -s 192.0.2.0/24", {"source": 1}, {}),
    ("-d 10.0.0.2/255.0.0.255", {}, {"destination": (10 << 24) + 3}),
    ("-i eth+", {"in_interface": "eth9"}, {"in_interface": "br0"}),
    ("! -o br0", {"out_interface": ""}, {"out_interface": "br0"}),
    ("-p tcp", {}, {"protocol": 17}),
    ("-p tcp -m tcp --dport 79:80", {"dport": 79}, {"dport": 81}),
    ("-p tcp -m tcp --dport 80", {"dport": 80}, {"dport": 80, "fragment": 1}),
    ("-p tcp -m tcp ! --dport 80", {"dport": 81}, {"dport": 81, "fragment": 1}),
    ("-p tcp -m tcp --sport 1024:", {"sport": 65535}, {"sport": 1023}),
    ("-p tcp -m tcp --tcp-flags SYN,ACK SYN", {"tcp_flags": 2}, {"tcp_flags": 18}),
    ("-p tcp -m tcp --tcp-flags SYN,ACK NONE", {"tcp_flags": 1}, {"tcp_flags": 2}),
    ("-p tcp -m tcp --syn", {"tcp_flags": 2}, {"tcp_flags": 6}),
    ("-p tcp -m multiport --ports 22,80:90", {"sport": 85}, {"sport": 91, "dport": 23}),
    ("-p tcp -m multiport ! --dports 22", {"dport": 23}, {"dport": 22}),
    ("-p icmp -m icmp --icmp-type 3/1", {**ERROR, "icmp_code": 1}, ERROR),
    ("-p icmp -m icmp --icmp-type echo-request", {"protocol": 1, "icmp_type": 8}, {"protocol": 1}),
    ("-m conntrack --ctstate NEW,RELATED", {"state": State.RELATED}, {"state": State.INVALID}),
    ("-m conntrack --ctstate SNAT", {"tracked": 1, "ct_nat": 3}, {"tracked": 1, "ct_nat": 2}),
    ("-m conntrack ! --ctproto 17", {"tracked": 1, "ct_protocol": 6}, {"tracked": 0}),
    ("-m conntrack --ctorigdst 10.0.0.0/8", {"tracked": 1, "ct_destination": 10 << 24}, {"tracked": 1}),
    ("-m conntrack --ctdir REPLY", {"tracked": 1, "ct_direction": 1}, {"tracked": 1}),
    ("-m state ! --state NEW", {"state": State.UNTRACKED}, {"state": State.NEW}),
    ("-m mark --mark 0x10/0xf0", {"mark": 0x11F}, {"mark": 0x20}),
    ("-m connmark ! --mark 0x1", {"tracked": 1}, {"tracked": 0}),
    ("-m addrtype --dst-type LOCAL", {"destination": (10 << 24) + 1}, {}),
    ("-m addrtype --dst-type LOCAL", {"destination": 0x7F000009}, {"destination": 0xC0000202}),
    ("-m addrtype --dst-type BROADCAST", {"destination": 0x0A00FFFF}, {"destination": 0x0A0000FF}),
    ("-m addrtype ! --src-type UNICAST", {"source": 0xE0000001}, {}),
    ("-m mac --mac-source 02:42:0a:00:00:02", {"mac": 0x02420A000002}, {"mac": 1}),
    ("-m mac ! --mac-source 02:42:0a:00:00:02", {"mac": 1}, {"mac": None}),
    ("-m iprange --src-range 192.0.2.7-192.0.2.9", {}, {"source": 0xC000020A}),
    ("-m length --length 61:", {"length": 61}, {"length": 60}),
    ("-m ttl --ttl-gt 63", {"ttl": 64}, {"ttl": 63}),
    ("-m ttl --ttl-lt 1", {"ttl": 0}, {"ttl": 1}),
    ("-m owner --uid-owner 0-99", {"uid": 99}, {"uid": -1}),
    ("-m owner ! --uid-owner 0", {"uid": -1}, {"uid": 0}),
    ("-m pkttype --pkt-type broadcast", {"pkttype": 1}, {}),
    ("-m physdev --physdev-in port+", {"physdev_in": "port1"}, {}),
    ("-m physdev ! --physdev-is-bridged", {}, {"physdev_in": "port1", "physdev_out": "port2"}),
    ("-m physdev --physdev-is-out", {"physdev_out": "port1"}, {}),
    ("-m rpfilter", {"reverse_path": 2}, {"reverse_path": 1}),
    ("-m rpfilter --loose --invert", {"reverse_path": 0}, {"reverse_path": 1}),
    ("-m policy --dir in --pol none", {}, {"source": -2}),
    ("-m recent --set --name x --rsource", {}, {"source": -2}),
    ("-m limit --limit 5/min --limit-burst 3", {}, {"source": -2}),
    ("-m comment --comment x", {}, {"source": -2}),
    ("! -f", {}, {"fragment": 1}),
    ("-m set --match-set inside dst", {}, {"destination": 1}),
]  # fmt: skip


def _verdict(version: int, text: str, packet: Packet, host: HostView = HOST) -> tuple[Verdict, OnePacket]:
    chain = Chain.of("FORWARD", Rule.parse(f"{text} -j ACCEPT", chain="FORWARD"), policy="DROP")
    rules = Ruleset("ipv4" if version == 4 else "ipv6", (Table("filter", (chain,)),))
    one = OnePacket(packet)
    (ending,) = Evaluator(compile_rules(rules, host), one).run("filter", "FORWARD", True)
    assert isinstance(ending, Verdict)
    return ending, one


@pytest.mark.parametrize(("text", "taken", "left"), CASES)
def test_match(text: str, taken: dict[str, Any], left: dict[str, Any]) -> None:
    host = HostView(HOST.name, HOST.links, sets={"inside": (ip_network("10.0.0.0/8"),)})
    packet = Packet.of(*V4, "tcp", dport=80)
    assert _verdict(4, text, packet.with_(**taken), host)[0] is Verdict.ACCEPT
    if left.get("source") != -2:  # a match that takes everything
        assert _verdict(4, text, packet.with_(**left), host)[0] is Verdict.DROP


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("-p ipv6-icmp -m icmp6 --icmpv6-type 128", True),
        ("-m hl --hl-eq 63", False),
        ("-m rt --rt-type 0", False),
        ("-s 2001:db8::/64", True),
        ("-m addrtype --src-type LOCAL", False),
    ],
)
def test_match_of_ipv6(text: str, taken: bool) -> None:
    assert (_verdict(6, text, Packet.of(*V6))[0] is Verdict.ACCEPT) == taken


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ('-m string --algo bm --string "x"', False),
        ('-m string --algo bm ! --string "x"', True),
        ("-m hashlimit --hashlimit-above 5/sec --hashlimit-name x", False),
        ("-m hashlimit --hashlimit-upto 5/sec --hashlimit-name x", True),
        ("-m connlimit --connlimit-above 3", False),
        ("-m connlimit ! --connlimit-above 3", True),
        ("-m recent --update --seconds 60 --name x", False),
        ("-m nonsense --level 3", False),
        ("-m conntrack --ctexpire 1:2", False),
        ("-m set --match-set nobody-knows src", False),
    ],
)
def test_what_is_not_modelled_is_an_unknown_with_its_sensible_reading(text: str, usual: bool) -> None:
    ending, one = _verdict(4, text, Packet.of(*V4, "tcp", dport=80, tracked=1))
    assert len(one.assumed) == 1
    assert (ending is Verdict.ACCEPT) == usual


def test_a_frame_is_from_the_device_that_it_left_by() -> None:
    """The sender's Ethernet address is that of the last hop, not of who first sent the packet."""
    rules = (
        "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m mac --mac-source 02:00:00:00:00:0a -j ACCEPT\nCOMMIT\n"
    )
    default = Route(ip_network("0.0.0.0/0"), via=ip_address("10.0.0.1"), device="eth0")
    hosts = [
        HostView("near", (Link.of("eth0", "10.0.0.2/24", mac=0x02000000000A),), (default,)),
        HostView(
            "router",
            (Link.of("eth0", "10.0.0.1/24", mac=0x02000000000B), Link.of("eth1", "10.1.0.1/24")),
            sysctls={"net.ipv4.ip_forward": "1"},
            ipv4=Ruleset.parse(rules),
        ),
        HostView("far", (Link.of("eth0", "10.1.0.2/24"),)),
    ]
    wires = [Wire(frozenset({("near", "eth0"), ("router", "eth0")}))]
    wires.append(Wire(frozenset({("router", "eth1"), ("far", "eth0")})))
    world = World([host.with_connected_routes() for host in hosts], wires)
    assert world.trace(Packet.of("10.0.0.2", "10.1.0.2", "udp", dport=80), "near").verdict == "delivered"
