"""What iptables' core and its extensions call their options, and how many words each option takes.

Sources: iptables(8), iptables-extensions(8) and the option tables of the extensions in iptables' source
(extensions/lib{xt,ipt,ip6t}_*.c). An extension or option that is not listed is still read and kept: the words
after it, up to the next option, are taken as its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

VERDICTS = frozenset({"ACCEPT", "DROP", "RETURN", "QUEUE"})
"""Targets that are verdicts of the core: neither a chain nor an extension."""

BUILTIN_CHAINS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "raw": ("PREROUTING", "OUTPUT"),
        "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
        "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
        "filter": ("INPUT", "FORWARD", "OUTPUT"),
        "security": ("INPUT", "FORWARD", "OUTPUT"),
    }
)
"""The five tables and the chains that the kernel calls by itself, in the order iptables-save lists them."""

CORE_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "source": "-s",
        "destination": "-d",
        "in-interface": "-i",
        "out-interface": "-o",
        "protocol": "-p",
        "fragment": "-f",
        "ipv4": "-4",
        "ipv6": "-6",
    }
)
"""Fields that every rule can test without an extension, with the short option that iptables-save writes."""

CORE_FLAGS = frozenset({"fragment", "ipv4", "ipv6"})
"""Core fields that take no value."""

ADDRESSES = frozenset({"source", "destination"})
"""Core fields whose option takes a list: iptables then makes one rule of each address."""

CORE_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        **{short: name for name, short in CORE_FIELDS.items()},
        **{f"--{name}": name for name in CORE_FIELDS},
        "--src": "source",
        "--dst": "destination",
        "-m": "match",
        "--match": "match",
        "-j": "jump",
        "--jump": "jump",
        "-g": "goto",
        "--goto": "goto",
        "-c": "set-counters",
        "--set-counters": "set-counters",
    }
)
"""Every spelling of an option of the core that may stand in a rule -> what it stands for."""


class Writing(Enum):
    """How iptables-save writes an option's values."""

    BARE = "as they are"
    NAME = "as they are, even a name that looks like an option"
    STRING = "in quotes unless they are plain letters, digits, '-' and '_'"
    QUOTED = "always in quotes"


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """One option: the name that iptables-save writes (without dashes), its other names, its number of values.

    The values of an option with `is_text` may be any words: neither a dash nor `!` has a meaning there.
    """

    name: str
    aliases: tuple[str, ...]
    arity: int
    writing: Writing
    is_text: bool


_KINDS = {"n": Writing.NAME, "s": Writing.STRING, "q": Writing.QUOTED}


def _option(notation: str) -> OptionSpec:
    """Read one entry of the tables below: `name[=alias...][:values[kind]]`.

    After the colon stand the number of values, 1 if left out, and how they are written, a letter of `_KINDS`.
    """
    names, _, values = notation.partition(":")
    name, *aliases = names.split("=")
    writing = _KINDS.get(values[-1:], Writing.BARE)
    arity = int(values.rstrip("nsq") or 1)
    return OptionSpec(name, tuple(aliases), arity, writing, is_text=writing is not Writing.BARE)


def _extensions(table: Mapping[str, str]) -> Mapping[str, Mapping[str, OptionSpec]]:
    """Extension -> every spelling of its options -> the option."""
    read: dict[str, Mapping[str, OptionSpec]] = {}
    for extension, notations in table.items():
        spellings: dict[str, OptionSpec] = {}
        for option in map(_option, notations.split()):
            spellings.update(dict.fromkeys((option.name, *option.aliases), option))
        read[extension] = MappingProxyType(spellings)
    return MappingProxyType(read)


_PORTS = "sport=source-port dport=destination-port"

