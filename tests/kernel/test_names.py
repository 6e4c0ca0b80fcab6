"""The names that the model takes for numbers are those that iptables takes for the same numbers.

Each is loaded and read back, and iptables prints numbers: what it printed must mean what the name did.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netverify.dataplane import HostView
from netverify.dataplane.condition import Condition, all_of, unknowns
from netverify.dataplane.matches import Context, compile_match
from netverify.dataplane.matches.names import DSCP_CLASSES, ICMP_NAMES, TOS_NAMES
from netverify.dataplane.packet import ICMP, ICMPV6
from netverify.dataplane.targets import REJECTIONS, Reject, compile_target
from netverify.kernel.firewall import Backend, Firewall
from netverify.ruleset import Rule
from tests.kernel.match_router import ruleset
from tests.kernel.small_net import SmallNet, small_net

pytestmark = pytest.mark.needs("iptables", "IPv6")
EMPTY = HostView("host")


@pytest.fixture(scope="module")
def net() -> Iterator[SmallNet]:
    """One empty namespace."""
    with small_net("host") as made:
        yield made


def _loaded(net: SmallNet, version: int, texts: list[str], table: str = "mangle") -> list[Rule]:
    """The rules as iptables shows them after loading; mangle INPUT takes all matches, filter INPUT REJECT."""
    firewall = Firewall(net.namespaces["host"], net.visitor, Backend.LEGACY)
    firewall.restore(ruleset(version, [(table, "INPUT", text) for text in texts]).render(), version=version)
    try:
        return list(firewall.rules(version=version).chain(table, "INPUT").rules)
    finally:
        firewall.flush(version=version)


def _meaning(rule: Rule, version: int) -> Condition:
    return all_of(compile_match(match, Context(version, EMPTY)) for match in rule.matches)


# The names that every version of these files has; a rule with one that the machine lacks would be refused.
_PROTOCOLS = [
    "icmp",
    "igmp",
    "tcp",
    "udp",
    "dccp",
    "gre",
    "esp",
    "ah",
    "ospf",
    "pim",
    "vrrp",
    "sctp",
    "udplite",
]
_SERVICES = ["ftp", "ssh", "telnet", "smtp", "domain", "http", "pop3", "imap2", "ldap", "https", "mysql"]
# Names of multicast listeners are too new for iptables 1.8.9.
_ICMPV6 = [name for name in ICMP_NAMES[ICMPV6] if not name.startswith("mld-")]


@pytest.mark.parametrize(
    ("version", "texts"),
    [
        (4, [f"-p icmp -m icmp --icmp-type {name}" for name in ICMP_NAMES[ICMP]]),
        (6, [f"-p ipv6-icmp -m icmp6 --icmpv6-type {name}" for name in _ICMPV6]),
        (4, ["-p icmp -m icmp --icmp-type echo-req", "-p icmp -m icmp --icmp-type port-u"]),
        (4, [f"-m dscp --dscp-class {name}" for name in DSCP_CLASSES]),
        (4, [f"-m tos --tos {name}" for name in TOS_NAMES]),
        (4, [f"-p {name}" for name in _PROTOCOLS]),
        (4, [f"-p tcp -m tcp --dport {name}" for name in _SERVICES]),
        (4, ["-m mark --mark 010", "-m mark --mark 8/0x0f", "-m tos --tos 16", "-m tos --tos 0x10/15"]),
        (
            4,
            [
                "-p tcp -m tcp --dport 010:0x20",
                "-p 0x6",
                "-m length --length 0x10:020",
                "-m ttl --ttl-eq 010",
            ],
        ),
    ],
    ids=["icmp", "icmp6", "beginnings", "dscp", "tos", "protocols", "services", "masks", "bases"],
)
def test_names_of_matches(net: SmallNet, version: int, texts: list[str]) -> None:
    loaded = _loaded(net, version, texts)
    assert len(loaded) == len(texts)
    for text, shown in zip(texts, loaded, strict=True):
        meant = _meaning(Rule.parse(text, chain="INPUT"), version)
        assert meant == _meaning(shown, version), f"{text}: iptables shows {shown}"
        assert not unknowns(meant), text


@pytest.mark.parametrize("version", [4, 6])
def test_names_of_rejections(net: SmallNet, version: int) -> None:
    words = [*REJECTIONS[version], *(name[:-3] for name in REJECTIONS[version])]
    for word, shown in zip(
        words, _loaded(net, version, [f"-j REJECT --reject-with {w}" for w in words], "filter"), strict=True
    ):
        target = Rule.parse(f"-j REJECT --reject-with {word}", chain="INPUT").target
        assert target is not None
        assert shown.target is not None
        meant, said = (compile_target(each, version).ending for each in (target, shown.target))
        assert isinstance(meant, Reject)
        assert isinstance(said, Reject)
        assert (meant.icmp_type, meant.icmp_code) == (said.icmp_type, said.icmp_code), f"{word}: {shown}"
