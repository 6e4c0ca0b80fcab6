"""Which host addresses a published port takes, who answers there, and in which order it is programmed."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest

from netverify.docker import BridgeNetwork, DockerHost, PublishedPort, bindings, listeners

WEB = BridgeNetwork("web", "br-web", IPv4Network("172.18.0.0/16"), IPv6Network("fd00:18::/64"))
C4, C6 = IPv4Address("172.18.0.2"), IPv6Address("fd00:18::2")
PORT = PublishedPort("web", C4, 80, 8080)


def shown(host: DockerHost) -> list[str]:
    """Each binding as `host address -> container address`."""
    return [f"{binding.host_address} -> {binding.container}" for binding in bindings(host)]


BOTH = ["0.0.0.0 -> 172.18.0.2", ":: -> 172.18.0.2"]


@pytest.mark.parametrize(
    ("version", "proxy", "expected"),
    [
        ("19.03", True, BOTH[:1]),
        ("20.10.5", True, BOTH[:1]),
        ("20.10.6", True, BOTH),
        ("20.10.6", False, BOTH[:1]),
        ("27.5", True, BOTH),
        ("27.5", False, BOTH[:1]),
    ],
)
def test_any_address_for_a_container_without_ipv6(version, proxy, expected):
    assert shown(DockerHost(version, (WEB,), (PORT,), userland_proxy=proxy)) == expected


@pytest.mark.parametrize("proxy", [True, False])
def test_any_address_for_a_container_with_ipv6(proxy):
    port = replace(PORT, container6=C6)
    host = DockerHost("20.10.5", (WEB,), (port,), userland_proxy=proxy)
    assert shown(host) == ["0.0.0.0 -> 172.18.0.2", ":: -> fd00:18::2"]
    assert shown(replace(host, version="19.03")) == ["0.0.0.0 -> 172.18.0.2"]


@pytest.mark.parametrize(
    ("given", "default", "expected"),
    [
        ("0.0.0.0", None, ["0.0.0.0 -> 172.18.0.2"]),
        ("127.0.0.1", None, ["127.0.0.1 -> 172.18.0.2"]),
        ("::", None, [":: -> fd00:18::2"]),
        ("::1", None, ["::1 -> fd00:18::2"]),
        (None, "0.0.0.0", ["0.0.0.0 -> 172.18.0.2", ":: -> fd00:18::2"]),
        (None, "127.0.0.1", ["127.0.0.1 -> 172.18.0.2"]),
        (None, "::", [":: -> fd00:18::2"]),
        ("192.0.2.1", "127.0.0.1", ["192.0.2.1 -> 172.18.0.2"]),
    ],
)
def test_given_addresses_and_the_networks_own(given, default, expected):
    network = replace(WEB, host_binding=None if default is None else ip_address(default))
    port = replace(PORT, container6=C6, host_address=None if given is None else ip_address(given))
    assert shown(DockerHost("24.0", (network,), (port,))) == expected


def test_with_the_proxy_a_listener_passes_on():
    found = listeners(DockerHost("24.0", (WEB,), (PORT,)))
    assert [(str(one.address), one.port, one.target) for one in found] == [
        ("0.0.0.0", 8080, (C4, 80)),
        ("::", 8080, (C4, 80)),
    ]


def test_without_the_proxy_a_listener_only_holds_the_port():
    found = listeners(DockerHost("24.0", (WEB,), (PORT,), userland_proxy=False))
    assert [(str(one.address), one.port, one.target) for one in found] == [("0.0.0.0", 8080, None)]


@pytest.mark.parametrize("address", [None, "0.0.0.0", "::"])
def test_before_20_10_one_socket_took_both_families(address):
    port = replace(PORT, container6=C6, host_address=None if address is None else ip_address(address))
    found = sorted(listeners(DockerHost("19.03", (WEB,), (port,))), key=lambda one: one.address.version)
    assert [(str(one.address), one.target) for one in found] == [("0.0.0.0", (C4, 80)), ("::", (C4, 80))]


def order(version: str, *ports: PublishedPort) -> list[int]:
    host = DockerHost(version, (replace(WEB, host_binding=IPv4Address("192.0.2.1")),), ports)
    return [binding.host_port for binding in bindings(host)]


def test_a_containers_ports_go_by_host_port_falling_until_26():
    a, b, c = (replace(PORT, container_port=port, host_port=port + 8000) for port in (70, 80, 90))
    extra = replace(a, host_port=9999)  # draws its container port's other mapping along
    assert order("26.1", a, b, c) == [8090, 8080, 8070]
    assert order("26.1", a, b, c, extra) == [9999, 8070, 8090, 8080]


def test_a_containers_ports_go_by_container_port_since_27():
    udp = replace(PORT, container_port=70, host_port=1, protocol="udp")
    tcp = replace(PORT, container_port=70, host_port=2)
    sctp = replace(PORT, container_port=70, host_port=3, protocol="sctp")
    low = replace(PORT, container_port=60, host_port=9999)
    assert order("27.0", sctp, udp, tcp, low) == [9999, 2, 1, 3]


@pytest.mark.parametrize("version", ["26.1", "27.0"])
def test_containers_go_by_their_start(version):
    first, second = replace(PORT, host_port=1), replace(PORT, host_port=2, container=C4 + 1)
    assert order(version, first, second) == [1, 2]
    assert order(version, second, first) == [2, 1]
