"""Rules for every match that is modelled, and packets at their edges, for the router of `match_router`."""

from __future__ import annotations

from typing import Any

from netverify.dataplane import Packet
from tests.kernel.match_router import Shot

LEFT_MAC, RIGHT_MAC, OTHER_MAC = 0x020000000002, 0x020000000003, 0x02420A000002
V4, V6 = ("10.0.0.2", "10.1.0.2"), ("fd00::2", "fd01::2")


def shot(
    protocol: str | int = "udp", source: str = V4[0], target: str = V4[1], side: str = "left", **fields: Any
) -> Shot:
    fields.setdefault("mac", LEFT_MAC)
    fields.setdefault("length", 120)
    if protocol in ("udp", "tcp", "sctp"):
        fields.setdefault("dport", 80)
    return side, Packet.of(source, target, protocol, **fields)


def shots(version: int) -> list[Shot]:
    """Packets at the edges of the rules below; each with a source port of its own, so each is a new flow."""
    source, target = V4 if version == 4 else V6
    made: list[Shot] = []

    def add(protocol: str | int = "udp", source: str = source, target: str = target, **fields: Any) -> None:
        fields.setdefault("sport", 30000 + len(made))
        made.append(shot(protocol, source, target, **fields))

    for port in (0, 21, 22, 23, 79, 80, 81, 1023, 1024, 65535):
        add("udp", dport=port)
        add("tcp", dport=port)
    for port in (0, 1023, 1024, 2000, 2001, 65535):
        add("udp", sport=port)
        add("tcp", sport=port)
    for port in (79, 80, 90, 91):
        add("sctp", dport=port)
    for flags in (2, 0x42, 0x82, 0xC2):
        add("tcp", tcp_flags=flags)
    for protocol in (47, 50, 89, 112, 2, *((51,) if version == 4 else ())):
        add(protocol, sport=0)
    for tos in (0, 1, 2, 3, 0x08, 0x10, 0x11, 0x28, 0xB8, 0xB9, 0xFC, 0xFF):
        add(tos=tos)
    for ttl in (1, 2, 9, 10, 11, 63, 64, 65, 254, 255):
        add(ttl=ttl)
    for length in (99, 100, 101, 200, 201, 1500):
        add(length=length)
    add(mac=OTHER_MAC)
    add(mac=OTHER_MAC + 1)
    if version == 4:
        for kind, code in ((8, 0), (13, 0), (17, 0), (0, 0), (30, 0)):
            add("icmp", icmp_type=kind, icmp_code=code)
        for address in ADDRESSES4:
            add(target=address)
        for address in SOURCES4:
            add(source=address)
        add(target="10.0.0.255", pkttype=1)
        add(target="255.255.255.255", pkttype=1)
        add(target="224.0.0.5", pkttype=2)
    else:
        for kind, code in ((128, 0), (129, 0), (128, 1), (200, 0)):
            add("icmp", icmp_type=kind, icmp_code=code)
        for address in ADDRESSES6:
            add(target=address)
        for address in SOURCES6:
            add(source=address)
    return made


ADDRESSES4 = [
    "10.0.0.1", "10.1.0.1", "10.7.0.1", "10.7.0.255", "10.7.0.9", "10.1.0.0", "10.1.0.255", "10.0.0.255",
    "127.0.0.1", "127.255.255.255", "127.0.0.9", "192.0.2.1", "192.0.2.200", "198.51.100.1", "203.0.113.1",
    "10.9.9.9", "255.255.255.255", "224.0.0.5", "239.1.1.1", "0.0.0.0", "0.1.2.3", "10.1.0.9", "10.1.0.10",
    "10.1.0.20", "10.1.0.21", "240.0.0.1",
]  # fmt: skip
SOURCES4 = [
    "10.0.0.1", "10.1.0.1", "10.7.0.1", "10.0.0.255", "127.0.0.1", "192.0.2.1", "192.0.2.200",
    "203.0.113.1", "10.1.0.2", "10.9.9.9", "224.0.0.5", "0.0.0.0", "10.0.0.9", "10.0.0.10", "10.0.0.20",
    "10.0.0.21", "11.0.0.5",
]  # fmt: skip
ADDRESSES6 = [
    "fd00::1", "fd01::1", "fd07::1", "fd00::", "fd01::", "fd07::", "::1", "2001:db8:1::1", "2001:db8:2::1",
    "2001:db8:3::1", "ff02::1", "ff05::7", "::ffff:10.0.0.1", "fd01::9", "fd01::10", "fd01::20", "fd01::21",
    "fe80::5",
]  # fmt: skip
SOURCES6 = [
    "fd00::1", "fd01::1", "fd07::1", "2001:db8:1::1", "2001:db8:2::1", "2001:db8:3::1", "fd01::2",
    "fd00::9", "fd00::10", "fd00::20", "fd00::21", "fd00::",
]  # fmt: skip

