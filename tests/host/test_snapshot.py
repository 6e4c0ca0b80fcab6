"""What the parts of a snapshot say."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given

from netverify.host import Parts, SnapshotError, read_snapshot
from netverify.host.containers import Publication
from netverify.host.plain import Listener
from netverify.host.snapshot import HostSnapshot
from netverify.ruleset import Ruleset
from tests.host.samples import IPTABLES, TEXTS, without
from tests.strategies.host import damaged_parts


def snapshot(**changed: str) -> HostSnapshot:
    return read_snapshot(
        Parts("host", TEXTS | {name.replace("__", "."): text for name, text in changed.items()})
    )


def of(part: str, value: Any) -> HostSnapshot:
    return read_snapshot(Parts("host", TEXTS | {part: json.dumps(value)}))


def test_devices() -> None:
    lo, eth0, docker0, veth = snapshot().devices
    assert lo.is_loopback
    assert lo.mac is None
    assert eth0.mac == 0x020000000002
    assert docker0.kind == "bridge"
    assert (veth.master, veth.hairpin, veth.peer_index, veth.kind) == ("docker0", True, 4, "veth")


def test_a_device_that_is_down() -> None:
    (device,) = of("addr.json", [{"ifname": "eth9", "flags": ["BROADCAST"], "addr_info": []}]).devices
    assert not device.up


def test_routes() -> None:
    default, *_, local = snapshot().routes
    assert default.destination == ip_network("0.0.0.0/0")
    assert default.gateway == ip_address("198.51.100.1")
    assert (local.table, local.kind, local.by_kernel) == ("local", "local", True)


def test_a_default_route_of_ipv6_is_known_by_what_only_ipv6_has() -> None:
    routes = of(
        "route.json",
        [
            {"dst": "default", "dev": "eth0", "pref": "medium"},
            {"dst": "default", "gateway": "fe80::1", "dev": "eth0"},
            {"dst": "default", "dev": "eth0"},
            {
                "dst": "default",
                "via": {"family": "inet6", "host": "fe80::1"},
                "dev": "eth0",
                "prefsrc": "10.0.0.1",
            },
        ],
    ).routes
    assert [route.destination.version for route in routes] == [6, 6, 4, 4]


def test_several_next_hops() -> None:
    hops = [
        {"gateway": "10.0.0.7", "dev": "a", "flags": []},
        {"gateway": "10.0.0.8", "dev": "b", "flags": []},
    ]
    (route,) = of("route.json", [{"dst": "default", "nexthops": hops}]).routes
    assert (route.hops, str(route.gateway), route.device) == (2, "10.0.0.7", "a")


def test_rules_of_routing() -> None:
    rules = of(
        "rule.json",
        [
            {
                "priority": 50,
                "not": None,
                "src": "all",
                "fwmark": "0x10",
                "fwmask": "0xff",
                "iif": "br0",
                "table": "100",
            },
            {"priority": 49, "src": "10.0.0.0", "srclen": 24, "table": "vpn", "suppress_prefixlen": 0},
            {"priority": 48, "family": "inet6", "dst": "fd00::1", "action": "blackhole"},
        ],
    ).routing_rules
    assert [rule.priority for rule in rules] == [48, 49, 50]
    assert (rules[0].version, rules[0].strange) == (6, ("action blackhole",))
    assert (rules[1].source, rules[1].table, rules[1].strange) == (
        ip_network("10.0.0.0/24"),
        "vpn",
        ("suppress_prefixlen",),
    )
    assert (rules[2].inverted, rules[2].mark, rules[2].mark_mask, rules[2].in_interface) == (
        True,
        0x10,
        0xFF,
        "br0",
    )


def test_rules_of_both_backends_are_told_apart() -> None:
    modern = IPTABLES.replace("v1.8.9", "v1.8.9 (nf_tables)").replace("FORWARD DROP", "FORWARD ACCEPT")
    found = snapshot(**{"iptables-save__txt": modern}).rules
    assert found[4, "nft"] == Ruleset.parse(modern)
    assert found[4, "legacy"] == Ruleset.parse(IPTABLES)
    assert found[4, "legacy"] != found[4, "nft"]


def test_where_iptables_is_the_legacy_one_it_is_known_by_its_comment() -> None:
    found = snapshot().rules
    assert (4, "nft") not in found
    assert found[4, "legacy"] == Ruleset.parse(IPTABLES)


def test_containers_that_run() -> None:
    (web,) = snapshot().containers
    assert web.name == "web"
    assert web.publications == (Publication("tcp", None, 8080, 80),)
    assert [str(address) for address in web.attachments[0].addresses] == ["172.17.0.2/16"]
    assert web.devices is not None
    assert web.devices[1].peer_index == 5
    assert "secret" not in repr(snapshot())


def test_containers_of_one_name_cannot_be() -> None:
    twice = json.loads(TEXTS["docker-containers.json"])[:1] * 2
    with pytest.raises(SnapshotError, match="two containers are called 'web'"):
        of("docker-containers.json", twice)


def test_networks() -> None:
    bridge, host = snapshot().networks
    assert bridge.bridge == "docker0"
    assert host.bridge is None


def test_a_bridge_that_nobody_named() -> None:
    (network,) = of(
        "docker-networks.json", [{"Name": "web", "Id": "0123456789abcdef", "Options": {}}]
    ).networks
    assert network.bridge == "br-0123456789ab"


def test_listeners() -> None:
    resolver, *proxies, ssh = snapshot().listeners
    assert resolver == Listener("udp", 53, ip_address("127.0.0.53"), 4, "systemd-resolve")
    assert [(proxy.version, proxy.program) for proxy in proxies] == [(4, "docker-proxy"), (6, "docker-proxy")]
    assert ssh == Listener("tcp", 22)


def test_a_name_that_nobody_gave_is_the_file_s() -> None:
    assert read_snapshot(Parts("/x/web-9.json", without("meta.json"))).name == "web-9"
    assert read_snapshot(Parts("h", TEXTS, name="\x1b[31mred\n")).name == "_[31mred_"


@given(damaged_parts())
def test_whatever_stands_in_a_part_is_read_or_refused_by_name(changed: dict[str, str]) -> None:
    error = refused(Parts("host", TEXTS | changed))
    assert error is None or (str(error).startswith("host/") and str(error).isprintable())


def refused(parts: Parts) -> SnapshotError | None:
    try:
        read_snapshot(parts)
    except SnapshotError as error:
        return error
    return None
