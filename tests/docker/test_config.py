"""A host that its engine would refuse is refused here, with a message that says what and where."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from netverify.docker import BridgeNetwork, Daemon, DockerError, DockerHost, PublishedPort
from netverify.errors import InputError

WEB = BridgeNetwork("web", "br-web", IPv4Network("172.18.0.0/16"))
DB = BridgeNetwork("db", "br-db", IPv4Network("172.19.0.0/16"), IPv6Network("fd00:19::/64"))
PORT = PublishedPort("web", IPv4Address("172.18.0.2"), 80, 8080)
OTHER = replace(PORT, container=IPv4Address("172.18.0.3"))


@pytest.mark.parametrize(
    "name", ["", "a" * 16, "-x", "br+", "b r", "b/r", "b'r", 'b"r', "b\\r", "b!r", "br\n", "ö"]
)
def test_a_bridge_needs_a_name_that_rules_can_hold(name):
    with pytest.raises(DockerError, match="cannot name a bridge"):
        replace(WEB, bridge=name)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"networks": (WEB, replace(DB, name="web"))}, "network name web is given 2 times"),
        ({"networks": (WEB, replace(DB, bridge="br-web"))}, "bridge br-web is given 2 times"),
        ({"networks": (replace(WEB, default=True), replace(DB, default=True))}, "default bridge"),
        ({"networks": (WEB, replace(DB, subnet=IPv4Network("172.18.9.0/24")))}, "web and db overlap"),
        ({"forward_policy": "REJECT"}, "forward policy 'REJECT' is neither ACCEPT nor DROP"),
        (
            {"version": "19.03.15", "ip6tables": True},
            "ip6tables: not before Docker 20.10, and this is 19.03.15",
        ),
        (
            {"version": "19.03", "networks": (replace(WEB, host_ipv4=IPv4Address("192.0.2.1")),)},
            "host_ipv4: not before Docker 20.10",
        ),
        (
            {"version": "24.0", "networks": (replace(DB, host_ipv6=IPv6Address("2001:db8::1")),)},
            "host_ipv6: not before Docker 25.0",
        ),
        (
            {"published": (replace(PORT, network="nowhere"),)},
            "no bridge network 'nowhere'; this host has: web, db",
        ),
        ({"published": (replace(PORT, network="db"),)}, "172.18.0.2 is outside db's subnet 172.19.0.0/16"),
        (
            {"published": (replace(PORT, container6=IPv6Address("fd00::2")),)},
            "fd00::2 is outside web's IPv6 subnet None",
        ),
        (
            {"networks": (replace(WEB, internal=True),), "published": (PORT,)},
            "network web is internal, where no port can be published",
        ),
        ({"published": (PORT, OTHER)}, "8080->172.18.0.2:80/tcp has this port of the host already"),
        (
            {"published": (PORT, replace(OTHER, host_address=IPv6Address("::1")))},
            "8080->172.18.0.2:80/tcp has this port",
        ),
        (
            {
                "published": (
                    replace(PORT, host_address=IPv4Address("0.0.0.0")),
                    replace(OTHER, host_address=IPv4Address("127.0.0.1")),
                )
            },
            "0.0.0.0:8080->172.18.0.2:80/tcp has this port",
        ),
    ],
)
def test_a_host_is_refused(changes, says):
    with pytest.raises(DockerError, match="^.*" + says.replace(".", r"\.")) as raised:
        DockerHost(**{"version": "27.5", "networks": (WEB, DB), **changes})
    assert isinstance(raised.value, InputError)


def test_one_port_of_the_host_on_different_addresses_is_fine():
    addresses = [IPv4Address("127.0.0.1"), IPv4Address("192.0.2.1"), IPv6Address("::")]
    ports = (
        replace(PORT, host_address=address, container=IPv4Address("172.18.0.2") + number)
        for number, address in enumerate(addresses)
    )
    assert len(DockerHost("27.5", (WEB,), tuple(ports)).published) == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"host_port": 0}, "host port 0 is not between"),
        ({"container_port": 65536}, "container port 65536 is not between"),
        ({"protocol": "icmp"}, "expected a protocol of tcp, udp, sctp"),
    ],
)
def test_a_port_is_refused(changes, says):
    with pytest.raises(DockerError, match=says):
        replace(PORT, **changes)


def test_a_network_is_refused():
    with pytest.raises(DockerError, match="host_ipv6 needs a network with an IPv6 subnet"):
        replace(WEB, host_ipv6=IPv6Address("2001:db8::1"))
    with pytest.raises(DockerError, match="the network on bridge br-web has no name"):
        replace(WEB, name="")


def test_a_port_prints_as_docker_shows_it():
    assert str(PORT) == "8080->172.18.0.2:80/tcp"
    assert str(replace(PORT, host_address=IPv6Address("::"))) == "[::]:8080->172.18.0.2:80/tcp"


def test_a_daemon_refuses_what_docker_would():
    daemon = Daemon.started(DockerHost("27.5", (WEB, DB), (PORT,)))
    with pytest.raises(DockerError, match=r"network web is in use: 8080->172\.18\.0\.2:80/tcp"):
        daemon.without_network("web")
    with pytest.raises(DockerError, match="a restart restores web, db, each once, and not web, web"):
        daemon.restarted(["web", "web"])
    with pytest.raises(DockerError, match="is not published"):
        daemon.without_ports(OTHER)
    with pytest.raises(DockerError, match="no bridge network 'gone'"):
        daemon.without_network("gone")
