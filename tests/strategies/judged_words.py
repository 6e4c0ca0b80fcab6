"""The words of which rules for the judged host are made: matches and targets, by what they need.

Each is one that iptables accepts where it is used; `judged` asks the model which of them it knows.
"""

from __future__ import annotations

NETWORKS = {
    4: ["10.1.0.0/24", "10.1.0.4/30", "10.1.0.3", "10.1.0.1", "10.2.0.0/28", "10.2.0.5", "10.2.0.1",
        "10.3.0.0/24", "10.3.0.8/29", "10.3.0.3", "10.3.0.15", "10.3.0.1", "10.11.0.0/16", "10.11.4.0/22",
        "10.12.0.0/17", "10.12.7.9", "10.0.0.0/8", "0.0.0.0/1", "10.1.0.4/255.255.0.255", "127.0.0.0/8"],
    6: ["fd00:1::/64", "fd00:1::4/126", "fd00:1::3", "fd00:1::1", "fd00:2::/124", "fd00:2::5", "fd00:2::1",
        "fd00:3::/64", "fd00:3::8/125", "fd00:3::3", "fd00:3::f", "fd00:3::1", "fd00:11::/32",
        "fd00:11:4::/46", "fd00:12::/33", "fd00:12:7::9", "fd00::/16", "8000::/1", "fd00::4/ffff::ffff",
        "::1"],
}  # fmt: skip
RANGES = {4: ["10.1.0.3-10.1.0.6", "10.2.0.5-10.3.0.3", "10.11.0.9-10.12.7.9"],
           6: ["fd00:1::3-fd00:1::6", "fd00:2::5-fd00:3::3", "fd00:11::9-fd00:12:7::9"]}  # fmt: skip
NEGATIONS = ("", "", "! ")

ANYWHERE = [
    *(f"-m {match} {no}--{option} {states}"
      for match, option in (("conntrack", "ctstate"), ("state", "state"))
      for states in ("NEW", "RELATED,ESTABLISHED", "INVALID", "UNTRACKED", "ESTABLISHED", "NEW,RELATED")
      for no in ("", "", "! ")),
    "-m conntrack --ctstate DNAT", "-m conntrack --ctstate SNAT", "-m conntrack ! --ctstate DNAT",
    "-m conntrack --ctstate NEW,SNAT",
    "-m conntrack --ctdir ORIGINAL", "-m conntrack --ctdir REPLY",
    "-m conntrack --ctproto 17", "-m conntrack ! --ctproto 6", "-m conntrack --ctproto 6 --ctdir REPLY",
    "-m conntrack --ctstate ESTABLISHED --ctproto 6", "-m conntrack ! --ctstate NEW --ctproto 17",
    "-m conntrack --ctstatus SEEN_REPLY", "-m conntrack ! --ctstatus SEEN_REPLY",
    "-m conntrack --ctstatus ASSURED", "-m conntrack --ctstatus CONFIRMED", "-m conntrack --ctstatus NONE",
    *(f"-m {match} {no}--mark {mark}"
      for match in ("mark", "connmark")
      for no in ("", "", "! ")
      for mark in ("0x0", "0x1", "0x1/0x3", "0x2/0xf", "0x10/0x10")),
    *(f"-m addrtype {no}--{side}-type {kind}"
      for no in NEGATIONS
      for side in ("src", "dst")
      for kind in ("LOCAL", "UNICAST", "BROADCAST", "MULTICAST", "UNREACHABLE", "BLACKHOLE", "PROHIBIT",
                   "LOCAL,BROADCAST", "ANYCAST", "UNSPEC")),
    *(f"-m length {no}--length {lengths}" for no in NEGATIONS
      for lengths in ("60", "0:100", "84:104", "101:65535")),
    *(f"-m pkttype {no}--pkt-type {kind}" for no in NEGATIONS
      for kind in ("unicast", "broadcast", "multicast")),
    "-m comment --comment \"a comment\"", "",
    "-m tos --tos 0x10/0xff", "-m tos ! --tos 0x08/0x0c", "-m dscp --dscp 0x2e", "-m dscp ! --dscp 0x2e",
    "-m dscp --dscp-class CS1", "-m statistic --mode nth --every 2 --packet 0",
    "-m cpu --cpu 0", "-m ecn --ecn-ip-ect 1", "-m realm --realm 0", "-m helper --helper ftp",
    "-m devgroup --src-group 0x0", "-m u32 --u32 \"0x0=0x0\"",
    "-m connbytes --connbytes 2: --connbytes-mode packets --connbytes-dir both",
    "-m time --timestart 00:00:00 --timestop 23:59:59", "-m bpf --bytecode \"1,6 0 0 0\"",
]  # fmt: skip
"""What needs no hook and no protocol."""
OF_FAMILY = {
    4: [*(f"-m ttl --ttl-{how}" for how in ("lt 64", "gt 63", "eq 63", "eq 1", "lt 3")),
        "-m ttl ! --ttl-eq 64", "-f", "! -f"],
    6: [*(f"-m hl --hl-{how}" for how in ("lt 64", "gt 63", "eq 63", "eq 1", "lt 3")),
        "-m hl ! --hl-eq 64", "-m rt --rt-type 0", "-m ipv6header --header frag --soft",
        "-m frag --fragid 0:1", "-m ah", "-m hbh", "-m eui64"],
}  # fmt: skip
PORTS = ("80", "22", "443", "1024", "0:1023", "1024:65535", "79:81", "40000", "5000:5002")
PROTOCOLS = [
    *(f"{no}-p {protocol}" for protocol in ("tcp", "udp", "sctp", "47", "200", "ICMP") for no in NEGATIONS),
    *(f"-p {protocol} -m {protocol} {no}--{side}port {ports}"
      for protocol in ("tcp", "udp", "sctp") for side in "sd" for ports in PORTS for no in NEGATIONS),
    *(f"-p {protocol} -m multiport {no}--{side} {ports}"
      for protocol in ("tcp", "udp", "sctp") for side in ("sports", "dports", "ports") for no in NEGATIONS
      for ports in ("22,80,443", "80,1024:5000", "5001")),
    *(f"-p tcp -m tcp {no}--tcp-flags {flags}" for no in NEGATIONS
      for flags in ("FIN,SYN,RST,ACK SYN", "SYN,ACK SYN,ACK", "RST RST", "FIN,ACK FIN,ACK",
                    "FIN,SYN,RST,PSH,ACK,URG NONE", "SYN,RST SYN,RST", "ACK ACK",
                    "FIN,SYN,RST,PSH,ACK,URG FIN,PSH,URG")),
    "-p tcp -m tcp --tcp-option 2", "-p tcp -m tcpmss --mss 1460",
    "-p sctp -m sctp --chunk-types any INIT", "-p sctp -m sctp --chunk-types all DATA",
]  # fmt: skip
ICMP = {
    4: [f"-p icmp -m icmp {no}--icmp-type {kind}" for no in NEGATIONS
        for kind in ("8", "0", "3", "3/1", "3/3", "11", "255", "13", "any")],
    6: [f"-p ipv6-icmp -m icmp6 {no}--icmpv6-type {kind}" for no in NEGATIONS
        for kind in ("128", "129", "1", "1/4", "1/0", "3", "3/0", "2")],
}  # fmt: skip
DEVICES = ("eth0", "eth1", "br0", "lo", "p1", "eth+", "br+", "p+", "+")
CONNECTION = ("ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst")