MATCHES = _extensions(
    {
        "addrtype": "src-type dst-type limit-iface-in:0 limit-iface-out:0",
        "ah": "ahspi ahlen ahres:0",
        "bpf": "bytecode:q object-pinned:n",
        "cgroup": "path:s cgroup",
        "cluster": "cluster-total-nodes cluster-local-node cluster-local-nodemask cluster-hash-seed",
        "comment": "comment:s",
        "connbytes": "connbytes connbytes-mode connbytes-dir",
        "connlabel": "label:q set:0",
        "connlimit": "connlimit-upto connlimit-above connlimit-mask connlimit-saddr:0 connlimit-daddr:0",
        "connmark": "mark",
        "conntrack": "ctstate ctproto ctorigsrc ctorigdst ctreplsrc ctrepldst ctorigsrcport ctorigdstport"
        " ctreplsrcport ctrepldstport ctstatus ctexpire ctdir",
        "cpu": "cpu",
        "dccp": f"{_PORTS} dccp-types dccp-option",
        "devgroup": "src-group dst-group",
        "dscp": "dscp dscp-class",
        "dst": "dst-len dst-opts",
        "ecn": "ecn-tcp-cwr:0 ecn-tcp-ece:0 ecn-ip-ect",
        "esp": "espspi",
        "eui64": "",
        "frag": "fragid fraglen fragres:0 fragfirst:0 fragmore:0 fraglast:0",
        "hashlimit": "hashlimit-upto=hashlimit hashlimit-above hashlimit-burst hashlimit-mode"
        " hashlimit-srcmask hashlimit-dstmask hashlimit-name:n hashlimit-htable-size hashlimit-htable-max"
        " hashlimit-htable-expire hashlimit-htable-gcinterval hashlimit-rate-match:0 hashlimit-rate-interval",
        "hbh": "hbh-len hbh-opts",
        "helper": "helper:s",
        "hl": "hl-eq=hl hl-lt hl-gt",
        "icmp": "icmp-type",
        "icmp6": "icmpv6-type",
        "ipcomp": "ipcompspi compres:0",
        "iprange": "src-range dst-range",
        "ipv6header": "header soft:0",
        "ipvs": "ipvs:0 vproto vaddr vport vdir vmethod vportctl",
        "length": "length",
        "limit": "limit limit-burst",
        "mac": "mac-source",
        "mark": "mark",
        "mh": "mh-type",
        "multiport": "sports=source-ports dports=destination-ports ports",
        "nfacct": "nfacct-name:s",
        "osf": "genre ttl log",
        "owner": "uid-owner gid-owner socket-exists:0 suppl-groups:0 pid-owner sid-owner cmd-owner:n",
        "physdev": "physdev-in physdev-out physdev-is-in:0 physdev-is-out:0 physdev-is-bridged:0",
        "pkttype": "pkt-type",
        "policy": "dir pol strict:0 reqid spi tunnel-src tunnel-dst proto mode next:0",
        "quota": "quota",
        "realm": "realm",
        "recent": "set:0 rcheck:0 update:0 remove:0 seconds reap:0 hitcount rttl:0 name:n mask"
        " rsource:0 rdest:0",
        "rpfilter": "loose:0 validmark:0 accept-local:0 invert:0",
        "rt": "rt-type rt-segsleft rt-len rt-0-res:0 rt-0-addrs rt-0-not-strict:0",
        "sctp": f"{_PORTS} chunk-types:2",
        "set": "match-set=set:2n return-nomatch:0 update-counters:0 update-subcounters:0 packets-eq"
        " packets-lt packets-gt bytes-eq bytes-lt bytes-gt",
        "socket": "nowildcard:0 transparent:0 restore-skmark:0",
        "srh": "srh-next-hdr srh-hdr-len-eq srh-hdr-len-gt srh-hdr-len-lt srh-segs-left-eq srh-segs-left-gt"
        " srh-segs-left-lt srh-last-entry-eq srh-last-entry-gt srh-last-entry-lt srh-tag srh-psid srh-nsid"
        " srh-lsid",
        "state": "state",
        "statistic": "mode probability every packet",
        "string": "from to algo string:q hex-string:q icase:0",
        "tcp": f"{_PORTS} tcp-flags:2 syn:0 tcp-option",
        "tcpmss": "mss",
        "time": "timestart timestop datestart datestop monthdays weekdays=days kerneltz:0 contiguous:0"
        " utc:0 localtz:0",
        "tos": "tos",
        "ttl": "ttl-eq=ttl ttl-lt ttl-gt",
        "u32": "u32:q",
        "udp": _PORTS,
    }
)
"""Match extensions. (rateest is left out: its options take a value or none, depending on what follows.)"""

