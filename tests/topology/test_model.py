"""A topology's parts and accessors: what they answer, what they refuse, and that nobody can change them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given, settings

from netverify.topology.errors import TopologyError
from netverify.topology.load import loads
from netverify.topology.model import (
    Cable,
    CableEnd,
    Container,
    DockerDaemon,
    Endpoint,
    Host,
    Interface,
    Network,
    NetworkDriver,
    PortMapping,
    Route,
    Segment,
    Topology,
)
from tests.strategies.topology import topologies

POD = loads("""
    name: pod
    segments: {lan: {}}
    hosts:
      host: {role: host, interfaces: {eth0: {segment: lan, address: [192.168.1.10/24, "2001:db8::10/64"]}}}
      neighbour: {interfaces: {eth0: {segment: lan, address: 192.168.1.20/24}}, listen: tcp/22}
    networks:
      web: {device: br0, subnet: [172.18.0.0/16, "fd00:18::/64"]}
      sealed: {device: br1, subnet: 172.19.0.0/16, internal: true}
    containers:
      pause: {networks: {web: {address: 172.18.0.9}, sealed: {}}}
      nginx: {mode: "container:pause", listen: tcp/80}
      registry: {mode: "container:nginx", listen: tcp/5000}
      agent: {mode: host, listen: udp/53}
      alone: {mode: none}
    cables:
      - {host:veth9: {address: 10.1.0.1/24}, pause:eth9: {address: 10.1.0.2/24}}
