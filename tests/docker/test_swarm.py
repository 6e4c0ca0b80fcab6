"""A swarm's routing mesh on a host: its rules by version, its sockets, and what an upgrade does with them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address

import pytest

from netverify.docker import (
    BridgeNetwork,
    Daemon,
    DockerError,
    DockerHost,
    Ingress,
    Listener,
    MeshPort,
    listeners,
    rules,
    sandbox_rules,
    sysctls,
    task_rules,
)
from netverify.ruleset import Ruleset

GATEWAY = BridgeNetwork("docker_gwbridge", "docker_gwbridge", IPv4Network("172.30.0.0/16"), icc=False)
MESH = Ingress(IPv4Address("172.30.0.2"), ((8080, "tcp"),))


def host(version: str) -> DockerHost:
    return DockerHost(version, (GATEWAY,), ingress=MESH)


def texts(daemon: Daemon, chain: str, table: str = "filter") -> list[str]:
    return [str(rule).removeprefix(f"-A {chain} ") for rule in daemon.ipv4.chain(table, chain).rules]


@pytest.mark.parametrize(
    ("version", "replies"),
    [
        ("24.0", "-p tcp -m state --state RELATED,ESTABLISHED -m tcp --sport 8080 -j ACCEPT"),
        ("25.0", "-p tcp -m tcp --sport 8080 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
    ],
)
def test_the_accepts_by_version(version, replies):
    assert texts(Daemon.started(host(version)), "DOCKER-INGRESS") == [
        "-p tcp -m tcp --dport 8080 -j ACCEPT",
        replies,
        "-j RETURN",
    ]


@pytest.mark.parametrize(
    ("version", "chain", "second"),
    [("27.5", "FORWARD", 1), ("28.0.0", "FORWARD", 1), ("28.0.1", "DOCKER-FORWARD", 0)],
)
def test_where_the_filter_jumps_to_it(version, chain, second):
    assert texts(Daemon.started(host(version)), chain)[second] == "-j DOCKER-INGRESS"


def test_an_upgrade_takes_the_jump_out_of_forward():
    old = Daemon.started(host("27.5"))
    new = replace(old, host=host("28.5.2")).restarted()
    assert texts(new, "FORWARD")[:2] == ["-j DOCKER-USER", "-j DOCKER-FORWARD"]
    assert "-j DOCKER-INGRESS" not in texts(new, "FORWARD")
    assert texts(new, "DOCKER-FORWARD")[0] == "-j DOCKER-INGRESS"


def test_the_host_leads_its_loopback_there():
    assert sysctls(host("28.5"))["net.ipv4.conf.docker_gwbridge.route_localnet"] == "1"
    assert "net.ipv4.conf.docker_gwbridge.route_localnet" not in sysctls(replace(host("28.5"), ingress=None))
    assert "-o docker_gwbridge -m addrtype --src-type LOCAL -j MASQUERADE" in texts(
        Daemon.started(host("28.5")), "POSTROUTING", "nat"
    )


def test_its_ports_are_held_in_both_families():
    assert listeners(host("28.5")) == (
        Listener("tcp", IPv4Address("0.0.0.0"), 8080, None),
        Listener("tcp", IPv6Address("::"), 8080, None),
    )
    assert not rules(replace(host("28.5"), ip6tables=True))[1].has_table("mangle")
    assert not rules(host("28.5"))[1].table("filter").has_chain("DOCKER-INGRESS")


PORTS = (MeshPort(8090, 80), MeshPort(5300, 53, "udp"))


def shown(ruleset: Ruleset) -> str:
    """Every rule, and its table."""
    return "\n".join(f"{place.table}: {rule}" for place, rule in ruleset.rules())


def test_a_task_s_own_rules():
    assert shown(task_rules(IPv4Address("10.0.0.5"), PORTS)) == (
        "nat: -A PREROUTING -d 10.0.0.5/32 -p tcp -m tcp --dport 8090 -j REDIRECT --to-ports 80\n"
        "nat: -A PREROUTING -d 10.0.0.5/32 -p udp -m udp --dport 5300 -j REDIRECT --to-ports 53\n"
        "filter: -A INPUT -d 10.0.0.5/32 -p udp -m udp --dport 53 "
        "-m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\n"
        "filter: -A INPUT -d 10.0.0.5/32 -p tcp -m tcp --dport 80 "
        "-m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\n"
        "filter: -A INPUT -d 10.0.0.5/32 -p sctp -j DROP\n"
        "filter: -A INPUT -d 10.0.0.5/32 -p udp -j DROP\n"
        "filter: -A INPUT -d 10.0.0.5/32 -p tcp -j DROP\n"
        "filter: -A OUTPUT -s 10.0.0.5/32 -p udp -m udp --sport 53 "
        "-m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
        "filter: -A OUTPUT -s 10.0.0.5/32 -p tcp -m tcp --sport 80 "
        "-m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
        "filter: -A OUTPUT -s 10.0.0.5/32 -p sctp -j DROP\n"
        "filter: -A OUTPUT -s 10.0.0.5/32 -p udp -j DROP\n"
        "filter: -A OUTPUT -s 10.0.0.5/32 -p tcp -j DROP"
    )
    assert task_rules(IPv4Address("10.0.0.5"), ()) == Ruleset("ipv4")


def test_the_sandbox_s_rules():
    found = sandbox_rules(IPv4Interface("10.0.0.2/24"), IPv4Address("10.0.0.3"), 256, PORTS)
    assert shown(found) == (
        "mangle: -A PREROUTING -p tcp -m tcp --dport 8090 -j MARK --set-xmark 0x100/0xffffffff\n"
        "mangle: -A PREROUTING -p udp -m udp --dport 5300 -j MARK --set-xmark 0x100/0xffffffff\n"
        "mangle: -A INPUT -d 10.0.0.3/32 -j MARK --set-xmark 0x100/0xffffffff\n"
        "nat: -A POSTROUTING -d 10.0.0.0/24 -m ipvs --ipvs -j SNAT --to-source 10.0.0.2"
    )


@pytest.mark.parametrize("port", [(0, 80, "tcp"), (80, 65536, "tcp"), (80, 80, "icmp")])
def test_a_mesh_s_port_is_refused(port):
    with pytest.raises(DockerError, match="mesh: "):
        MeshPort(*port)
