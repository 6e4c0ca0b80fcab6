"""The names that iptables takes for numbers: protocols, services, ICMP types, values of the TOS field.

iptables-save writes nearly all of them as numbers; files that people wrote have the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from netverify.dataplane.packet import ICMP, ICMPV6, PROTOCOL_NUMBERS

PROTOCOLS: Mapping[str, int] = MappingProxyType(
    {
        "ip": 0, "ggp": 3, "st": 5, "igp": 9, "pup": 12, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29,
        "xtp": 36, "ddp": 37, "idpr-cmtp": 38, "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "skip": 57,
        "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73, "vmtp": 81, "eigrp": 88, "ax.25": 93, "ipip": 94,
        "etherip": 97, "encap": 98, "l2tp": 115, "isis": 124, "fc": 133, "mpls-in-ip": 137, "manet": 138,
        "hip": 139, "shim6": 140, "wesp": 141, "rohc": 142, **PROTOCOL_NUMBERS,
    }
)  # fmt: skip
"""Names in /etc/protocols, and their numbers (IANA's Protocol Numbers)."""

SERVICES: Mapping[str, int] = MappingProxyType(
    {
        "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37, "domain": 53,
        "bootps": 67, "bootpc": 68, "tftp": 69, "http": 80, "www": 80, "kerberos": 88, "pop3": 110,
        "sunrpc": 111, "ident": 113, "auth": 113, "ntp": 123, "netbios-ns": 137, "netbios-dgm": 138,
        "netbios-ssn": 139, "imap": 143, "imap2": 143, "snmp": 161, "snmp-trap": 162, "bgp": 179, "ldap": 389,
        "https": 443, "microsoft-ds": 445, "submissions": 465, "isakmp": 500, "syslog": 514, "printer": 515,
        "route": 520, "router": 520, "dhcpv6-client": 546, "dhcpv6-server": 547, "submission": 587,
        "ipp": 631, "ldaps": 636, "domain-s": 853, "rsync": 873, "imaps": 993, "pop3s": 995, "openvpn": 1194,
        "ms-sql-s": 1433, "l2f": 1701, "nfs": 2049, "mysql": 3306, "ms-wbt-server": 3389,
        "ipsec-nat-t": 4500, "sip": 5060, "sip-tls": 5061, "xmpp-client": 5222, "mdns": 5353,
        "postgresql": 5432, "amqp": 5672, "redis": 6379, "http-alt": 8080, "webcache": 8080,
        "zabbix-agent": 10050,
    }
)  # fmt: skip
"""Names of ports that files of rules use (IANA's Service Names, /etc/services); others are unknowns."""

ICMP_NAMES: Mapping[int, Mapping[str, tuple[int, int, int]]] = {
    ICMP: {
        "any": (255, 0, 255), "echo-reply": (0, 0, 255), "pong": (0, 0, 255),
        "destination-unreachable": (3, 0, 255), "network-unreachable": (3, 0, 0),
        "host-unreachable": (3, 1, 1), "protocol-unreachable": (3, 2, 2), "port-unreachable": (3, 3, 3),
        "fragmentation-needed": (3, 4, 4), "source-route-failed": (3, 5, 5), "network-unknown": (3, 6, 6),
        "host-unknown": (3, 7, 7), "network-prohibited": (3, 9, 9), "host-prohibited": (3, 10, 10),
        "tos-network-unreachable": (3, 11, 11), "tos-host-unreachable": (3, 12, 12),
        "communication-prohibited": (3, 13, 13), "host-precedence-violation": (3, 14, 14),
        "precedence-cutoff": (3, 15, 15), "source-quench": (4, 0, 255), "redirect": (5, 0, 255),
        "network-redirect": (5, 0, 0), "host-redirect": (5, 1, 1), "tos-network-redirect": (5, 2, 2),
        "tos-host-redirect": (5, 3, 3), "echo-request": (8, 0, 255), "ping": (8, 0, 255),
        "router-advertisement": (9, 0, 255), "router-solicitation": (10, 0, 255),
        "time-exceeded": (11, 0, 255), "ttl-exceeded": (11, 0, 255), "ttl-zero-during-transit": (11, 0, 0),
        "ttl-zero-during-reassembly": (11, 1, 1), "parameter-problem": (12, 0, 255),
        "ip-header-bad": (12, 0, 0), "required-option-missing": (12, 1, 1), "timestamp-request": (13, 0, 255),
        "timestamp-reply": (14, 0, 255), "address-mask-request": (17, 0, 255),
        "address-mask-reply": (18, 0, 255),
    },
    ICMPV6: {
        "destination-unreachable": (1, 0, 255), "no-route": (1, 0, 0), "communication-prohibited": (1, 1, 1),
        "beyond-scope": (1, 2, 2), "address-unreachable": (1, 3, 3), "port-unreachable": (1, 4, 4),
        "failed-policy": (1, 5, 5), "reject-route": (1, 6, 6), "packet-too-big": (2, 0, 255),
        "time-exceeded": (3, 0, 255), "ttl-exceeded": (3, 0, 255), "ttl-zero-during-transit": (3, 0, 0),
        "ttl-zero-during-reassembly": (3, 1, 1), "parameter-problem": (4, 0, 255), "bad-header": (4, 0, 0),
        "unknown-header-type": (4, 1, 1), "unknown-option": (4, 2, 2), "echo-request": (128, 0, 255),
        "ping": (128, 0, 255), "echo-reply": (129, 0, 255), "pong": (129, 0, 255),
        "mld-listener-query": (130, 0, 255), "mld-listener-report": (131, 0, 255),
        "mld-listener-done": (132, 0, 255), "mld-listener-reduction": (132, 0, 255),
        "router-solicitation": (133, 0, 255), "router-advertisement": (134, 0, 255),
        "neighbour-solicitation": (135, 0, 255), "neighbor-solicitation": (135, 0, 255),
        "neighbour-advertisement": (136, 0, 255), "neighbor-advertisement": (136, 0, 255),
        "redirect": (137, 0, 255),
    },
}  # fmt: skip
"""Names of ICMP types: the type, and the first and last of its codes (`iptables -p icmp -h`)."""

DSCP_CLASSES: Mapping[str, int] = MappingProxyType(
    {
        "BE": 0,
        "EF": 0x2E,
        **{f"CS{n}": n << 3 for n in range(8)},
        **{f"AF{n}{drop}": n << 3 | drop << 1 for n in range(1, 5) for drop in range(1, 4)},
    }
)
"""Classes of differentiated services (RFC 2474, 2597, 3246), as numbers of six bits."""

TOS_NAMES: Mapping[str, int] = MappingProxyType(
    {
        "minimize-delay": 0x10,
        "maximize-throughput": 0x08,
        "maximize-reliability": 0x04,
        "minimize-cost": 0x02,
        "normal-service": 0x00,
    }
)
"""The old meanings of the TOS field (RFC 1349); iptables looks at its lower six bits for them."""
TOS_NAME_MASK = 0x3F


def begins(names: Mapping[str, tuple[int, int, int]], word: str) -> tuple[int, int, int] | None:
    """What a name stands for; iptables takes the beginning of one where no other begins so."""
    word = word.lower()
    if word in names:
        return names[word]
    found = [value for name, value in names.items() if word and name.startswith(word)]
    return found[0] if len(found) == 1 else None


def masked_tos(text: str) -> tuple[int, int]:
    """A value of the TOS field and its mask: `0x10`, `0x10/0x3f` or a name. Raises ValueError."""
    named = TOS_NAMES.get(text.lower())
    if named is not None:
        return named, TOS_NAME_MASK
    value, slash, mask = text.partition("/")
    return int(value, 0), int(mask, 0) if slash else 0xFF