""")


def subnet(text: str) -> Any:
    return ip_network(text)


def test_nodes_are_those_with_a_namespace_of_their_own():
    assert [node.name for node in POD.nodes()] == ["host", "neighbour", "pause", "alone"]


@pytest.mark.parametrize(
    ("name", "owner"),
    [("host", "host"), ("agent", "host"), ("nginx", "pause"), ("registry", "pause"), ("alone", "alone")],
)
def test_namespace_of(name: str, owner: str):
    assert POD.namespace_of(name) == owner


def test_inhabitants():
    assert POD.inhabitants("nginx") == ("pause", "nginx", "registry")
    assert POD.inhabitants("host") == ("host", "agent")


def test_guests_see_what_the_owner_of_the_namespace_has():
    assert POD.addresses_of("registry") == POD.addresses_of("pause")
    assert POD.routes_of("registry") == POD.routes_of("pause")
    assert POD.listens_of("pause") == (("tcp", 80), ("tcp", 5000))
    assert POD.listens_of("agent") == (("udp", 53),)


def test_addresses_of_a_host_are_those_of_all_its_devices():
    assert [str(address) for address in POD.addresses_of("host", 4)] == [
        "192.168.1.10",
        "172.18.0.1",
        "172.19.0.1",
        "10.1.0.1",
    ]
    assert [str(address) for address in POD.addresses_of("host", 6)] == ["2001:db8::10", "fd00:18::1"]


def test_interfaces_of():
    resolved = POD.resolved()
    assert [interface.device for interface in resolved.interfaces_of("pause")] == ["eth0", "eth1", "eth9"]
    host = {interface.device: interface for interface in resolved.interfaces_of("host")}
    ends = {attachment.host_device: attachment.network.device for attachment in resolved.attachments("pause")}
    assert {device: host[device].master for device in ends} == ends
    assert set(host) == {"eth0", "br0", "br1", "veth9", *ends}


def test_default_routes_go_through_the_first_network_that_offers_one():
    assert [str(route) for route in POD.routes_of("pause")] == [
        "default via 172.18.0.1",
        "default via fd00:18::1",
    ]
    swapped = POD.with_container("pause", endpoints=(Endpoint("sealed"), Endpoint("web")))
    assert swapped.routes_of("pause") == POD.routes_of("pause")


def test_a_default_route_of_its_own_is_kept():
    own = Route.parse("default via 10.1.0.1")
    assert [str(route) for route in POD.with_container("pause", routes=(own,)).routes_of("pause")] == [
        "default via 10.1.0.1",
        "default via fd00:18::1",
    ]


@pytest.mark.parametrize("change", [{"internal": True}, {"default_route": False}])
def test_networks_that_offer_no_default_route(change: dict[str, bool]):
    assert POD.with_network("web", **change).routes_of("pause") == ()


def test_an_ipvlan_in_layer_3_is_its_own_default_route():
    ipvlan = Network(
        "ip", NetworkDriver.IPVLAN, ("host",), (subnet("10.5.0.0/24"),), device="eth0", mode="l3"
    )
    topology = POD.adding(ipvlan, Container("c", "host", (Endpoint("ip"),)))
    assert topology.routes_of("c") == (Route(subnet("0.0.0.0/0"), device="eth0"),)


def test_versions():
    assert POD.versions == (4, 6)
    assert Topology("empty").versions == (4,)
    assert loads("name: t\nhosts: {a: {interfaces: {e: {address: 'fd00::1/64'}}}}").versions == (6,)


def test_who_is_where():
    assert [network.name for network in POD.networks_on("host")] == ["web", "sealed"]
    assert POD.networks_on("neighbour") == ()
    assert [container.name for container in POD.containers_on("host")][:2] == ["pause", "nginx"]
    assert [container.name for container, _ in POD.endpoints_on("web")] == ["pause"]
    assert [interface.device for interface in POD.cable_ends("pause")] == ["eth9"]
    assert POD.cable_ends("alone") == ()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (
            lambda: POD.host("hots"),
            "no host is named 'hots'; expected one of host, neighbour (did you mean 'host'?)",
        ),
        (lambda: POD.container("ngnix"), "did you mean 'nginx'?"),
        (lambda: POD.network("lan"), "no network is named 'lan'; expected one of web, sealed"),
        (lambda: POD.segment("lam"), "did you mean 'lan'?"),
        (lambda: POD.namespace_of("puase"), "no host or container is named 'puase'"),
        (lambda: POD.containers_on("nginx"), "no host is named 'nginx'"),
        (lambda: POD.with_network("wep", internal=True), "did you mean 'web'?"),
        (
            lambda: POD.container("pause").endpoint("lan"),
            "it is not attached to 'lan'; expected one of web, sealed",
        ),
        (lambda: POD.attachments("pause"), "nobody has given it a device and addresses yet"),
        (lambda: POD.network("web").with_prefix(ip_address("10.0.0.1")), "10.0.0.1 is none of its addresses"),
    ],
)
def test_questions_about_nobody(ask: Callable[[], object], words: str):
    with pytest.raises(TopologyError) as caught:
        ask()
    assert words in str(caught.value)


def test_edits_make_another_topology():
    changed = POD.with_host("host", docker=DockerDaemon("28.0")).with_segment("lan", subnets=())
    assert changed.host("host").docker == DockerDaemon("28.0")
    assert POD.host("host").docker is None
    assert changed.with_host("host", docker=None) == POD


def test_edits_are_checked():
    with pytest.raises(TopologyError, match=r"172\.18\.0\.9 is outside 10\.0\.0\.0/24"):
        POD.with_network("web", subnets=(subnet("10.0.0.0/24"),))


def test_adding():
    grown = POD.adding(
        Container("late", "host", (Endpoint("web"),)),
        Host("ns"),
        Segment("wan"),
        Cable((CableEnd("ns", Interface("a")), CableEnd("late", Interface("b")))),
    )
    assert [node.name for node in grown.nodes()] == ["host", "neighbour", "ns", "pause", "alone", "late"]
    assert (len(grown.segments), len(grown.cables)) == (2, 2)


def test_nobody_can_change_it():
    with pytest.raises(FrozenInstanceError):
        POD.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        POD.notes["a"] = "b"  # type: ignore[index]


def test_a_mapping_that_was_given_can_change_without_harm():
    given = {"net.ipv4.ip_forward": "1"}
    host = Host("a", sysctls=given)
    given["net.ipv4.ip_forward"] = "0"
    assert host.sysctls == {"net.ipv4.ip_forward": "1"}


@settings(deadline=None, max_examples=30)
@given(topologies())
def test_equal_topologies_have_equal_hashes_and_survive_pickling(topology: Topology):
    topology.versions  # noqa: B018 - fills the indexes, which are no part of the value
    again = pickle.loads(pickle.dumps(topology))  # noqa: S301 - our own bytes
    assert (again, hash(again)) == (topology, hash(topology))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: Interface("eth0", [ip_interface("10.0.0.1/24")]),
            "is no tuple; expected a tuple of IPv4Interface",
        ),
        (
            lambda: Interface("eth0", ("10.0.0.1/24",)),
            "is of type str; expected IPv4Interface or IPv6Interface",
        ),
        (
            lambda: Interface("eth0", (ip_address("10.0.0.1"),)),
            "is of type IPv4Address; expected IPv4Interface",
        ),
        (
            lambda: Endpoint("web", (ip_interface("10.0.0.1/24"),)),
            "is of type IPv4Interface; expected IPv4Address",
        ),
        (lambda: Interface(3), "interface '3': device: '3' is no device name"),
        (lambda: Host("a", role="host"), "host 'a': role: 'host' is unknown"),
        (lambda: Host("a", forwarding=["ipv4"]), "is no frozenset"),
        (lambda: Host("a", rules=7), "host 'a': rules: '7' is no text"),
        (lambda: Host("a", listens=("tcp/80",)), "is of type str; expected tuple"),
        (lambda: PortMapping("80", 80), "published port: host_port: '80' is no port"),
        (lambda: PortMapping(80, True), "True is no port"),
        (lambda: PortMapping(80, 80, host_address="127.0.0.1"), "is of type str; expected an address"),
        (lambda: Route("default"), "its destination is no subnet"),
        (lambda: Route(subnet("10.0.0.0/8"), ip_address("10.0.0.1"), kind="blackhole"), "has no way to go"),
        (
            lambda: Route(subnet("10.0.0.0/8"), ip_address("10.0.0.1"), onlink=True),
            "expected via and dev too",
        ),
        (lambda: Route(subnet("10.0.0.0/8"), ip_address("224.0.0.1")), "224.0.0.1 belongs to no device"),
        (lambda: Segment("lan", (subnet("fe80::%eth0/64"),)), "fe80::%eth0 has a zone"),
        (lambda: Cable((CableEnd("a", Interface("b")),)), "it has 1 ends"),
        (lambda: Cable((CableEnd("a", Interface("b")),) * 2), "'a:b' comes twice"),
        (lambda: Topology("t", hosts=[Host("a")]), "topology 't': hosts: "),
        (lambda: Topology("t", notes={"a": "\x07"}), "topology 't': notes.a: there is U+0007 in it"),
        (lambda: Topology("t", title="two\nlines"), "expected one line of printable text"),
        (lambda: Network("n", "bridge", ("h",), (subnet("10.0.0.0/24"),)), "driver: 'bridge' is unknown"),
        (lambda: Network("n", NetworkDriver.BRIDGE, (), (subnet("10.0.0.0/24"),)), "0 hosts carry it"),
        (
            lambda: Network("n", NetworkDriver.BRIDGE, ("h",), (subnet("224.0.0.0/24"),)),
            "holds no device's address",
        ),
    ],
)
def test_parts_made_in_python_are_checked_too(make: Callable[[], object], words: str):
    with pytest.raises(TopologyError) as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "routes",
    [
        ("default via 10.0.0.1",),
        ("default via 10.0.0.1 dev eth0 src 10.0.0.5",),
        ("10.9.9.9/32 dev eth0", "default via 10.9.9.9"),
        ("default via 10.9.9.9 dev eth0 onlink",),
        ("default via fe80::1 dev eth0",),
        ("default dev eth0", "unreachable 10.0.0.0/8", "10.8.0.0/16 via 192.0.2.1"),
        ("172.18.0.0/24 dev br0",),
    ],
)
def test_routes_that_a_kernel_would_take(routes: tuple[str, ...]):
    interface = Interface("eth0", (ip_interface("10.0.0.5/24"),))
    host = Host("a", interfaces=(interface,), bridges=(Interface("br0"),))
    Topology("t", hosts=(replace(host, routes=tuple(map(Route.parse, routes))),))


@pytest.mark.parametrize(
    ("one", "two", "clash"),
    [
        ("80:80", "80:81", True),
        ("80:80", "81:80", False),
        ("80:80/tcp", "80:80/udp", False),
        ("80:80", "127.0.0.1:80:80", True),
        ("0.0.0.0:80:80", "127.0.0.1:80:80", True),
        ("0.0.0.0:80:80", "[::]:80:80", False),
        ("0.0.0.0:80:80", "[::1]:80:80", False),
        ("127.0.0.1:80:80", "127.0.0.2:80:80", False),
        ("127.0.0.1:80:80", "127.0.0.1:80:81", True),
    ],
)
def test_port_mappings_clash(one: str, two: str, clash: bool):
    first, second = PortMapping.parse(one), PortMapping.parse(two)
    assert first.clashes_with(second) is clash
    assert second.clashes_with(first) is clash


def test_a_range_of_ports_is_as_many_mappings():
    found = PortMapping.parse_range("127.0.0.1:9000-9002:80-82/udp")
    assert [*map(str, found)] == [f"127.0.0.1:900{number}:8{number}/udp" for number in range(3)]
    assert [*map(str, PortMapping.parse_range("[::1]:9000-9001:80-81"))] == [
        "[::1]:9000:80/tcp",
        "[::1]:9001:81/tcp",
    ]
    assert PortMapping.parse_range("8080:80") == (PortMapping.parse("8080:80"),)


@pytest.mark.parametrize("text", ["9000-9002:80-81", "9002-9000:82-80", "9000-9002:80", "9000:80-82"])
def test_ranges_that_the_docker_command_would_not_expand_so(text):
    with pytest.raises(TopologyError):
        PortMapping.parse_range(text)
