"""The words that nft prints for numbers, by the kind of what they are compared with.

Sources: nftables' src/{datatype,proto,ct,meta,fib}.c. What has no word here is printed as a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from netverify.dataplane.matches.names import DSCP_CLASSES, PROTOCOLS, SERVICES

Words = Mapping[str, int]

PROTOCOL_WORDS: Words = MappingProxyType({**PROTOCOLS, "comp": 108, "ipv6-icmp": 58, "icmpv6": 58})
PORT_WORDS: Words = SERVICES
FAMILY_WORDS: Words = MappingProxyType({"ipv4": 2, "ipv6": 10})
ETHERTYPE_WORDS: Words = MappingProxyType(
    {"ip": 0x0800, "arp": 0x0806, "ip6": 0x86DD, "8021q": 0x8100, "vlan": 0x8100, "8021ad": 0x88A8}
)
PACKET_TYPE_WORDS: Words = MappingProxyType(
    {"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2, "other": 3}
)
DIRECTION_WORDS: Words = MappingProxyType({"original": 0, "reply": 1})

STATE_WORDS: Words = MappingProxyType(
    {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
)
"""Bits of `ct state` (NF_CT_STATE_BIT in nf_conntrack_common.h)."""

STATUS_WORDS: Words = MappingProxyType(
    {
        "expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 0x10, "dnat": 0x20,
        "dying": 0x200,
    }
)  # fmt: skip
"""Bits of `ct status` (enum ip_conntrack_status)."""

TCP_FLAG_WORDS: Words = MappingProxyType(
    {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
)
DSCP_WORDS: Words = MappingProxyType(
    {**{name.lower(): value for name, value in DSCP_CLASSES.items()}, "df": 0, "lephb": 1, "va": 44}
)
ECN_WORDS: Words = MappingProxyType({"not-ect": 0, "ect1": 1, "ect0": 2, "ce": 3})
ICMP_TYPE_WORDS: Words = MappingProxyType(
    {
        "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
        "router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
        "timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16,
        "address-mask-request": 17, "address-mask-reply": 18,
    }
)  # fmt: skip
ICMP_CODE_WORDS: Words = MappingProxyType(
    {
        "net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3,
        "frag-needed": 4, "net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
    }
)  # fmt: skip
ICMPV6_TYPE_WORDS: Words = MappingProxyType(
    {
        "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
        "echo-request": 128, "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131,
        "mld-listener-done": 132, "mld-listener-reduction": 132, "nd-router-solicit": 133,
        "nd-router-advert": 134, "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137,
        "router-renumbering": 138, "ind-neighbor-solicit": 141, "ind-neighbor-advert": 142,
        "mld2-listener-report": 143,
    }
)  # fmt: skip
ICMPV6_CODE_WORDS: Words = MappingProxyType(
    {
        "no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4,
        "policy-fail": 5, "reject-route": 6,
    }
)  # fmt: skip
ICMPX_CODE_WORDS: Words = MappingProxyType(
    {"no-route": 0, "port-unreachable": 1, "host-unreachable": 2, "admin-prohibited": 3}
)
"""Codes of `reject with icmpx`, for both families (enum nft_reject_inet_code)."""

FIB_TYPES = ("local", "unicast", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit")
