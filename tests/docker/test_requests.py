"""What an engine is asked for, so that it becomes the host that is described."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from netverify.docker import Attachment, BridgeNetwork, DockerError, DockerHost, Link, PublishedPort
from netverify.docker.difference import differences
from netverify.docker.requests import (
    container_requests,
    daemon_environment,
    daemon_options,
    network_request,
)
from netverify.ruleset import Ruleset

DEFAULT = BridgeNetwork("bridge", "docker0", IPv4Network("172.17.0.0/16"), default=True)
WEB = BridgeNetwork("web", "br-web", IPv4Network("172.18.0.0/16"), IPv6Network("fd00:18::/64"))


def test_a_daemon_without_a_default_bridge_makes_none():
    assert daemon_options(DockerHost("19.03")) == [
        "--userland-proxy=true",
        "--iptables=true",
        "--bridge=none",
    ]


@pytest.mark.parametrize(
    ("version", "ip6tables", "expected"),
    [
        ("20.10", None, ["--ip6tables=false"]),
        ("20.10", True, ["--ip6tables=true", "--experimental"]),
        ("27.0", None, ["--ip6tables=true"]),
        ("27.0", False, ["--ip6tables=false"]),
    ],
)
def test_ip6tables_by_version(version, ip6tables, expected):
    options = daemon_options(DockerHost(version, ip6tables=ip6tables))
    assert [one for one in options if "ip6" in one or "experimental" in one] == expected


def test_options_of_the_daemon():
    host = DockerHost(
        "29.0",
        (replace(DEFAULT, icc=False, masquerade=False, subnet6=IPv6Network("fd00::/64")),),
        userland_proxy=False,
        ip_forward_no_drop=True,
        allow_direct_routing=True,
        accept_fwmark="1/3",
        backend="nftables",
    )
    assert daemon_options(host) == [
        "--userland-proxy=false",
        "--iptables=true",
        "--ip6tables=true",
        "--ip-forward-no-drop",
        "--allow-direct-routing",
        "--bridge-accept-fwmark=1/3",
        "--firewall-backend=nftables",
        "--bip=172.17.0.1/16",
        "--icc=false",
        "--ip-masq=false",
        "--ipv6",
        "--fixed-cidr-v6=fd00::/64",
    ]
    assert daemon_environment(host) == {}
    assert daemon_environment(replace(host, raw_rules=False)) == {"DOCKER_INSECURE_NO_IPTABLES_RAW": "1"}


def test_a_default_bridge_that_no_option_makes_is_refused():
    for changes in ({"gateway_mode": "routed"}, {"bridge": "br0"}, {"trusted": ("eth0",)}):
        with pytest.raises(DockerError, match="no option that makes such a default bridge"):
            daemon_options(DockerHost("28.5", (replace(DEFAULT, **changes),)))
    with pytest.raises(DockerError, match="made by the daemon itself"):
        network_request(DEFAULT)


def test_a_network_s_options():
    network = replace(WEB, internal=True, gateway_mode="isolated", trusted=("eth0", "wg0"), icc=False)
    body = network_request(network)
    assert body["EnableIPv6"] is body["Internal"] is True
    assert body["IPAM"] == {"Config": [{"Subnet": "172.18.0.0/16"}, {"Subnet": "fd00:18::/64"}]}
    driver = "com.docker.network.bridge"
    assert body["Options"] == {
        f"{driver}.name": "br-web",
        f"{driver}.enable_icc": "false",
        f"{driver}.enable_ip_masquerade": "true",
        f"{driver}.gateway_mode_ipv4": "isolated",
        f"{driver}.trusted_host_interfaces": "eth0:wg0",
    }


def test_containers_on_several_networks_with_ports_and_links():
    places = (
        Attachment("web", IPv4Address("172.18.0.2"), WEB.subnet6[2], "one"),
        Attachment("bridge", IPv4Address("172.17.0.2"), None, "two"),
        Attachment("web", IPv4Address("172.18.0.3"), WEB.subnet6[3], "two"),
    )
    port = PublishedPort("web", places[0].address, 80, 8080, host_address=IPv4Address("127.0.0.1"))
    link = Link("bridge", IPv4Address("172.17.0.3"), places[1].address, 5432)
    client = Attachment("bridge", link.client, None, "client")
    host = DockerHost("28.5", (DEFAULT, WEB), (port,), attached=(*places, client), links=(link,))
    one, two, three = container_requests(host, "image", ["sleep"])
    assert (one.name, two.name, three.name) == ("one", "two", "client")
    assert one.body["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
    assert one.body["NetworkingConfig"]["EndpointsConfig"]["web"]["IPAMConfig"] == {
        "IPv4Address": "172.18.0.2",
        "IPv6Address": "fd00:18::2",
    }
    assert "NetworkingConfig" not in two.body
    assert [*two.joins] == ["web"]
    assert two.body["ExposedPorts"] == {"5432/tcp": {}}
    assert three.body["HostConfig"]["Links"] == ["two:linked"]


def test_a_container_publishes_through_its_first_network_alone():
    places = (
        Attachment("bridge", IPv4Address("172.17.0.2"), None, "one"),
        Attachment("web", IPv4Address("172.18.0.2"), None, "one"),
    )
    host = DockerHost(
        "28.5", (DEFAULT, WEB), (PublishedPort("web", places[1].address, 80, 80),), attached=places
    )
    with pytest.raises(DockerError, match=r"172\.17\.0\.2 publishes through a network that it joins later"):
        container_requests(host, "image", ["sleep"])


def test_differences_are_shown_by_chain():
    one = Ruleset.parse(
        "*filter\n:FORWARD DROP\n-A FORWARD -i a -j ACCEPT\n-A FORWARD -i b -j ACCEPT\nCOMMIT\n"
    )
    other = Ruleset.parse(
        "*raw\n:PREROUTING ACCEPT\nCOMMIT\n*filter\n:FORWARD ACCEPT\n-A FORWARD -i b -j ACCEPT\nCOMMIT\n"
    )
    assert differences(one, one) == []
    shown = differences(one, other)
    assert shown[0] == "filter FORWARD"
    assert sorted(shown[1:]) == ["+ policy ACCEPT", "- -A FORWARD -i a -j ACCEPT", "- policy DROP"]