ANYWHERE = [
    "-i eth0", "! -i eth0", "-i eth+", "! -i eth+", "-i eth1", "-i +", "-p tcp", "! -p tcp", "-p 51",
    "! -p 51", "-p 47", "! -p 47", "-p udp -m udp --dport 80", "-p udp -m udp ! --dport 80",
    "-p udp -m udp --dport 22:80", "-p udp -m udp ! --dport 22:80", "-p udp -m udp --sport :1023",
    "-p udp -m udp --sport 1024:", "-p udp -m udp ! --sport 1024:65534", "-p udp -m udp --dport 0",
    "-p tcp -m tcp --dport 22", "-p tcp -m tcp ! --dport 22", "-p tcp -m tcp --sport 1024:2000",
    "-p tcp -m tcp ! --sport 1024:2000", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
    "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", "-p tcp -m tcp --syn",
    "-p tcp -m tcp --tcp-flags ALL SYN", "-p tcp -m tcp --tcp-flags ALL NONE",
    "-p tcp -m tcp --tcp-flags SYN,ACK ACK", "-p sctp -m sctp --dport 80:90",
    "-p sctp -m sctp ! --dport 80:90", "-p sctp -m sctp --sport 1:29999",
    "-p tcp -m multiport --dports 22,80:1023", "-p tcp -m multiport ! --dports 22,80:1023",
    "-p udp -m multiport --sports 0,2000:65535", "-p udp -m multiport --ports 80,1024:2000",
    "-p udp -m multiport ! --ports 80,1024:2000", "-p sctp -m multiport --dports 80,91",
    "-m length --length 100", "-m length --length 100:200", "-m length ! --length 100:200",
    "-m length --length 201:", "-m length --length :99", "-m mac --mac-source 02:42:0a:00:00:02",
    "-m mac ! --mac-source 02:42:0a:00:00:02", "-m pkttype --pkt-type unicast",
    "-m pkttype --pkt-type broadcast", "-m pkttype --pkt-type multicast", "-m pkttype ! --pkt-type unicast",
    "-m tos --tos 0x10", "-m tos --tos 0x10/0x3f", "-m tos ! --tos 0x08/0x08",
    "-m tos --tos Minimize-Delay", "-m dscp --dscp 0x2e", "-m dscp ! --dscp 0x2e",
    "-m dscp --dscp-class EF", "-m dscp --dscp-class AF11", "-m dscp --dscp-class CS1", "-m dscp --dscp 63",
    "-m ecn --ecn-ip-ect 3", "-m ecn ! --ecn-ip-ect 0", "-p tcp -m ecn --ecn-tcp-ece",
    "-p tcp -m ecn ! --ecn-tcp-ece", "-p tcp -m ecn --ecn-tcp-cwr",
    "-p tcp -m ecn --ecn-tcp-cwr ! --ecn-tcp-ece", "-m comment --comment x", "-m mark --mark 0",
    "-m mark ! --mark 0", "-m mark --mark 0x0/0x0", "-m mark ! --mark 0x1/0xff",
    "-m conntrack --ctstate NEW", "-m conntrack ! --ctstate NEW,UNTRACKED",
    "-m conntrack --ctstate INVALID", "-m state --state NEW", "-m state ! --state NEW",
    "-m conntrack --ctproto 17", "-m conntrack ! --ctproto udp", "-m conntrack --ctdir ORIGINAL",
    "-m conntrack --ctdir REPLY", "-m conntrack --ctorigdstport 80", "-m conntrack ! --ctorigdstport 80",
    "-m conntrack --ctorigsrcport 1024:2000", "-m conntrack --ctstate NEW --ctproto 17",
    "-m conntrack --ctstate INVALID --ctproto 17", "-m conntrack --ctstatus NONE",
    "-m conntrack --ctstatus SEEN_REPLY", "-m conntrack ! --ctstatus SEEN_REPLY",
    "-m conntrack ! --ctstatus NONE", "-m conntrack --ctreplsrcport 22:80",
    "-m conntrack --ctrepldstport 1024:2000", "-m connmark --mark 0", "-m connmark ! --mark 0",
    "-m connmark --mark 0x1/0x1", "-m helper --helper ftp", "-m helper ! --helper ftp",
    "-m physdev --physdev-in eth0", "-m physdev ! --physdev-in eth0", "-m physdev ! --physdev-is-bridged",
    "-m physdev --physdev-is-in", "-m physdev ! --physdev-is-in", "-m policy --dir in --pol none",
    "-m policy --dir in --pol ipsec", "-m recent --set --name everybody --rsource", "-m rpfilter",
    "-m rpfilter --invert", "-m rpfilter --loose", "-m rpfilter --loose --invert",
    "-m rpfilter --validmark", "-m rpfilter --accept-local", "-m rpfilter --accept-local --loose",
    "-m addrtype --dst-type LOCAL", "-m addrtype ! --dst-type LOCAL", "-m addrtype --dst-type UNICAST",
    "-m addrtype --dst-type MULTICAST", "-m addrtype --src-type LOCAL", "-m addrtype --src-type UNICAST",
    "-m addrtype --dst-type LOCAL --limit-iface-in", "-m addrtype --dst-type UNICAST --limit-iface-in",
    "-m addrtype ! --src-type LOCAL --limit-iface-in", "-m addrtype --src-type UNICAST --dst-type LOCAL",
    "-m addrtype --dst-type ANYCAST", "-m addrtype --dst-type UNREACHABLE", "-m addrtype --dst-type UNSPEC",
    "-m addrtype --dst-type LOCAL,MULTICAST", "-m addrtype --dst-type UNICAST,LOCAL",
    "-m addrtype ! --dst-type UNREACHABLE", "-m addrtype --dst-type ANYCAST,UNREACHABLE,LOCAL",
]  # fmt: skip
ONLY: dict[int, list[str]] = {}
ONLY[4] = [
    "-s 10.0.0.0/24", "! -s 10.0.0.0/24", "-s 10.0.0.5/255.0.0.255", "-d 10.1.0.2", "! -d 10.1.0.2",
    "-d 224.0.0.0/4", "-s 0.0.0.0/1", "-p icmp -m icmp --icmp-type 8", "-p icmp -m icmp ! --icmp-type 8",
    "-p icmp -m icmp --icmp-type any", "-p icmp -m icmp --icmp-type 8/1",
    "-p icmp -m icmp --icmp-type 13/0", "-m ttl --ttl-eq 64", "-m ttl ! --ttl-eq 64", "-m ttl --ttl-lt 10",
    "-m ttl --ttl-gt 64", "-m ttl --ttl-gt 254", "-m iprange --src-range 10.0.0.10-10.0.0.20",
    "-m iprange ! --src-range 10.0.0.10-10.0.0.20", "-m iprange --dst-range 10.1.0.10-10.1.0.20",
    "-m iprange --src-range 10.0.0.2 ! --dst-range 10.1.0.10-10.1.0.20",
    "-m conntrack --ctorigsrc 10.0.0.0/24", "-m conntrack ! --ctorigsrc 10.0.0.0/24",
    "-m conntrack --ctorigdst 10.1.0.2", "-m conntrack --ctreplsrc 10.1.0.2",
    "-m conntrack ! --ctrepldst 10.0.0.2", "! -f", "-m addrtype --dst-type BROADCAST",
    "-m addrtype ! --dst-type BROADCAST", "-m addrtype --src-type BROADCAST",
    "-m addrtype --dst-type BLACKHOLE", "-m addrtype --dst-type PROHIBIT",
    "-m addrtype --src-type UNREACHABLE", "-m addrtype --dst-type THROW", "-m addrtype --dst-type NAT",
    "-m addrtype --dst-type XRESOLVE", "-m addrtype --dst-type BROADCAST --limit-iface-in",
    "-m addrtype --dst-type LOCAL,BROADCAST,MULTICAST", "-m addrtype ! --dst-type UNICAST,BROADCAST",
]  # fmt: skip
ONLY[6] = [
    "-s fd00::/64", "! -s fd00::/64", "-d fd01::2", "-d ff00::/8",
    "-p ipv6-icmp -m icmp6 --icmpv6-type 128", "-p ipv6-icmp -m icmp6 ! --icmpv6-type 128",
    "-p ipv6-icmp -m icmp6 --icmpv6-type 128/1", "-m hl --hl-eq 64", "-m hl ! --hl-eq 64",
    "-m hl --hl-lt 10", "-m hl --hl-gt 64", "-m rt --rt-type 0", "-m rt ! --rt-type 0",
    "-m rt --rt-segsleft 1", "-m iprange --src-range fd00::10-fd00::20",
    "-m iprange ! --dst-range fd01::10-fd01::20", "-m conntrack --ctorigsrc fd00::/64",
    "-m conntrack ! --ctorigsrc fd00::/64", "-m conntrack --ctreplsrc fd01::2",
]  # fmt: skip

