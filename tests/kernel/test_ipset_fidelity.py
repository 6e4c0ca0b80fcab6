"""Rules that look into ipsets, judged by the kernel. The sets are made over netlink, without a program.

The types `REQUIRED` are there wherever there are sets at all; others are compared where the kernel has them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pyroute2.ipset
import pytest
from pyroute2.ipset import IPSet, IPSetError, PortEntry
from pyroute2.netlink.nfnetlink.ipset import IPSET_FLAG_NOMATCH

from netverify.dataplane.ipset import IpSet, SetEntry
from netverify.kernel.firewall import Backend
from tests.kernel.match_cases import V4, V6, shot
from tests.kernel.match_router import HOST, SILENCE, Router, Shot, compare, match_router, ruleset

pytestmark = pytest.mark.needs("veth", "AF_PACKET", "iptables", "IPv6", "ip sets")
REQUIRED = {"hash:ip", "hash:net", "hash:ip,port", "list:set"}
NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58, "gre": 47}

SETS = {
    "addresses": IpSet.of("hash:ip", "10.1.0.2", "203.0.113.9"),
    "leaving": IpSet.of("hash:ip", "10.1.0.2 timeout 600", "10.0.0.9"),
    "networks": IpSet.of("hash:net", "10.0.0.0/16", "10.1.0.0/16", "10.1.0.0/28 nomatch", "10.1.0.2"),
    "services": IpSet.of(
        "hash:ip,port", "10.1.0.2,tcp:80", "10.1.0.2,udp:53", "10.1.0.2,sctp:80", "10.1.0.2,icmp:8/0",
        "10.1.0.2,gre:0", "10.0.0.2,udp:4000",
    ),
    "pairs": IpSet.of("hash:ip,port,ip", "10.1.0.2,udp:80,10.0.0.2", "10.0.0.2,udp:4000,10.1.0.2"),
    "served": IpSet.of(
        "hash:ip,port,net", "10.1.0.2,udp:80,10.0.0.0/16", "10.1.0.2,udp:80,10.0.0.8/29 nomatch",
        "10.1.0.2,udp:80,10.0.0.9/32",
    ),
    "offers": IpSet.of(
        "hash:net,port", "10.1.0.0/24,tcp:80", "10.1.0.0/28,tcp:80 nomatch",
        "10.1.0.0/28,udp:80",
    ),
    "behind": IpSet.of(
        "hash:net,iface", "10.0.0.0/8,eth0", "10.0.0.8/29,eth1", "10.1.0.0/16,et wildcard",
        "11.0.0.0/8,eth0 nomatch",
    ),
    "ports": IpSet.of("bitmap:port", "80-90", "4000"),
    "both": IpSet.of("list:set", "addresses", "ports"),
    "all": IpSet.of("list:set", "services", "networks"),
    "addresses6": IpSet.of("hash:ip", "fd01::2", version=6),
    "networks6": IpSet.of(
        "hash:net", "fd01::/64", "fd01::/124 nomatch", "fd01::2", "fd00::/64", version=6
    ),
    "services6": IpSet.of(
        "hash:ip,port", "fd01::2,tcp:80", "fd01::2,icmpv6:128/0", "fd01::2,udp:53", version=6
    ),
}  # fmt: skip


def _make(wanted: dict[str, IpSet]) -> dict[str, IpSet]:
    """Make the sets where this thread is; returns those whose types the kernel has."""
    made = {}
    with IPSet() as netlink:
        for name, held in wanted.items():
            family = socket.AF_INET6 if held.version == 6 else socket.AF_INET
            options: dict[str, Any] = {"bitmap_ports_range": (1, 5000)} if held.kind == "bitmap:port" else {}
            if any(entry.timeout for entry in held.entries):
                options["timeout"] = 0
            try:
                netlink.create(name, stype=held.kind, family=family, **options)
            except IPSetError:
                continue
            for entry in held.entries:
                _add(netlink, name, held, entry, family)
            made[name] = held
    return made


def _add(netlink: Any, name: str, held: IpSet, entry: SetEntry, family: int) -> None:
    values = [_value(kind, value) for kind, value in zip(held.parts, entry.values, strict=True)]
    options: dict[str, Any] = {"wildcard": entry.wildcard, "etype": ",".join(held.parts), "family": family}
    if entry.timeout:
        options["timeout"] = entry.timeout
    with pytest.MonkeyPatch.context() as patch:
        if entry.nomatch:  # pyroute2 has no option for it, but one that sets a flag in its place
            patch.setattr(pyroute2.ipset, "IPSET_FLAG_PHYSDEV", IPSET_FLAG_NOMATCH)
            options["physdev"] = True
        if held.kind == "bitmap:port":
            low, _, high = entry.values[0].partition("-")
            for port in range(int(low), int(high or low) + 1):
                netlink.add(name, port, etype="port")
            return
        netlink.add(name, values[0] if held.kind == "list:set" else tuple(values), **options)


def _value(kind: str, value: str) -> Any:
    if kind != "port" or ":" not in value:
        return value
    protocol, _, rest = value.partition(":")
    number, slash, code = rest.partition("/")
    return PortEntry(int(number) << 8 | int(code) if slash else int(number), protocol=NUMBERS[protocol])


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """left - host - right, where the host has the sets."""
    with match_router() as made:
        made.sets = made.net.visitor.visit(made.net.namespaces[HOST], lambda: _make(SETS))
        yield made


FLAGS = [
    "src",
    "dst",
    "src,src",
    "dst,dst",
    "src,dst",
    "dst,src",
    "dst,dst,src",
    "src,src,dst",
    "src,src,src",
]


def _rules(router: Router, version: int) -> list[tuple[str, str, str]]:
    rules = []
    for name, held in router.sets.items():
        if held.version not in (None, version) or (name in ("both", "all") and version == 6):
            continue
        for flags in FLAGS:
            for modifier in ("", " --return-nomatch"):
                for negation in ("", "! "):
                    text = f"-m set {negation}--match-set {name} {flags}{modifier}"
                    rules.append(("mangle", "FORWARD", text))
    return rules


def _shots(version: int) -> list[Shot]:
    near, far = V4 if version == 4 else V6
    made = [
        shot(protocol, near, far, sport=4000, dport=port)
        for protocol in ("udp", "tcp", "sctp")
        for port in (53, 80)
    ]
    made += [shot("udp", near, far, sport=4001, dport=port) for port in (79, 90, 91, 80)]
    made += [shot("icmp", near, far), shot("icmp", near, far, icmp_code=1), shot(47, near, far)]
    others = {4: ["10.0.0.9", "10.0.0.10", "11.0.0.1", "12.0.0.1"], 6: ["fd00::9", "2001:db8:2::5"]}[version]
    made += [shot(protocol, source, far, sport=4002) for source in others for protocol in ("udp", "tcp")]
    targets = {4: ["203.0.113.9", "203.0.113.10", "10.1.0.5", "10.1.0.20"], 6: ["fd01::5", "fd01::20"]}[
        version
    ]
    made += [shot(protocol, near, target, sport=4003) for target in targets for protocol in ("udp", "tcp")]
    back = shot("udp", far, near, "right", sport=80, dport=4001)
    return [*made, back]


@pytest.mark.parametrize("backend", list(Backend))
@pytest.mark.parametrize("version", [4, 6])
def test_what_is_in_a_set(router: Router, backend: Backend, version: int) -> None:
    rules = [*_rules(router, version), *SILENCE]
    traces = compare(router, backend, ruleset(version, rules), _shots(version))
    assert {held.kind for held in router.sets.values()} >= REQUIRED
    assert len({place for trace in traces for place in trace.hits()}) > 100