MARKS = [
    "-j MARK --set-xmark 0x1/0x3", "-j MARK --set-xmark 0x2/0xffffffff", "-j MARK --set-xmark 0x10/0x0",
    "-j MARK --set-xmark 0x10/0x10", "-j MARK --set-xmark 0x0/0x10",
    "-j CONNMARK --save-mark", "-j CONNMARK --restore-mark", "-j CONNMARK --set-xmark 0x2/0xf",
    "-j CONNMARK --restore-mark --nfmask 0x13 --ctmask 0x15",
    "-j CONNMARK --save-mark --nfmask 0x3 --ctmask 0x7",
]  # fmt: skip
FILTERING = ["-j ACCEPT"] * 5 + ["-j DROP"] * 2 + ["-j RETURN", "", "", "-j LOG", "-j NFLOG"]
REJECTS = {
    4: ["", " --reject-with icmp-net-unreachable", " --reject-with icmp-host-unreachable",
        " --reject-with icmp-proto-unreachable", " --reject-with icmp-net-prohibited",
        " --reject-with icmp-host-prohibited", " --reject-with icmp-admin-prohibited"],
    6: ["", " --reject-with icmp6-no-route", " --reject-with icmp6-adm-prohibited",
        " --reject-with icmp6-addr-unreachable", " --reject-with icmp6-policy-fail",
        " --reject-with icmp6-reject-route"],
}  # fmt: skip
TARGETS_OF_TABLE = {
    "raw": ["-j NOTRACK", "-j CT --notrack", "-j CT --zone 0"],
    "mangle": ["-j TOS --set-tos 0x10/0xff", "-j TOS --set-tos 0x08/0x1c", "-j CHECKSUM --checksum-fill",
               "-j DSCP --set-dscp 0x2e"],
    "security": [],
    "filter": [],
}  # fmt: skip
TRANSLATED_TO = {
    4: ["10.2.0.5", "10.3.0.3", "10.3.0.15", "10.1.0.4", "10.12.7.9", "10.1.0.1", "127.0.0.1"],
    6: ["fd00:2::5", "fd00:3::3", "fd00:3::f", "fd00:1::4", "fd00:12:7::9", "fd00:1::1"],
}
TRANSLATED_FROM = {
    4: ["10.2.0.1", "10.3.0.1", "10.2.0.9", "10.12.9.9"],
    6: ["fd00:2::1", "fd00:3::1", "fd00:2::9", "fd00:12:9::9"],
}
