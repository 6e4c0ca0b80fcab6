"""Strategies for the dataplane room: rulesets that say something, and packets at the edges of it."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from netverify.dataplane.packet import Packet, State
from netverify.dataplane.view import HostView, Link
from netverify.ruleset import Chain, Rule, Ruleset, Table

HOST = HostView(
    "host",
    (
        Link.of("lo", "127.0.0.1/8"),
        Link.of("eth0", "192.0.2.1/24", "2001:db8::1/64"),
        Link.of("br0", "10.0.0.1/16", is_bridge=True),
        Link("port1", master="br0"),
    ),
)
DEVICES = ["lo", "eth0", "eth1", "br0", "port1", "tap7"]
ADDRESSES = {
    4: ["10.0.0.1", "10.0.0.2", "10.0.1.255", "10.0.255.255", "192.0.2.1", "192.0.2.255", "127.0.0.1",
        "224.0.0.1", "203.0.113.7", "255.255.255.255"],
    6: ["2001:db8::1", "2001:db8::2", "2001:db8:1::2", "fe80::1", "ff02::1", "::1"],
}  # fmt: skip
NETWORKS = {
    4: ["10.0.0.0/16", "10.0.1.0/24", "10.0.0.2/32", "192.0.2.0/24", "0.0.0.0/1", "10.0.0.1/255.0.0.255"],
    6: ["2001:db8::/64", "2001:db8::2/128", "fe80::/10", "2001:db8::/32"],
}
PORTS = [0, 21, 22, 23, 79, 80, 81, 443, 1023, 1024, 65535]

_NEUTRAL = [
    "-i eth0", "! -i br0", "-i eth+", "-o br0", "! -o eth+",
    "-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack ! --ctstate NEW", "-m state --state INVALID",
    "-m conntrack --ctstate DNAT", "-m conntrack --ctdir REPLY", "-m conntrack --ctorigdstport 80",
    "-m mark --mark 0x1", "-m mark ! --mark 0x1/0x3", "-m connmark --mark 0x2/0xf", "-m comment --comment x",
    "-m physdev --physdev-in port1", "-m physdev ! --physdev-is-bridged", "-m physdev --physdev-is-out",
    "-m mac --mac-source 02:42:0a:00:00:02", "-m mac ! --mac-source 02:42:0a:00:00:02",
    "-m length --length 0:100", "-m length ! --length 60", "-m pkttype --pkt-type multicast",
    "-m owner --uid-owner 1000-1001", "-m owner ! --uid-owner 0", "-m rpfilter",
    "-m rpfilter --loose --invert",
    "-m limit --limit 5/min", '-m string --algo bm --string "x"', "-m recent --set --name a --rsource",
    "-m recent --update --seconds 60 --name a --rsource", "-m policy --dir in --pol none",
    "-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type LOCAL,MULTICAST",
    "-m addrtype --dst-type UNICAST",
]  # fmt: skip
_OF_PROTOCOL = [
    "-p tcp", "! -p udp", "-p tcp -m tcp --dport 80", "-p tcp -m tcp ! --sport 1024:65535",
    "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", "-p tcp -m tcp ! --tcp-flags SYN SYN",
    "-p udp -m udp --dport 22:80", "-p udp -m udp --sport 1023", "-p tcp -m multiport --dports 22,80:443",
    "-p udp -m multiport ! --ports 80,1024", "-p sctp -m sctp --dport 80", "-p 47",
]  # fmt: skip
_OF_FAMILY = {
    4: ["-p icmp -m icmp --icmp-type 8", "-p icmp -m icmp ! --icmp-type 3/1",
        "-p icmp -m icmp --icmp-type any",
        "-m ttl --ttl-lt 10", "-f", "! -f", "-m iprange --src-range 10.0.0.2-10.0.1.255",
        "-m iprange ! --dst-range 192.0.2.1-192.0.2.9"],
    6: ["-p ipv6-icmp -m icmp6 --icmpv6-type 128", "-p ipv6-icmp -m icmp6 ! --icmpv6-type 1/4",
        "-m hl --hl-eq 64", "-m iprange --src-range 2001:db8::1-2001:db8::9", "-m rt --rt-type 0"],
}  # fmt: skip
_TARGETS = [
    "-j ACCEPT", "-j DROP", "-j RETURN", "-j REJECT", "-j LOG", "", "-j MARK --set-xmark 0x1/0x3",
    "-j MARK --set-xmark 0x2/0x0", "-j CONNMARK --save-mark",
    "-j CONNMARK --restore-mark --nfmask 0x3 --ctmask 0x5",
    "-j CONNMARK --set-xmark 0x2/0xf", "-j NOTRACK",
]  # fmt: skip
CHAINS = ("A", "B", "C")


@cache
def _matches(version: int) -> st.SearchStrategy[str]:
    networks = [
        f"{negation}{option} {network}"
        for network in NETWORKS[version]
        for option in ("-s", "-d")
        for negation in ("", "! ")
    ]
    single = st.sampled_from(_NEUTRAL + networks)
    protocols = st.sampled_from(_OF_PROTOCOL + _OF_FAMILY[version])
    parts = st.tuples(st.lists(single, max_size=2), st.lists(protocols, max_size=1))
    return parts.filter(_no_field_twice).map(lambda both: " ".join((*both[1], *both[0])))


def _no_field_twice(parts: tuple[list[str], list[str]]) -> bool:
    fields = [part.removeprefix("! ").split()[0] for part in parts[0] if not part.startswith("-m")]
    return len(set(fields)) == len(fields)


@st.composite
def rules(draw: st.DrawFn, version: int, chain: str) -> Rule:
    """A rule whose every test is modelled or a named unknown; it calls only chains that stand later."""
    later = CHAINS[CHAINS.index(chain) + 1 :] if chain in CHAINS else CHAINS
    targets = st.sampled_from(_TARGETS)
    if later:
        targets |= st.builds("{} {}".format, st.sampled_from(["-j", "-g"]), st.sampled_from(later))
    return Rule.parse(f"{draw(_matches(version))} {draw(targets)}", chain=chain)


@st.composite
def filters(draw: st.DrawFn, version: int = 4, size: int = 12) -> Ruleset:
    """A filter table with its own chains and three of a user's."""
    chains = []
    for name in ("INPUT", "FORWARD", *CHAINS):
        held = draw(st.lists(rules(version, name), max_size=size if name == "FORWARD" else 4))
        policy = draw(st.sampled_from(["ACCEPT", "DROP"])) if name not in CHAINS else None
        chains.append(Chain(name, policy, tuple(held)))
    return Ruleset("ipv4" if version == 4 else "ipv6", (Table("filter", tuple(chains)),))


