"""The network drivers' four verbs, at run time: create, connect, disconnect, delete."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netverify.errors import InputError, MissingCapability
from netverify.kernel import capabilities
from netverify.kernel.lab import Lab
from netverify.reachability.probe import Outcome, icmp
from netverify.topology.driver import Driver
from netverify.topology.errors import TopologyError
from netverify.topology.ipam import IPAM
from netverify.topology.load import loads
from netverify.topology.model import Endpoint, Network, NetworkDriver, Topology

SUBNET = ip_network("10.9.0.0/24")


def two_containers() -> Topology:
    return loads(
        """
name: two-containers
segments: {lan: {subnet: 192.0.2.0/24}}
hosts:
  host: {role: host, interfaces: {eth0: {segment: lan, address: 192.0.2.1/24}}}
  peer: {role: neighbour, interfaces: {eth0: {segment: lan, address: 192.0.2.2/24}}}
containers:
  a: {host: host, mode: none}
  b: {host: host, mode: none}
""",
        "two-containers.yaml",
    )


def plugged(lab: Lab, network: Network) -> list[Endpoint]:
    """Create the network and connect a and b to it, with addresses from IPAM."""
    driver, pool = lab.drivers[network.driver], IPAM()
    pool.open(SUBNET)
    driver.create(network)
    endpoints = []
    for name in ("a", "b"):
        endpoint = Endpoint(network.name, (pool.allocate(SUBNET),), device="eth0", host_device=f"veth-{name}")
        driver.connect(network, name, endpoint, "host")
        endpoints.append(endpoint)
    lab.flush()
    return endpoints


def test_every_driver_keeps_the_contract(lab: Lab) -> None:
    lab.up(two_containers())
    assert set(lab.drivers) == set(NetworkDriver)
    for kind, driver in lab.drivers.items():
        assert isinstance(driver, Driver)
        assert driver.name == kind.value


@pytest.mark.parametrize("kind", [NetworkDriver.BRIDGE, NetworkDriver.MACVLAN])
def test_the_four_verbs(lab: Lab, kind: NetworkDriver) -> None:
    lab.up(two_containers())
    device = "br-new" if kind is NetworkDriver.BRIDGE else "eth0"
    network = Network("new", kind, ("host",), (SUBNET,), (ip_address("10.9.0.1"),), device=device)
    _first, second = plugged(lab, network)
    target = f"b@{second.addresses[0]}"
    assert lab.ask(icmp(), "a", target).receiver == "b"

    lab.drivers[kind].disconnect(network, "b", second)
    lab.flush()
    assert lab.ask(icmp(), "a", target).outcome is Outcome.UNREACHABLE
    with pytest.raises(InputError, match="b is not connected to new"):
        lab.drivers[kind].disconnect(network, "b", second)

    again = replace(second, host_device=second.host_device)
    lab.drivers[kind].connect(network, "b", again, "host")
    lab.flush()
    assert lab.ask(icmp(), "a", target).receiver == "b"

    lab.drivers[kind].delete(network)
    lab.flush()
    assert ("br-new" in lab.run("host", "ip -br link")) is False


def test_a_driver_that_the_kernel_lacks_says_so(lab: Lab) -> None:
    lab.up(two_containers())
    network = Network("new", NetworkDriver.IPVLAN, ("host",), (SUBNET,), device="eth0")
    if capabilities.has("ipvlan"):
        lab.drivers[NetworkDriver.IPVLAN].create(network)
        return
    with pytest.raises(MissingCapability, match="ipvlan"):
        lab.drivers[NetworkDriver.IPVLAN].create(network)


def test_an_address_outside_every_subnet_is_refused(lab: Lab) -> None:
    lab.up(two_containers())
    network = Network("new", NetworkDriver.BRIDGE, ("host",), (SUBNET,), device="br-new")
    lab.drivers[network.driver].create(network)
    astray = Endpoint("new", (ip_address("10.8.0.1"),), device="eth0")
    with pytest.raises(TopologyError, match=r"10\.8\.0\.1"):
        lab.drivers[network.driver].connect(network, "a", astray, "host")