LEAVING = [
    "-i eth0 -o eth1", "! -o eth1", "-o eth+", "-o eth0",
    "-m addrtype --dst-type UNICAST --limit-iface-out", "-m addrtype --dst-type LOCAL --limit-iface-out",
    "-m addrtype --src-type LOCAL --limit-iface-out", "-m addrtype --dst-type LOCAL --limit-iface-in",
    "-m physdev ! --physdev-out eth1", "-m physdev --physdev-out eth1", "-m physdev --physdev-is-out",
    "-m physdev --physdev-is-bridged", "-m policy --dir out --pol none",
    "-m mac ! --mac-source 02:42:0a:00:00:02", "-m length --length 100:200",
]  # fmt: skip
"""Matches that ask for the device by which a packet leaves, and some that must not mind it."""

STATES = [
    *(
        f"-m {match} {negation}--{option} {state}"
        for match, option in (("conntrack", "ctstate"), ("state", "state"))
        for negation in ("", "! ")
        for state in ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "NEW,ESTABLISHED")
    ),
    "-m conntrack --ctstate SNAT", "-m conntrack --ctstate DNAT", "-m conntrack ! --ctstate DNAT",
    "-m conntrack --ctstate NEW,DNAT", "-m conntrack --ctdir ORIGINAL", "-m conntrack --ctdir REPLY",
    "-m conntrack --ctstatus SEEN_REPLY", "-m conntrack ! --ctstatus SEEN_REPLY",
    "-m conntrack --ctstatus NONE", "-m conntrack --ctproto 17", "-m conntrack ! --ctproto 17",
    "-m conntrack --ctorigsrcport 1000:1001", "-m conntrack --ctorigdstport 53",
    "-m conntrack --ctreplsrcport 53", "-m conntrack --ctrepldstport 1000",
    "-m conntrack ! --ctorigdstport 53", "-m conntrack --ctstate ESTABLISHED --ctdir REPLY",
    "-m conntrack ! --ctstate NEW --ctorigdstport 53", "-m connmark --mark 0x0", "-m helper ! --helper ftp",
]  # fmt: skip
"""Matches on connections, for packets that belong together."""


