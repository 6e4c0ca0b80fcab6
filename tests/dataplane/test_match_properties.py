"""What holds of all matches: `!` turns them around, spellings do not matter, sets agree with packets."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import Condition, all_of, unknowns
from netverify.dataplane.ipset import IpSet
from netverify.dataplane.matches import Context, compile_match
from netverify.dataplane.packet import Packet
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.view import DEFAULT_RULES, HostView, Route, RoutingRule
from netverify.ruleset import Rule
from tests.strategies.dataplane import DEVICES, HOST, packets

SMALL = 1 << 18
SETS = {
    "net": IpSet.of("hash:net", "10.0.0.0/8", "10.0.0.0/16 nomatch", "10.0.0.2"),
    "service": IpSet.of("hash:ip,port", "10.0.0.2,tcp:80", "10.0.1.255,udp:1023", "10.0.0.2,icmp:8/0"),
    "served": IpSet.of(
        "hash:ip,port,net",
        "10.0.0.2,tcp:80,10.0.0.0/8",
        "10.0.0.2,tcp:80,10.0.0.1/32 nomatch",
    ),
    "device": IpSet.of("hash:net,iface", "10.0.0.0/8,eth0", "10.0.1.0/24,br0", "192.0.2.0/24,et wildcard"),
    "marked": IpSet.of("hash:ip,mark", "10.0.0.2,0x1", markmask=0x3),
    "cards": IpSet.of("hash:mac", "02:42:0a:00:00:02"),
    "both": IpSet.of("bitmap:ip,mac", "10.0.0.2,02:42:0a:00:00:02"),
    "low": IpSet.of("bitmap:port", "22-80", "1024"),
    "masked": IpSet.of("bitmap:ip", "10.0.0.0", netmask=24),
    "range": IpSet.of("hash:ip", "10.0.0.1-10.0.0.9", "192.0.2.0/30"),
    "pairs": IpSet.of("hash:net,net", "10.0.0.0/8,10.0.0.0/8", "10.0.0.0/16,10.0.0.0/8 nomatch"),
    "list": IpSet.of("list:set", "net", "low"),
    "mortal": IpSet.of("hash:ip", "10.0.0.2 timeout 9", "10.0.0.1"),
}
VIEW = HostView(HOST.name, HOST.links, HOST.with_connected_routes().routes, sets=SETS)

TESTED = {
    "-s": ["10.0.0.0/16", "10.0.0.2", "10.0.0.1/255.0.0.255"],
    "-d": ["192.0.2.0/24", "0.0.0.0/1"],
    "-i": ["eth0", "eth+", "br0"],
    "-o": ["br0", "b+"],
    "-p": ["tcp", "17", "47"],
    "-m iprange --src-range": ["10.0.0.2-10.0.1.255"],
    "-m iprange --dst-range": ["192.0.2.1-192.0.2.255"],
    "-m mark --mark": ["0x1", "0x1/0x3", "3", "0x0/0x0", "0x5/0x1"],
    "-m length --length": ["60", "60:100", ":59"],
    "-m ttl --ttl-eq": ["10"],
    "-m tos --tos": ["0x10/0x3f", "Minimize-Cost"],
    "-m dscp --dscp": ["0x2e", "63"],
    "-m dscp --dscp-class": ["EF", "AF41"],
    "-m ecn --ecn-ip-ect": ["2"],
    "-m pkttype --pkt-type": ["unicast", "multicast"],
    "-m state --state": ["NEW", "ESTABLISHED,RELATED", "UNTRACKED", "INVALID"],
    "-m conntrack --ctstate": ["NEW,DNAT", "SNAT", "INVALID"],
    "-m addrtype --src-type": ["LOCAL", "UNICAST", "BROADCAST,MULTICAST", "BLACKHOLE"],
    "-m addrtype --dst-type": ["LOCAL", "UNICAST,LOCAL", "ANYCAST", "THROW"],
    "-m owner --uid-owner": ["0", "1000-1001"],
    "-m owner --gid-owner": ["0-9"],
    "-m physdev --physdev-in": ["port1", "port+", "+"],
    "-m string --algo bm --string": ['"x"'],
    "-m connlimit --connlimit-above": ["3"],
    "-m quota --quota": ["100"],
    "-m cpu --cpu": ["0"],
    "-m helper --helper": ["ftp"],
    **{
        f"-m set --match-set {name}": [",".join(flags for _ in held.parts) for flags in ("src", "dst")]
        for name, held in SETS.items()
        if "mac" not in held.parts
    },
    "-m set --match-set cards": ["src"],
    "-m set --match-set both": ["src,src", "dst,src", "dst"],
    "-m set --match-set nobody-knows": ["src"],
}
"""Matches that `!` turns around for every packet: what stands before the value, and values."""

AS_FAR_AS: dict[str, dict[str, Any]] = {
    "-p tcp -m tcp --dport 22:80": {"protocol": 6, "fragment": 0},
    "-p udp -m udp --sport 1023": {"protocol": 17, "fragment": 0},
    "-p tcp -m tcp --tcp-flags SYN,ACK SYN": {"protocol": 6, "fragment": 0},
    "-p udp -m multiport --ports 80,1024:65535": {"protocol": 17, "fragment": 0},
    "-p icmp -m icmp --icmp-type 3/0:1": {"protocol": 1, "fragment": 0},
    "-p sctp -m sctp --dport 80": {"protocol": 132, "fragment": 0},
    "-p tcp -m ecn --ecn-tcp-ece": {"protocol": 6},
    "-m conntrack --ctproto 6": {"tracked": 1},
    "-m conntrack --ctorigdst 10.0.0.0/8": {"tracked": 1},
    "-m conntrack --ctorigdstport 80": {"tracked": 1},
    "-m conntrack --ctstatus SEEN_REPLY": {"tracked": 1},
    "-m conntrack --ctstatus ASSURED": {"tracked": 1},
    "-m connmark --mark 0x2/0x3": {"tracked": 1},
    "-m connbytes --connbytes 1: --connbytes-mode bytes --connbytes-dir both": {"tracked": 1},
}
"""Matches of which both fail where the packet lacks something, and what that is."""
NAMED_BEFORE_VALUE = ("--string", "--probability")


def condition(text: str, version: int = 4, host: HostView = VIEW) -> Condition:
    context = Context(version, host, "host: filter:X:rule:1")
    return all_of(compile_match(match, context) for match in Rule.parse(text, chain="X").matches)


def _negated(text: str) -> str:
    """The rule with `!` before the option that tests."""
    first, dash, rest = text.rpartition(" --")
    if "connbytes" in text:
        return text.replace("--connbytes 1:", "! --connbytes 1:")
    return f"{first} !{dash}{rest}" if dash else f"! {text}"


def _plain() -> list[str]:
    return [f"{words} {value}" for words, values in TESTED.items() for value in values]


@st.composite
def wide_packets(draw: st.DrawFn, version: int = 4) -> Packet:
    """Packets at the edges of the tables here."""
    pick = st.sampled_from
    return draw(packets(version)).with_(
        tos=draw(pick([0, 2, 0x10, 0xB8, 0x88, 0xFC, 0x42])),
        gid=draw(pick([-1, 0, 9, 10])),
        ct_protocol=draw(pick([6, 17])),
        ct_destination=draw(pick([10 << 24, 11 << 24])) if version == 4 else 0,
        ct_seen_reply=draw(st.integers(0, 1)),
    )


@pytest.mark.parametrize("text", _plain())
@settings(max_examples=10, deadline=None)
@given(packet=wide_packets())
def test_an_exclamation_mark_turns_a_match_around(text: str, packet: Packet) -> None:
    plain, negated = (OnePacket(packet).satisfying(condition(each)) for each in (text, _negated(text)))
    assert plain != negated


@pytest.mark.parametrize(("text", "needed"), AS_FAR_AS.items())
@settings(max_examples=20, deadline=None)
@given(packet=wide_packets(), has_it=st.booleans())
def test_both_fail_where_something_is_missing(
    text: str, needed: dict[str, Any], packet: Packet, has_it: bool
) -> None:
    packet = packet.with_(**needed) if has_it else packet
    has_it = all(getattr(packet, name) == value for name, value in needed.items())
    plain, negated = (OnePacket(packet).satisfying(condition(each)) for each in (text, _negated(text)))
    assert (plain != negated) if has_it else not (plain or negated)


@pytest.mark.parametrize("text", _plain() + list(AS_FAR_AS))
def test_a_match_and_its_negation_are_about_the_same_unknowns(text: str) -> None:
    assert unknowns(condition(text)) == unknowns(condition(_negated(text)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-s 10.0.0.0/8", "-s 10.0.0.0/255.0.0.0"),
        ("-s 10.0.0.2", "-s 10.0.0.2/32"),
        ("-p tcp", "-p 6"),
        ("-p TCP", "-p 0x6"),
        ("-p tcp --dport http", "-p tcp -m tcp --dport 80"),
        ("-p tcp --destination-port 80", "-p tcp -m tcp --dport 80:80"),
        ("-p tcp --syn", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"),
        ("-p tcp --tcp-flags SYN,ACK NONE", "-p tcp --tcp-flags 0x12 0x00"),
        ("-p tcp -m multiport --destination-ports 80", "-p tcp -m multiport --dports 80:80"),
        ("-p icmp --icmp-type ping", "-p icmp -m icmp --icmp-type 8"),
        ("-p icmp --icmp-type echo-req", "-p icmp -m icmp --icmp-type 8/0:255"),
        ("-p icmp --icmp-type TOS-host-redirect", "-p icmp -m icmp --icmp-type 5/3"),
        ("-m ttl --ttl 64", "-m ttl --ttl-eq 64"),
        ("-m tos --tos Minimize-Delay", "-m tos --tos 0x10/0x3f"),
        ("-m tos --tos 16", "-m tos --tos 0x10/0xff"),
        ("-m dscp --dscp-class EF", "-m dscp --dscp 46"),
        ("-m mark --mark 010", "-m mark --mark 0x8/0xffffffff"),
        ("-m mark --mark 8", "-m mark --mark 0x8"),
        ("-m iprange --src-range 10.0.0.2", "-m iprange --src-range 10.0.0.2-10.0.0.2"),
        ("-m state --state NEW", "-m conntrack --ctstate NEW"),
        ("-m conntrack --ctdir REPLY", "-m conntrack --ctdir reply"),
        ("-m mac --mac-source 2:42:a:0:0:2", "-m mac --mac-source 02:42:0A:00:00:02"),
        ("-m pkttype --pkt-type host", "-m pkttype --pkt-type unicast"),
        ("-m owner --uid-owner root", "-m owner --uid-owner 0-0"),
        ("-m set --set net src", "-m set --match-set net src"),
        ("-m addrtype --src-type local", "-m addrtype --src-type LOCAL"),
    ],
)
def test_spellings_do_not_matter(one: str, other: str) -> None:
    sets = PacketSets(4, DEVICES, capacity=SMALL)
    assert sets.satisfying(condition(one)) == sets.satisfying(condition(other))
    assert not unknowns(condition(one))


OTHERS = {
    4: [
        "-f", "! -f", "-m mac --mac-source 02:42:0a:00:00:02", "-m mac ! --mac-source 02:42:0a:00:00:02",
        "-m rpfilter", "-m rpfilter --invert --loose", "-m rpfilter --accept-local",
        "-m rpfilter --accept-local --loose", "-m rpfilter --validmark",
        "-m addrtype --dst-type LOCAL --limit-iface-in", "-m addrtype --dst-type LOCAL --limit-iface-out",
        "-m addrtype --src-type BROADCAST,LOCAL --limit-iface-in", "-m physdev ! --physdev-out port1",
        "-m physdev --physdev-is-bridged", "-m physdev --physdev-is-in ! --physdev-is-out",
        "-m owner --uid-owner 0 ! --gid-owner 9 --suppl-groups", "-m owner ! --socket-exists",
        "-m conntrack --ctstate INVALID --ctproto 6", "-m conntrack ! --ctstate NEW ! --ctdir REPLY",
        "-m conntrack --ctstatus NONE,ASSURED,CONFIRMED", "-m policy --dir in --pol none",
        "-m ttl --ttl-lt 10", "-m policy --dir in --pol ipsec --reqid 1",
        "-m set --match-set net src --return-nomatch",
        "-m set ! --match-set served src,src,dst --return-nomatch", "-m ttl --ttl-gt 9",
        "-m set --match-set net src --packets-gt 3", "-m tcp --tcp-option 3 --dport 80",
    ],
    6: [
        "-s 2001:db8::/64", "! -d fe80::/10", "-m hl --hl-lt 10", "-m hl --hl-eq 64", "-m rt --rt-type 0",
        "-m rt ! --rt-type 0", "-m iprange --src-range 2001:db8::1-2001:db8::9", "-p ah", "! -p ipv6-frag",
        "-p icmpv6 -m icmp6 --icmpv6-type echo-request", "-p icmpv6 -m icmp6 ! --icmpv6-type 1/4",
        *(f"-m addrtype --dst-type {kind}" for kind in ("LOCAL", "ANYCAST", "UNREACHABLE", "UNICAST,LOCAL")),
        "-m addrtype ! --src-type MULTICAST,LOCAL", "-m addrtype --dst-type LOCAL --limit-iface-in",
        "-m addrtype --src-type ANYCAST --limit-iface-in", "-m rpfilter", "-m rpfilter --accept-local",
        "-m conntrack --ctorigsrc 2001:db8::/32", "-s 10.0.0.0/8", "-m addrtype --dst-type BROADCAST",
    ],
}  # fmt: skip


@pytest.mark.parametrize("version", [4, 6])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_sets_agree_with_packets_about_every_match(version: int, data: st.DataObject) -> None:
    """The set of packets that a match takes holds just those that pass it, whatever the unknowns are."""
    texts = OTHERS[version] + ([*_plain(), *AS_FAR_AS] if version == 4 else [])
    texts += [_negated(text) for text in _plain()] if version == 4 else []
    sets = PacketSets(version, [*DEVICES, "lo"], capacity=SMALL)
    probes = [data.draw(wide_packets(version)) for _ in range(3)]
    for text in texts:
        tested = condition(text, version)
        assume = {each.name: data.draw(st.booleans()) for each in sorted(unknowns(tested), key=str)}
        taken = sets.satisfying(tested)
        for packet in probes:
            alone = OnePacket(packet, assume).satisfying(tested)
            assert sets.contains(taken, packet, assume) == alone, text


def test_routing_rules_may_make_an_answer_unknown() -> None:
    """Which way leads back depends on the mark then, and in IPv6 which table is asked for an address."""
    marked = (RoutingRule(100, 7, mark=1, mark_mask=0xFF), *DEFAULT_RULES)
    host = HostView("host", VIEW.links, VIEW.routes, routing_rules=marked)
    assert unknowns(condition("-m rpfilter --validmark", 4, host))
    assert unknowns(condition("-m addrtype --dst-type UNREACHABLE", 6, host))
    assert unknowns(condition("-m addrtype --dst-type LOCAL", 6, _ruled(RoutingRule(0, 7), *DEFAULT_RULES)))
    assert not unknowns(condition("-m rpfilter --validmark", 4))


def _ruled(*rules: RoutingRule) -> HostView:
    return HostView("host", VIEW.links, VIEW.routes, routing_rules=rules)


def test_behind_the_table_of_local_routes_other_rules_say_nothing_of_own_addresses() -> None:
    text = "-m addrtype --dst-type LOCAL"
    behind = _ruled(*DEFAULT_RULES, RoutingRule(100, 7, mark=1, mark_mask=0xFF))
    assert condition(text, 6, behind) == condition(text, 6)
    other = _ruled(*DEFAULT_RULES, RoutingRule(100, 7, version=4, mark=1, mark_mask=0xFF))
    assert not unknowns(condition("-m addrtype --dst-type UNREACHABLE", 6, other))
    assert not unknowns(condition("-m rpfilter --validmark", 6, other))


def test_the_types_of_addresses_follow_the_table_of_local_routes() -> None:
    """The most specific route decides; refusing routes of the main table give no type (fib_frontend.c)."""
    routes = (
        Route(ip_network("203.0.113.0/24"), kind="blackhole"),
        Route(ip_network("198.51.100.0/24"), device="eth0", kind="local", table=255),
        Route(ip_network("198.51.100.7/32"), device="eth0", kind="broadcast", table=255),
    )
    host = HostView("host", HOST.links, routes)
    types = {
        "203.0.113.1": "UNICAST",
        "198.51.100.1": "LOCAL",
        "198.51.100.7": "BROADCAST",
        "0.0.0.0": "BROADCAST",
        "127.255.255.255": "BROADCAST",
        "127.0.0.9": "LOCAL",
        "10.0.0.0": "UNICAST",
        "10.0.255.255": "BROADCAST",
        "224.0.0.1": "MULTICAST",
        "192.0.2.1": "LOCAL",
    }
    kinds = ("UNICAST", "LOCAL", "BROADCAST", "MULTICAST", "ANYCAST", "BLACKHOLE", "UNSPEC")
    for address, kind in types.items():
        one = OnePacket(Packet.of("192.0.2.7", address))
        found = [k for k in kinds if one.satisfying(condition(f"-m addrtype --dst-type {k}", 4, host))]
        assert found == [kind], address