@st.composite
def packets(draw: st.DrawFn, version: int = 4) -> Packet:
    """Packets at the edges of what `filters` test."""
    pick = st.sampled_from
    protocol = draw(pick(["tcp", "udp", "icmp", "sctp", 47]))
    fields: dict[str, Any] = {
        "in_interface": draw(pick(DEVICES)),
        "out_interface": draw(pick(DEVICES)),
        "state": draw(pick(list(State))),
        "mark": draw(st.integers(0, 7)),
        "connmark": draw(st.integers(0, 7)),
        "length": draw(pick([59, 60, 61, 100, 101])),
        "ttl": draw(pick([1, 9, 10, 64])),
        "mac": draw(pick([None, 0x02420A000002, 1])),
        "uid": draw(pick([-1, 0, 1000, 1002])),
        "pkttype": draw(st.integers(0, 2)),
        "reverse_path": draw(st.integers(0, 2)),
        "fragment": draw(st.integers(0, 1)) if version == 4 else 0,
        "tracked": draw(st.integers(0, 1)),
        "ct_direction": draw(st.integers(0, 1)),
        "ct_nat": draw(st.integers(0, 3)),
        "ct_dport": draw(pick([0, 80])),
        "physdev_in": draw(pick(["", "port1"])),
        "physdev_out": draw(pick(["", "port1"])),
        "bridged": draw(st.integers(0, 1)),
    }
    if protocol in ("tcp", "udp", "sctp"):
        fields |= {"sport": draw(pick(PORTS)), "dport": draw(pick(PORTS))}
    if protocol == "tcp":
        fields["tcp_flags"] = draw(pick([2, 18, 16, 4]))
    if protocol == "icmp":
        fields |= {"icmp_type": draw(pick([0, 1, 3, 8, 128])), "icmp_code": draw(pick([0, 1, 4]))}
    addresses = pick(ADDRESSES[version])
    return Packet.of(draw(addresses), draw(addresses), protocol, **fields)


