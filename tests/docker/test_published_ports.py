"""Ports of special kinds: in a routed network that is not the container's gateway, and over SCTP."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest

from netverify.docker import (
    Attachment,
    BridgeNetwork,
    DockerError,
    DockerHost,
    PublishedPort,
    listeners,
    nft_rules,
    rules,
)
from netverify.docker.binding import bindings
from netverify.docker.requests import daemon_environment

FRONT = BridgeNetwork("front", "br-front", IPv4Network("172.18.0.0/16"), IPv6Network("fd00:18::/64"))
ROUTED = BridgeNetwork(
    "routed",
    "br-routed",
    IPv4Network("172.19.0.0/16"),
    IPv6Network("fd00:19::/64"),
    gateway_mode="routed",
    gateway_mode6="routed",
)
PLACES = (
    Attachment("front", IPv4Address("172.18.0.2"), IPv6Address("fd00:18::2"), "c"),
    Attachment("routed", IPv4Address("172.19.0.2"), IPv6Address("fd00:19::2"), "c"),
)
PORT = PublishedPort("front", IPv4Address("172.18.0.2"), 80, 8080, container6=IPv6Address("fd00:18::2"))
OPEN4 = "-A DOCKER -d 172.19.0.2/32 ! -i br-routed -o br-routed -p tcp -m tcp --dport 80 -j ACCEPT"
OPEN6 = "-A DOCKER -d fd00:19::2/128 ! -i br-routed -o br-routed -p tcp -m tcp --dport 80 -j ACCEPT"


def host(version: str, *ports: PublishedPort, routed: BridgeNetwork = ROUTED) -> DockerHost:
    return DockerHost(version, (FRONT, routed), ports or (PORT,), attached=PLACES)


@pytest.mark.parametrize(("version", "is_open"), [("27.5", False), ("28.5.2", False), ("29.0", True)])
def test_a_routed_network_that_is_not_the_gateway(version, is_open):
    """Since 29.0 the container's ports are open there too, on its own address and port."""
    there = [[*map(str, one.chain("filter", "DOCKER").rules)] for one in rules(host(version))]
    assert [OPEN4 in there[0], OPEN6 in there[1]] == [is_open, is_open]
    assert [one.host_port for one in bindings(host(version)) if one.network == ROUTED] == [0, 0] * is_open
    assert {one.port for one in listeners(host(version))} == {8080}


def test_and_with_nftables():
    tables = nft_rules(replace(host("29.0"), backend="nftables")).tables
    texts = [str(rule) for table in tables for rule in table.chain("filter-forward-in__br-routed").rules]
    assert sum("daddr 172.19.0.2" in text or "daddr fd00:19::2" in text for text in texts) == 2


@pytest.mark.parametrize(
    ("address", "families"), [("198.51.100.10", {4}), ("2001:db8::10", {6}), ("127.0.0.1", {4})]
)
def test_a_port_of_one_family_is_open_in_that_family(address, families):
    found = bindings(host("29.0", replace(PORT, host_address=ip_address(address))))
    assert {one.container.version for one in found if one.network == ROUTED} == families


@pytest.mark.parametrize("change", [{"gateway_mode": "nat", "gateway_mode6": "nat"}, {"internal": True}])
def test_another_network_of_the_container_is_not_opened(change):
    routed = replace(ROUTED, **change)
    assert not [one for one in bindings(host("29.0", routed=routed)) if one.network == routed]


def test_another_container_is_not_opened():
    lonely = replace(host("29.0"), attached=(PLACES[0], replace(PLACES[1], container="d")))
    nameless = replace(host("29.0"), attached=tuple(replace(place, container="") for place in PLACES))
    for one in (lonely, nameless):
        assert not [binding for binding in bindings(one) if binding.network == ROUTED]


CHECKSUM = "-A POSTROUTING -p sctp -m sctp --sport 36412 -j CHECKSUM --checksum-fill"
SCTP = replace(PORT, container_port=36412, host_port=36412, protocol="sctp")


@pytest.mark.parametrize(
    ("version", "asked", "written"),
    [
        ("27.5", False, True),
        ("28.0.0", False, False),
        ("28.0.0", True, True),
        ("28.5.2", True, True),
        ("28.5.2", False, False),
        ("29.0", True, False),
    ],
)
def test_sctp_checksums(version, asked, written):
    ipv4, ipv6 = rules(replace(host(version, SCTP), sctp_checksum=asked))
    for ruleset in (ipv4, ipv6):
        there = ruleset.has_table("mangle") and CHECKSUM in map(
            str, ruleset.chain("mangle", "POSTROUTING").rules
        )
        assert there is written


def test_sctp_checksums_are_asked_for_in_the_environment():
    asking = replace(host("28.5.2", SCTP), sctp_checksum=True)
    assert daemon_environment(asking) == {"DOCKER_IPTABLES_SCTP_CHECKSUM": "1"}
    assert daemon_environment(host("28.5.2")) == {}
    with pytest.raises(DockerError, match=r"sctp_checksum: not before Docker 28\.0, and this is 27\.5"):
        replace(host("27.5", SCTP), sctp_checksum=True)
