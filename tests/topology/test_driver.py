"""A driver as seed document 002 describes one, and the order in which IPAM and driver are called."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network

from netverify.topology.driver import Driver
from netverify.topology.ipam import IPAM
from netverify.topology.model import Endpoint, Network, NetworkDriver


class Recorder:
    """A driver that only writes down what it is asked for."""

    name = "bridge"

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.devices: dict[str, Endpoint] = {}

    def create(self, network: Network) -> None:
        self.networks[network.name] = network

    def delete(self, network: Network) -> None:
        del self.networks[network.name]

    def connect(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        assert network.name in self.networks
        assert host in network.hosts
        self.devices[node] = endpoint

    def disconnect(self, network: Network, node: str, endpoint: Endpoint) -> None:
        assert self.devices.pop(node) is endpoint


def test_the_calls_of_the_document():
    """Seed document 002, section 'Calling sequence': range and gateway from IPAM, then the devices."""
    recorder, ipam, subnet = Recorder(), IPAM(), ip_network("192.168.0.0/24")
    driver: Driver = recorder
    assert isinstance(subnet, IPv4Network)
    network = Network("n", NetworkDriver(driver.name), ("host",), (subnet,), (ipam.gateway(subnet),))
    driver.create(network)
    endpoint = Endpoint(network.name, (ipam.allocate(subnet),))
    driver.connect(network, "c1", endpoint, "host")
    assert recorder.devices["c1"].addresses == (ip_address("192.168.0.2"),)
    driver.disconnect(network, "c1", endpoint)
    ipam.release(subnet, endpoint.addresses[0])
    driver.delete(network)
    assert (recorder.networks, recorder.devices, ipam.allocated(subnet)) == ({}, {}, frozenset())


def test_who_lacks_a_verb_is_no_driver():
    assert isinstance(Recorder(), Driver)
    assert not isinstance(object(), Driver)