_ROUTER_TESTS = [
    "-i eth0",
    "! -i br01",
    "-i br+",
    "-o br01",
    "-s 172.22.36.0/24",
    "! -s 172.22.36.50/32",
    "-d 192.168.88.11/32",
    "! -d 192.168.88.0/28",
    "-d 172.22.36.202/32",
    "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate RELATED,ESTABLISHED",
    "-m conntrack ! --ctstate NEW",
    "-m state --state INVALID",
    "-m conntrack --ctdir REPLY",
    "-m conntrack --ctproto 17",
    "-m conntrack --ctorigdst 192.168.88.11",
    "-m mark --mark 0x1",
    "-m mark ! --mark 0x1/0x3",
    "-m connmark --mark 0x2/0xf",
    "-m addrtype --dst-type LOCAL",
    "-m addrtype --dst-type UNICAST",
    "-m addrtype ! --src-type LOCAL",
    "-m ttl --ttl-lt 64",
    "-m ttl --ttl-eq 63",
    "-m pkttype --pkt-type unicast",
    "-m iprange --src-range 172.22.36.40-172.22.36.60",
    "! -f",
    "-m comment --comment x",
]
_ROUTER_PROTOCOLS = [
    "-p icmp",
    "! -p icmp",
    "-p udp -m udp --dport 80",
    "-p udp -m udp ! --dport 80",
    "-p udp -m udp --sport 80",
    "-p tcp -m tcp --dport 80",
    "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
    "-p tcp -m tcp --tcp-flags SYN,ACK SYN,ACK",
    "-p udp -m multiport --dports 80,1000:2000",
    "-p udp -m multiport --ports 80",
    "-p icmp -m icmp --icmp-type 8",
    "-p icmp -m icmp ! --icmp-type 8",
    "-p icmp -m icmp --icmp-type 0/0",
]
_ROUTER_TARGETS = [
    "-j ACCEPT",
    "-j ACCEPT",
    "-j DROP",
    "-j RETURN",
    "-j REJECT",
    "-j REJECT --reject-with icmp-admin-prohibited",
    "",
    "-j MARK --set-xmark 0x1/0x3",
    "-j CONNMARK --save-mark",
    "-j CONNMARK --set-xmark 0x2/0xf",
    "-j CONNMARK --restore-mark",
]


@st.composite
def _router_rules(draw: st.DrawFn, chain: str) -> Rule:
    protocol = draw(st.lists(st.sampled_from(_ROUTER_PROTOCOLS), max_size=1))
    tests = draw(
        st.lists(st.sampled_from(_ROUTER_TESTS), max_size=2).filter(lambda held: _no_field_twice((held, [])))
    )
    if chain != "FORWARD":
        tests = [test for test in tests if not test.startswith("-o")]
    if chain == "OUTPUT" or chain in CHAINS:  # a user's chain may be called from anywhere
        tests = [test for test in tests if "-i " not in test and not test.startswith("-o")]
    later = CHAINS[CHAINS.index(chain) + 1 :] if chain in CHAINS else CHAINS
    targets = st.sampled_from(_ROUTER_TARGETS)
    if later:
        targets |= st.builds("{} {}".format, st.sampled_from(["-j", "-g"]), st.sampled_from(later))
    return Rule.parse(" ".join((*protocol, *tests, draw(targets))), chain=chain)


@st.composite
def router_filters(draw: st.DrawFn) -> Ruleset:
    """A filter table for the router of the topology `port-mapping` that every kernel loads."""
    chains = []
    for name in ("INPUT", "FORWARD", "OUTPUT", *CHAINS):
        held = tuple(draw(st.lists(_router_rules(name), max_size=6 if name == "FORWARD" else 4)))
        policy = draw(st.sampled_from(["ACCEPT", "DROP"])) if name not in CHAINS else None
        chains.append(Chain(name, policy, held))
    return Ruleset("ipv4", (Table("filter", tuple(chains)),))