def plain_shots(version: int) -> list[Shot]:
    """Those of `shots` whose addresses are ordinary ones: they are forwarded, or delivered."""
    strange = {*ADDRESSES4, *ADDRESSES6} - {"10.0.0.1", "10.7.0.1", "203.0.113.1", "fd00::1", "2001:db8:2::1"}
    strange |= {*SOURCES4, *SOURCES6} - {"10.0.0.9", "10.7.0.1", "11.0.0.5", "fd00::9", "2001:db8:3::1"}
    return [
        (origin, packet)
        for origin, packet in shots(version)
        if not strange & {str(packet.source_address), str(packet.destination_address)}
    ]


def conversations(version: int) -> list[Shot]:
    """Requests, answers, errors about them, and packets that belong to nothing."""
    near, far = V4 if version == 4 else V6
    error = {4: {"icmp_type": 3, "icmp_code": 3}, 6: {"icmp_type": 1, "icmp_code": 4}}[version]
    asked = Packet.of(near, far, "udp", sport=1000, dport=53)
    never = Packet.of(near, far, "udp", sport=1999, dport=53)

    def right(protocol: str | int, **fields: Any) -> Shot:
        return shot(protocol, far, near, "right", **{"mac": RIGHT_MAC, **fields})

    return [
        shot("udp", near, far, sport=1000, dport=53),
        shot("udp", near, far, sport=1000, dport=53),
        right("udp", sport=53, dport=1000),
        shot("udp", near, far, sport=1000, dport=53),
        right("icmp", **error, sport=0, embedded=asked.tuple, length=160),
        right("icmp", **error, sport=0, embedded=never.tuple, length=160),
        shot("udp", near, far, sport=1001, dport=54),
        right("udp", sport=53, dport=1001),
        shot("tcp", near, far, sport=1000, dport=53),
        right("tcp", sport=53, dport=1000, tcp_flags=0x12),
        shot("tcp", near, far, sport=1000, dport=53, tcp_flags=0x10),
        right("tcp", sport=54, dport=1000, tcp_flags=0x12),
        shot("icmp", near, far, sport=77),
        right("icmp", icmp_type=0 if version == 4 else 129, sport=77),
        right("icmp", icmp_type=0 if version == 4 else 129, sport=78),
    ]
