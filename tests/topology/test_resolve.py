"""What a topology leaves open is filled in as Docker would, and always in the same way."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from netverify.topology.errors import TopologyError
from netverify.topology.load import loads
from netverify.topology.model import NetworkDriver, Topology
from tests.strategies.topology import topologies

TEXT = """
    name: t
    segments: {lan: {}}
    hosts:
      host: {role: host, interfaces: {eth0: {segment: lan, address: 192.168.1.2/24}, eth1: {}}}
      other: {interfaces: {eth0: {segment: lan, address: 192.168.1.4/24}}}
    networks:
      bridge: {default_bridge: true, subnet: [172.17.0.0/16, "fd00:17::/64"]}
      web: {subnet: 172.18.0.0/16, gateway: 172.18.0.3}
      six: {subnet: "fd00:6::/64"}
      mac: {driver: macvlan, parent: eth0, subnet: 192.168.1.0/24}
      ip: {driver: ipvlan, parent: eth1, subnet: 192.168.2.0/24}
      ov: {driver: overlay, hosts: [host, other], vni: 5, subnet: 10.0.1.0/24}
    containers:
      a: {networks: bridge}
      b: {networks: [web, bridge, six]}
      c: {networks: {web: {address: 172.18.0.1, device: net7}, bridge: {}}}
      d: {networks: mac}
      e: {networks: mac}
      f: {networks: ip}
      g: {networks: ov}
      h: {host: other, networks: ov}
"""
RESOLVED = loads(TEXT).resolved()


def shown(container: str) -> list[str]:
    return [
        " ".join(map(str, (found.network.name, found.device, *found.addresses, found.mac)))
        for found in RESOLVED.attachments(container)
    ]


@pytest.mark.parametrize(
    ("container", "endpoints"),
    [
        ("a", ["bridge eth0 172.17.0.2/16 fd00:17::2/64 02:42:ac:11:00:02"]),
        (
            "b",
            [
                "web eth0 172.18.0.2/16 02:42:ac:12:00:02",
                "bridge eth1 172.17.0.3/16 fd00:17::3/64 02:42:ac:11:00:03",
                "six eth2 fd00:6::2/64 02:42:a0:2f:5e:a3",
            ],
        ),
        (
            "c",
            [
                "web net7 172.18.0.1/16 02:42:ac:12:00:01",
                "bridge eth0 172.17.0.4/16 fd00:17::4/64 02:42:ac:11:00:04",
            ],
        ),
        # 192.168.1.1 is the gateway's, .2 and .4 are machines on the LAN.
        ("d", ["mac eth0 192.168.1.3/24 02:42:c0:a8:01:03"]),
        ("e", ["mac eth0 192.168.1.5/24 02:42:c0:a8:01:05"]),
        ("f", ["ip eth0 192.168.2.2/24 None"]),
        ("g", ["ov eth0 10.0.1.2/24 02:42:0a:00:01:02"]),
        ("h", ["ov eth0 10.0.1.3/24 02:42:0a:00:01:03"]),
    ],
)
def test_endpoints(container: str, endpoints: list[str]):
    assert shown(container) == endpoints


@pytest.mark.parametrize(
    ("network", "device", "gateways", "mode", "mtu"),
    [
        ("bridge", "docker0", ["172.17.0.1", "fd00:17::1"], None, None),
        ("web", "br-4b5e57f6eb2f", ["172.18.0.3"], None, None),
        ("mac", "eth0", ["192.168.1.1"], "bridge", None),
        ("ip", "eth1", ["192.168.2.1"], "l2", None),
        ("ov", "br-5e1c26b2f7c5", ["10.0.1.1"], None, 1450),
    ],
)
def test_networks(network: str, device: str, gateways: list[str], mode: str | None, mtu: int | None):
    found = RESOLVED.network(network)
    assert (found.device, list(map(str, found.gateways)), found.mode, found.mtu) == (
        device,
        gateways,
        mode,
        mtu,
    )


def test_what_bridges_have_on_the_host():
    addresses = {network.name: list(map(str, network.bridge_addresses)) for network in RESOLVED.networks}
    assert addresses["bridge"] == ["172.17.0.1/16", "fd00:17::1/64"]
    assert addresses["mac"] == addresses["ip"] == addresses["ov"] == []


def test_tunnels_start_at_the_hosts_addresses_on_their_common_segment():
    tunnels = RESOLVED.tunnel_addresses("ov")
    assert {host: str(address) for host, address in tunnels.items()} == {
        "host": "192.168.1.2",
        "other": "192.168.1.4",
    }


def test_a_cables_device_is_left_alone():
    text = TEXT + "    cables:\n      - {host:veth0: {}, a:eth0: {}}\n"
    assert loads(text).resolved().attachments("a")[0].device == "eth1"


def test_a_chosen_host_end_is_left_alone():
    taken = RESOLVED.container("a").endpoints[0].host_device
    text = TEXT.replace("d: {networks: mac}", f"d: {{networks: {{web: {{host_device: {taken}}}}}}}")
    resolved = loads(text).resolved()
    assert resolved.container("d").endpoints[0].host_device == taken
    assert resolved.container("a").endpoints[0].host_device != taken


def test_too_few_addresses():
    text = """
        name: t
        hosts: {h: {role: host}}
        networks: {n: {subnet: 10.0.0.0/30}}
        containers: {a: {networks: n}, b: {networks: n}}
    """
    with pytest.raises(TopologyError) as caught:
        loads(text).resolved()
    assert str(caught.value) == (
        "container 'b': containers.b.networks.n: no address is left in 10.0.0.0/30; "
        "expected fewer containers or a larger subnet"
    )


@settings(deadline=None, max_examples=60)
@given(topologies())
def test_nothing_is_left_open_and_nothing_given_is_changed(topology: Topology):
    resolved = topology.resolved()
    assert resolved.resolved() == resolved
    for container in resolved.containers:
        given = topology.container(container.name)
        for endpoint, before in zip(container.endpoints, given.endpoints, strict=True):
            network = resolved.network(endpoint.network)
            assert len(endpoint.addresses) == len(network.subnets)
            assert set(before.addresses) <= set(endpoint.addresses)
            assert endpoint.device is not None
            assert (endpoint.mac is None) == (network.driver is NetworkDriver.IPVLAN)
            assert (endpoint.host_device is None) == (not network.has_bridge)
            for mine, theirs in (
                ("device", before.device),
                ("mac", before.mac),
                ("host_device", before.host_device),
            ):
                assert theirs in (None, getattr(endpoint, mine))
    for network in resolved.networks:
        taken = Counter(a for _, endpoint in resolved.endpoints_on(network.name) for a in endpoint.addresses)
        taken.update(network.gateways)
        assert set(taken.values()) <= {1}
        assert len(network.gateways) == len(network.subnets)
        assert network.device is not None
        before_that = topology.network(network.name)
        assert set(before_that.gateways) <= set(network.gateways)
        for key in ("device", "mode", "mtu"):
            assert getattr(before_that, key) in (None, getattr(network, key))


@settings(deadline=None, max_examples=30)
@given(topologies())
def test_the_same_topology_gives_the_same_result(topology: Topology):
    again = Topology(**{field: getattr(topology, field) for field in topology.__dataclass_fields__})
    assert again.resolved() == topology.resolved()
