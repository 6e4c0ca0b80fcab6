"""Goldens: one network with one published port, over the product of its options, and by version."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import product

import pytest

from netverify.docker import BridgeNetwork, DockerHost, PublishedPort, rules
from tests.docker.saved import saved_text

NETWORK = BridgeNetwork("web", "br-web", IPv4Network("172.18.0.0/16"), IPv6Network("fd00:18::/64"))
PORT = PublishedPort("web", IPv4Address("172.18.0.2"), 80, 8080, container6=IPv6Address("fd00:18::2"))


def both(host: DockerHost) -> dict:
    return dict(zip(("ipv4", "ipv6"), rules(host), strict=True))


@pytest.mark.parametrize(("proxy", "icc", "masquerade"), list(product([True, False], repeat=3)))
def test_options(golden, proxy, icc, masquerade):
    network = replace(NETWORK, icc=icc, masquerade=masquerade)
    host = DockerHost("27.0", (network,), (PORT,), userland_proxy=proxy)
    golden((f"docker/proxy={proxy},icc={icc},masquerade={masquerade}.rules").lower(), saved_text(both(host)))


@pytest.mark.parametrize("icc", [True, False])
def test_internal(golden, icc):
    host = DockerHost("27.0", (replace(NETWORK, internal=True, icc=icc),))
    golden((f"docker/internal,icc={icc}.rules").lower(), saved_text(both(host)))


@pytest.mark.parametrize("version", ["20.10", "23.0", "25.0"])
def test_ip6tables_by_version(golden, version):
    internal = BridgeNetwork(
        "db", "br-db", IPv4Network("172.19.0.0/16"), IPv6Network("fd00:19::/64"), internal=True
    )
    host = DockerHost(version, (NETWORK, internal), (PORT,), ip6tables=True)
    golden(f"docker/ipv6-{version}.rules", saved_text({"ipv6": rules(host)[1]}))


@pytest.mark.parametrize("proxy", [True, False])
def test_host_addresses_and_protocols(golden, proxy):
    ports = (
        replace(PORT, host_port=8081, host_address=IPv4Address("198.51.100.10")),
        replace(PORT, host_port=8082, host_address=IPv4Address("127.0.0.1")),
        replace(PORT, host_port=8083, host_address=IPv4Address("0.0.0.0")),
        replace(PORT, host_port=8084, host_address=IPv6Address("2001:db8::10")),
        replace(PORT, host_port=8085, host_address=IPv6Address("::")),
        replace(PORT, host_port=53, container_port=53, protocol="udp"),
        replace(PORT, host_port=36412, container_port=36412, protocol="sctp"),
    )
    host = DockerHost("27.0", (NETWORK,), ports, userland_proxy=proxy)
    golden((f"docker/ports,proxy={proxy}.rules").lower(), saved_text(both(host)))


def test_source_nat_to_a_chosen_address(golden):
    network = replace(NETWORK, host_ipv4=IPv4Address("198.51.100.10"), host_ipv6=IPv6Address("2001:db8::10"))
    golden("docker/snat.rules", saved_text(both(DockerHost("27.0", (network,), userland_proxy=False))))
