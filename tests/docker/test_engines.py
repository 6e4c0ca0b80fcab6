"""What real engines wrote, recorded with iptables-save, is what this room writes for their versions.

Each recording is of Debian's engine of that version in a network namespace of its own, with ip6tables on,
with the networks and containers below: `started`; then a container, another and its network `removed`; then,
after `iptables -P FORWARD ACCEPT; iptables -F` and the removal of all containers, the daemon `restarted`.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest

from netverify.docker import BridgeNetwork, Daemon, DockerHost, PublishedPort
from tests.docker.saved import chains, saved
from tests.docker.test_three_bridges import flushed


def network(name: str, subnet: str, subnet6: str | None = None, **options) -> BridgeNetwork:
    v6 = None if subnet6 is None else IPv6Network(subnet6)
    return BridgeNetwork(name, f"br-{name}", IPv4Network(subnet), v6, **options)


def ports(name: str, container: str, *published: str, container6: str | None = None):
    """Published ports from docker's own notation: `host address@host port:container port/protocol`."""
    for text in published:
        address, _, mapping = text.rpartition("@")
        numbers, _, protocol = mapping.partition("/")
        host_port, container_port = map(int, numbers.split(":"))
        yield PublishedPort(
            name,
            IPv4Address(container),
            container_port,
            host_port,
            protocol or "tcp",
            ip_address(address) if address else None,
            None if container6 is None else IPv6Address(container6),
        )


NETWORKS = (
    BridgeNetwork("bridge", "docker0", IPv4Network("172.17.0.0/16"), default=True),
    network("a", "172.18.0.0/16"),
    network("b", "172.19.0.0/16", internal=True),
    network("c", "172.20.0.0/16", icc=False),
    network("d", "172.21.0.0/16", masquerade=False),
    network("e", "172.22.0.0/16", host_binding=IPv4Address("127.0.0.1")),
    network("f", "172.23.0.0/16", "fd00:f::/64"),
    network("g", "172.24.0.0/16", "fd00:9::/64", internal=True),
    network("h", "172.25.0.0/16", "fd00:8::/64", icc=False),
    network("i", "172.26.0.0/16", host_ipv4=IPv4Address("192.0.2.1")),
)
A1 = tuple(ports("a", "172.18.0.2", "8080:80", "53:53/udp"))
A2 = tuple(
    ports("a", "172.18.0.3", "192.0.2.1@8081:80", "127.0.0.1@8082:80", "0.0.0.0@8083:71", "::1@8084:80")
)
C1 = tuple(ports("c", "172.20.0.2", "9090:90"))
D1 = tuple(ports("d", "172.21.0.2", "9091:91"))
E1 = tuple(ports("e", "172.22.0.2", "9092:92"))
F1 = tuple(ports("f", "172.23.0.2", "9093:93", "::1@9094:94", "9095:95/udp", container6="fd00:f::2"))


def started(version: str, proxy: bool) -> Daemon:
    published = A1 + A2 + C1 + D1 + E1 + F1
    return Daemon.started(DockerHost(version, NETWORKS, published, userland_proxy=proxy, ip6tables=True))


@pytest.mark.parametrize("version", ["20.10.24", "26.1.5"])
@pytest.mark.parametrize(("proxy", "kind"), [(True, "with"), (False, "without")])
def test_networks_and_ports(version, proxy, kind):
    recorded = saved(f"engine-{version}-{kind}-proxy")
    daemon = started(version, proxy)
    assert chains(daemon.ipv4) == chains(recorded["started ipv4"])
    assert chains(daemon.ipv6) == chains(recorded["started ipv6"])
    assert (daemon.ipv4, daemon.ipv6) == (recorded["started ipv4"], recorded["started ipv6"])


# The order in which that engine restored its networks; it has none of its own, and differs from run to run.
RESTORED = {"20.10.24": "igfabedh", "26.1.5": "ehgbdafi"}


@pytest.mark.parametrize(
    ("version", "proxy", "kind"), [("20.10.24", True, "with"), ("26.1.5", False, "without")]
)
def test_removals_a_flush_and_a_restart(version, proxy, kind):
    recorded = saved(f"engine-{version}-{kind}-proxy")
    daemon = started(version, proxy).without_ports(*A1).without_ports(*C1).without_network("c")
    assert chains(daemon.ipv4) == chains(recorded["removed ipv4"])
    assert chains(daemon.ipv6) == chains(recorded["removed ipv6"])

    opened = flushed(daemon.ipv4.with_policy("filter", "FORWARD", "ACCEPT"), "filter")
    stopped = replace(daemon, ipv4=opened).without_ports(*A2, *D1, *E1, *F1)
    again = stopped.restarted([*RESTORED[version], "bridge"])
    assert chains(again.ipv4) == chains(recorded["restarted ipv4"])
    assert chains(again.ipv6) == chains(recorded["restarted ipv6"])