_NAT_RANGE = "random:0 random-fully:0 persistent:0"

TARGETS = _extensions(
    {
        "AUDIT": "type",
        "CHECKSUM": "checksum-fill:0",
        "CLASSIFY": "set-class",
        "CLUSTERIP": "new:0 hashmode clustermac total-nodes local-node hash-init",
        "CONNMARK": "set-xmark set-mark save-mark:0 restore-mark:0 and-mark or-mark xor-mark left-shift-mark"
        " right-shift-mark nfmask ctmask mask",
        "CONNSECMARK": "save:0 restore:0",
        "CT": "notrack:0 helper:n timeout:n ctevents expevents zone zone-orig zone-reply",
        "DNAT": f"to-destination {_NAT_RANGE}",
        "DNPT": "src-pfx dst-pfx",
        "DSCP": "set-dscp set-dscp-class",
        "ECN": "ecn-tcp-remove:0 ecn-tcp-cwr ecn-tcp-ece ecn-ip-ect",
        "HL": "hl-set hl-inc hl-dec",
        "HMARK": "hmark-tuple hmark-mod hmark-offset hmark-src-prefix hmark-dst-prefix hmark-sport-mask"
        " hmark-dport-mask hmark-spi-mask hmark-sport hmark-dport hmark-spi hmark-proto-mask hmark-rnd",
        "IDLETIMER": "timeout label:n alarm:0",
        "LED": "led-trigger-id:q led-delay led-always-blink:0",
        "LOG": "log-prefix:s log-level log-tcp-sequence:0 log-tcp-options:0 log-ip-options:0 log-uid:0"
        " log-macdecode:0",
        "MARK": "set-xmark set-mark and-mark or-mark xor-mark",
        "MASQUERADE": "to-ports random:0 random-fully:0",
        "NETMAP": "to",
        "NFLOG": "nflog-prefix:s nflog-group nflog-range nflog-size nflog-threshold",
        "NFQUEUE": "queue-num queue-balance queue-bypass:0 queue-cpu-fanout:0",
        "NOTRACK": "",
        "RATEEST": "rateest-name:n rateest-interval rateest-ewmalog",
        "REDIRECT": f"to-ports {_NAT_RANGE}",
        "REJECT": "reject-with",
        "SECMARK": "selctx:n",
        "SET": "add-set:2n del-set:2n map-set:2n exist:0 timeout map-mark:0 map-prio:0 map-queue:0",
        "SNAT": f"to-source {_NAT_RANGE}",
        "SNPT": "src-pfx dst-pfx",
        "SYNPROXY": "sack-perm:0 timestamp:0 wscale mss ecn:0",
        "TCPMSS": "set-mss clamp-mss-to-pmtu:0",
        "TCPOPTSTRIP": "strip-options",
        "TEE": "gateway oif",
        "TOS": "set-tos and-tos or-tos xor-tos",
        "TPROXY": "on-port on-ip tproxy-mark",
        "TRACE": "",
        "TTL": "ttl-set ttl-inc ttl-dec",
        "ULOG": "ulog-prefix:s ulog-nlgroup ulog-cprange ulog-qthreshold",
        **dict.fromkeys(VERDICTS, ""),
    }
)
"""Target extensions, and the verdicts, which take no options."""

IMPLICIT_MATCHES: Mapping[str, str] = MappingProxyType(
    {
        "tcp": "tcp",
        "6": "tcp",
        "udp": "udp",
        "17": "udp",
        "sctp": "sctp",
        "132": "sctp",
        "dccp": "dccp",
        "33": "dccp",
        "icmp": "icmp",
        "1": "icmp",
        "icmpv6": "icmp6",
        "ipv6-icmp": "icmp6",
        "58": "icmp6",
        "esp": "esp",
        "50": "esp",
        "ah": "ah",
        "51": "ah",
        "ipcomp": "ipcomp",
        "108": "ipcomp",
        "mh": "mh",
        "ipv6-mh": "mh",
        "mobility-header": "mh",
        "135": "mh",
    }
)
"""Value of `-p` -> the extension that iptables loads when one of its options follows without `-m`."""
