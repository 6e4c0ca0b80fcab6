"""Strategies for the dataplane room: rulesets that say something, and packets at the edges of it."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import strategies as st

from netverify.dataplane.packet import Packet, State
from netverify.dataplane.view import DEFAULT_RULES, HostView, Link, Route, RoutingRule
from netverify.ruleset import Chain, Rule, Ruleset, Table
from netverify.ruleset.vocabulary import BUILTIN_CHAINS

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


_ODD_TESTS = [
    "-m time --timestart 08:00 --timestop 18:00 --weekdays Mon",
    "-m statistic --mode random --probability 0.5",
    "-m u32 --u32 0x0=0x1",
    "-m unheardof --option value",
    "-m connlimit --connlimit-above 3 --connlimit-mask 32 --connlimit-saddr",
]  # fmt: skip
_WRITING_MARKS = [
    "-j MARK --set-xmark 0x1/0x3", "-j MARK --set-xmark 0x2/0x0", "-j MARK --or-mark 0x4",
    "-j MARK --and-mark 0x3", "-j CONNMARK --save-mark", "-j CONNMARK --set-xmark 0x2/0xf",
    "-j CONNMARK --restore-mark --nfmask 0x3 --ctmask 0x5", "-j CONNMARK --restore-mark",
]  # fmt: skip
_ANYWHERE = ["-j ACCEPT", "-j DROP", "-j RETURN", "-j LOG", "-j NFQUEUE", "", "-j UNHEARDOF --of"]
_TARGETS_OF = {
    "raw": {4: ["-j NOTRACK", "-j CT --notrack", "-j TRACE"], 6: ["-j NOTRACK", "-j CT --notrack"]},
    "mangle": {
        4: [*_WRITING_MARKS, "-j TTL --ttl-set 9", "-j TOS --set-tos 0x10/0x3f"],
        6: [*_WRITING_MARKS, "-j HL --hl-set 9", "-j TOS --set-tos 0x10/0x3f"],
    },
    "nat": {
        4: ["-j DNAT --to-destination 10.0.0.2:80", "-j SNAT --to-source 192.0.2.1", "-j MASQUERADE",
            "-j REDIRECT --to-ports 80", "-j NETMAP --to 10.0.1.0/24", "-j MARK --set-xmark 0x1/0x3"],
        6: ["-j DNAT --to-destination [2001:db8::2]:80", "-j SNAT --to-source 2001:db8::1", "-j MASQUERADE",
            "-j REDIRECT --to-ports 80", "-j CONNMARK --save-mark"],
    },
    "filter": {4: ["-j REJECT", "-j REJECT --reject-with tcp-reset"], 6: ["-j REJECT"]},
    "security": {4: ["-j MARK --set-xmark 0x1"], 6: ["-j MARK --set-xmark 0x1"]},
}  # fmt: skip


@st.composite
def _table_rules(draw: st.DrawFn, version: int, table: str, chain: str) -> Rule:
    tests = draw(_matches(version))
    if draw(st.integers(0, 5)) == 0:
        tests += f" {draw(st.sampled_from(_ODD_TESTS))}"
    later = CHAINS[CHAINS.index(chain) + 1 :] if chain in CHAINS else CHAINS
    targets = st.sampled_from(_ANYWHERE + 2 * _TARGETS_OF[table][version])
    if later:
        targets |= st.builds("{} {}".format, st.sampled_from(["-j", "-g"]), st.sampled_from(later))
    return Rule.parse(f"{tests} {draw(targets)}", chain=chain)


@st.composite
def rulesets(draw: st.DrawFn, version: int = 4, size: int = 6) -> Ruleset:
    """Some of the five tables with all chains of the kernel's own and three of a user's."""
    tables = []
    for table in draw(st.lists(st.sampled_from(list(BUILTIN_CHAINS)), min_size=1, max_size=3, unique=True)):
        chains = []
        for name in (*BUILTIN_CHAINS[table], *CHAINS):
            held = tuple(draw(st.lists(_table_rules(version, table, name), max_size=size)))
            policy = draw(st.sampled_from(["ACCEPT", "DROP"])) if name not in CHAINS else None
            chains.append(Chain(name, policy, held))
        tables.append(Table(table, tuple(chains)))
    return Ruleset("ipv4" if version == 4 else "ipv6", tuple(tables))


# --- whole hosts -----------------------------------------------------------------------------------

_NAT_PLACES = {"PREROUTING": "DNAT", "OUTPUT": "DNAT", "POSTROUTING": "SNAT", "INPUT": "SNAT"}
_MAPPINGS = {
    "DNAT": ["-j DNAT --to-destination 10.0.0.2", "-p tcp -j DNAT --to-destination 10.0.0.2:80",
             "-p udp -j DNAT --to-destination 192.0.2.1:22", "-p tcp -j REDIRECT --to-ports 443",
             "-j REDIRECT", "-d 192.0.2.0/24 -j NETMAP --to 10.0.0.0/24",
             "-p tcp -j DNAT --to-destination 10.0.0.2:79-81", "-j DNAT --to-destination 198.51.100.7"],
    "SNAT": ["-j SNAT --to-source 192.0.2.9", "-p udp -j SNAT --to-source 192.0.2.9:1024-65535",
             "-j SNAT --to-source 10.0.0.1-10.0.0.9", "-s 10.0.0.0/24 -j NETMAP --to 192.0.2.0/24"],
}  # fmt: skip
_HOST_TESTS = [
    "", "", "-i eth0", "! -i br0", "-s 10.0.0.0/16", "! -d 192.0.2.1/32", "-d 10.0.0.2/32", "-d 127.0.0.0/8",
    "-p tcp -m tcp --dport 80", "-p udp -m udp --dport 22:80", "-p icmp",
    "-p tcp -m tcp ! --sport 1024:65535",
    "-m conntrack --ctstate NEW", "-m conntrack --ctstate ESTABLISHED",
    "-m conntrack --ctstate INVALID,UNTRACKED",
    "-m conntrack --ctstate DNAT", "-m conntrack --ctstate SNAT", "-m conntrack --ctdir REPLY",
    "-m conntrack --ctorigdst 192.0.2.1", "-m conntrack --ctorigdstport 80",
    "-m conntrack --ctreplsrc 10.0.0.2",
    "-m mark --mark 0x1/0x1", "-m mark ! --mark 0x2/0x2", "-m connmark --mark 0x2/0x3",
    "-m addrtype --dst-type LOCAL", "-m addrtype --src-type LOCAL", "-m ttl --ttl-lt 64", "-m ttl --ttl-eq 9",
    "-m tos --tos 0x10/0xff", "-m rpfilter", '-m string --algo bm --string "x"', "-m length --length 0:100",
]  # fmt: skip
_HOST_TARGETS = [
    "-j ACCEPT", "-j DROP", "-j RETURN", "", "-j MARK --set-xmark 0x1/0x3", "-j MARK --set-xmark 0x2/0x2",
    "-j CONNMARK --save-mark", "-j CONNMARK --set-xmark 0x2/0xf", "-j CONNMARK --restore-mark",
]  # fmt: skip
_HOST_TARGETS_OF = {
    "raw": ["-j NOTRACK"],
    "mangle": ["-j TTL --ttl-set 9", "-j TTL --ttl-dec 1", "-j TOS --set-tos 0x10/0xff"],
    "filter": ["-j REJECT", "-p tcp -j REJECT --reject-with tcp-reset", "-j DROP", "-j ACCEPT"],
    "nat": [],
}  # fmt: skip


@st.composite
def _host_rules(draw: st.DrawFn, table: str, chain: str) -> Rule:
    mapping = table == "nat" and chain in _NAT_PLACES and draw(st.integers(0, 3)) > 0
    if mapping:
        target = draw(st.sampled_from(_MAPPINGS[_NAT_PLACES[chain]]))
        if chain == "POSTROUTING" and draw(st.booleans()):
            target = "-j MASQUERADE"
    else:
        chosen = st.sampled_from(_HOST_TARGETS + 2 * _HOST_TARGETS_OF[table])
        later = CHAINS[CHAINS.index(chain) + 1 :] if chain in CHAINS else CHAINS
        if later:
            chosen |= st.builds("{} {}".format, st.sampled_from(["-j", "-g"]), st.sampled_from(later))
        target = draw(chosen)
    tests = draw(st.sampled_from(_HOST_TESTS))
    if "-p " in tests and "-p " in target:
        tests = ""
    if ("-s " in tests and "-s " in target) or ("-d " in tests and "-d " in target):
        tests = ""
    return Rule.parse(f"{tests} {target}", chain=chain)


@st.composite
def host_rules(draw: st.DrawFn, size: int = 3) -> Ruleset:
    """Rules of all tables that decide over packets on their way through a host of `hosts`."""
    tables = []
    for table in ("raw", "mangle", "nat", "filter"):
        chains = []
        for name in (*BUILTIN_CHAINS[table], *CHAINS):
            held = draw(st.lists(_host_rules(table, name), max_size=size))
            policy = None
            if name not in CHAINS:
                policy = draw(st.sampled_from(["ACCEPT", "ACCEPT", "ACCEPT", "DROP"]))
            chains.append(Chain(name, policy, tuple(held)))
        tables.append(Table(table, tuple(chains)))
    return Ruleset("ipv4", tuple(tables))


_ROUTES = [
    Route(ip_network("0.0.0.0/0"), via=ip_address("192.0.2.254"), device="eth0"),
    Route(ip_network("203.0.113.0/24"), kind="unreachable"),
    Route(ip_network("203.0.113.0/24"), kind="blackhole"),
    Route(ip_network("10.0.1.0/24"), via=ip_address("198.51.100.2"), device="eth1"),
    Route(ip_network("0.0.0.0/0"), device="eth1", table=100),
    Route(ip_network("10.0.0.2/32"), kind="prohibit", table=100),
    Route(ip_network("203.0.113.0/24"), via=ip_address("10.0.0.9"), device="br0", metric=5),
]
_ROUTING_RULES = [
    RoutingRule(100, 100, mark=1, mark_mask=1),
    RoutingRule(101, 100, in_interface="br0"),
    RoutingRule(102, 100, source=ip_network("10.0.0.0/24")),
    RoutingRule(103, 100, destination=ip_network("203.0.113.0/24"), inverted=True),
]
_SYSCTLS = [
    ("net.ipv4.conf.all.rp_filter", "1"), ("net.ipv4.conf.eth0.rp_filter", "2"),
    ("net.ipv4.conf.br0.rp_filter", "1"), ("net.ipv4.conf.eth0.route_localnet", "1"),
    ("net.ipv4.conf.br0.accept_local", "1"), ("net.ipv4.conf.eth1.forwarding", "0"),
]  # fmt: skip


@st.composite
def hosts(draw: st.DrawFn, rules: st.SearchStrategy[Ruleset] | None = None) -> HostView:
    """A small router: two uplinks and a bridge, with routes, rules of routing and sysctls of many kinds."""
    links = (
        Link.of("lo", "127.0.0.1/8"),
        Link.of("eth0", "192.0.2.1/24", "203.0.113.7/28"),
        Link.of("eth1", "198.51.100.1/30"),
        Link.of("br0", "10.0.0.1/16", is_bridge=True),
        Link("port1", master="br0"),
    )
    forwarding = draw(st.sampled_from(["1", "1", "1", "0"]))
    return HostView(
        "host",
        links,
        tuple(draw(st.lists(st.sampled_from(_ROUTES), unique=True, max_size=5))),
        (*DEFAULT_RULES, *draw(st.lists(st.sampled_from(_ROUTING_RULES), unique=True, max_size=2))),
        {"net.ipv4.ip_forward": forwarding, **dict(draw(st.lists(st.sampled_from(_SYSCTLS), max_size=3)))},
        draw(rules or host_rules()),
    ).with_connected_routes()


HOST_ADDRESSES = [
    "10.0.0.1", "10.0.0.2", "10.0.1.255", "10.0.255.255", "192.0.2.1", "192.0.2.9", "192.0.2.255",
    "127.0.0.1", "224.0.0.1", "203.0.113.7", "203.0.113.77", "198.51.100.1", "198.51.100.7",
    "255.255.255.255", "0.0.0.0",
]  # fmt: skip


@st.composite
def headers(draw: st.DrawFn) -> Packet:
    """Packets off the wire at the edges of what `host_rules` test and `hosts` route."""
    pick = st.sampled_from
    protocol = draw(pick(["tcp", "tcp", "udp", "udp", "icmp", 47]))
    fields: dict[str, Any] = {
        "length": draw(pick([60, 101])),
        "ttl": draw(pick([1, 2, 9, 10, 64, 65])),
        "tos": draw(pick([0, 16])),
    }
    if protocol in ("tcp", "udp"):
        ports = pick([22, 79, 80, 443, 1023, 40000])
        fields |= {"sport": draw(ports), "dport": draw(ports)}
    if protocol == "tcp":
        fields["tcp_flags"] = draw(pick([2, 2, 2, 18, 16, 4]))
    if protocol == "icmp":
        fields |= {"icmp_type": draw(pick([8, 8, 0, 3, 13])), "icmp_code": draw(pick([0, 0, 1]))}
    addresses = pick(HOST_ADDRESSES)
    return Packet.of(draw(addresses), draw(addresses), protocol, **fields)
