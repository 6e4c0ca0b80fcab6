from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

import pytest

from netverify.docker import BridgeNetwork, DockerHost, loads_br_netfilter, sysctls

WEB = BridgeNetwork("web", "br-web", IPv4Network("172.18.0.0/16"))
DUAL = BridgeNetwork("dual", "br.2", IPv4Network("172.19.0.0/16"), IPv6Network("fd00:19::/64"))
CLOSED = replace(WEB, icc=False)


def test_an_old_engine_only_turns_forwarding_on():
    assert sysctls(DockerHost("18.05", (WEB,))) == {"net.ipv4.ip_forward": "1"}


def test_bridges_ignore_router_advertisements_since_the_fix():
    assert "net.ipv6.conf.br-web.accept_ra" not in sysctls(DockerHost("19.03.10", (WEB,)))
    assert sysctls(DockerHost("19.03.11", (WEB,)))["net.ipv6.conf.br-web.accept_ra"] == "0"


def test_without_the_proxy_loopback_is_routed_on_every_bridge():
    found = sysctls(DockerHost("24.0", (WEB, replace(DUAL, internal=True)), userland_proxy=False))
    assert found["net.ipv4.conf.br-web.route_localnet"] == "1"
    assert found["net.ipv4.conf.br/2.route_localnet"] == "1"
    assert not any("bridge-nf" in name for name in found)


def test_ipv6_networks_turn_ipv6_forwarding_on():
    found = sysctls(DockerHost("24.0", (DUAL,)))
    assert found["net.ipv6.conf.all.forwarding"] == found["net.ipv6.conf.default.forwarding"] == "1"
    assert found["net.ipv6.conf.br/2.disable_ipv6"] == "0"


@pytest.mark.parametrize(
    ("version", "network", "proxy", "iptables", "needed"),
    [
        ("24.0", WEB, True, True, False),
        ("24.0", CLOSED, True, True, True),
        ("24.0", CLOSED, True, False, False),
        ("24.0", WEB, False, True, False),
        ("27.3", WEB, False, True, False),
        ("27.4", WEB, False, True, True),
    ],
)
def test_traffic_within_a_bridge_is_filtered_where_a_rule_needs_it(version, network, proxy, iptables, needed):
    host = DockerHost(version, (network,), userland_proxy=proxy, iptables=iptables, ip6tables=False)
    assert (sysctls(host).get("net.bridge.bridge-nf-call-iptables") == "1") is needed
    assert "net.bridge.bridge-nf-call-ip6tables" not in sysctls(host)


def test_and_for_ipv6_where_the_network_has_it():
    found = sysctls(DockerHost("24.0", (replace(DUAL, icc=False),)))
    assert found["net.bridge.bridge-nf-call-ip6tables"] == "1"


@pytest.mark.parametrize(
    ("version", "network", "loaded"),
    [("18.05", WEB, True), ("27.2", WEB, True), ("27.3", WEB, False), ("27.3", CLOSED, True)],
)
def test_br_netfilter_is_loaded_always_and_later_on_demand(version, network, loaded):
    assert loads_br_netfilter(DockerHost(version, (network,))) is loaded


def test_a_daemon_without_iptables_loads_nothing():
    assert not loads_br_netfilter(DockerHost("24.0", (CLOSED,), iptables=False))


def test_forwarding_is_turned_on_at_the_start_and_since_28_with_the_first_network():
    assert sysctls(DockerHost("27.5")) == {"net.ipv4.ip_forward": "1"}
    assert sysctls(DockerHost("28.0")) == {}
    assert sysctls(DockerHost("28.0", (WEB,)))["net.ipv4.ip_forward"] == "1"


def test_with_the_nftables_backend_the_operator_turns_it_on():
    assert "net.ipv4.ip_forward" not in sysctls(DockerHost("29.0", (WEB,), backend="nftables"))
    assert "net.ipv6.conf.all.forwarding" not in sysctls(DockerHost("29.0", (DUAL,), backend="nftables"))


def test_the_bridge_of_an_isolated_network_has_no_ipv6():
    isolated = replace(DUAL, internal=True, gateway_mode6="isolated")
    assert "net.ipv6.conf.br/2.disable_ipv6" not in sysctls(DockerHost("28.0", (isolated,)))
