"""Fill in what a topology leaves open, the way Docker would; the same topology always gives the same result.

Addresses that people wrote are taken out of the pools first, so what is left out never takes them away.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from netverify.topology.containers import Container, Endpoint
from netverify.topology.devices import Cable, CableEnd, Interface
from netverify.topology.errors import PoolExhausted, TopologyError, quoted
from netverify.topology.hosts import Host
from netverify.topology.inventory import address_mac, digits, endpoint_devices, endpoint_path, words_mac
from netverify.topology.ipam import IPAM
from netverify.topology.networks import MODES, Network, NetworkDriver
from netverify.topology.values import Address

if TYPE_CHECKING:
    from netverify.topology.model import Topology

OVERLAY_MTU = 1450  # 1500 less 50 for VXLAN over IPv4 (RFC 7348, 5); what Docker gives overlays


def resolve(topology: Topology) -> Topology:
    """`topology` with every address, device name, MAC, gateway, mode and bridge name filled in.

    Raises TopologyError where a subnet has too few addresses.
    """
    pools = {network.name: _pool(topology, network) for network in topology.networks}
    taken = {host.name: _device_names(topology, host) for host in topology.hosts}
    return replace(
        topology,
        hosts=tuple(map(_host, topology.hosts)),
        networks=tuple(map(_network, topology.networks)),
        containers=tuple(
            _container(topology, container, pools, taken[container.host]) for container in topology.containers
        ),
        cables=tuple(_cable(cable) for cable in topology.cables),
    )


def _network(network: Network) -> Network:
    gateways = (network.gateway(subnet.version) for subnet in network.subnets)
    return replace(
        network,
        gateways=tuple(gateway for gateway in gateways if gateway is not None),
        device=network.host_device,
        mode=network.mode or next(iter(MODES.get(network.driver, ())), None),
        mtu=network.mtu or (OVERLAY_MTU if network.driver is NetworkDriver.OVERLAY else None),
    )


def _host(host: Host) -> Host:
    return replace(
        host,
        interfaces=tuple(_with_mac(host.name, interface) for interface in host.interfaces),
        bridges=tuple(_with_mac(host.name, bridge) for bridge in host.bridges),
    )


def _cable(cable: Cable) -> Cable:
    one, two = (CableEnd(end.node, _with_mac(end.node, end.interface)) for end in cable.ends)
    return Cable((one, two))


def _with_mac(node: str, interface: Interface) -> Interface:
    """02:00 marks what nobody chose; 02:42 stays Docker's."""
    return replace(interface, mac=interface.mac or words_mac("02:00", node, interface.device))


def _container(
    topology: Topology, container: Container, pools: dict[str, IPAM], taken: set[str]
) -> Container:
    endpoints = []
    for endpoint, device in zip(container.endpoints, endpoint_devices(topology, container), strict=True):
        network = topology.network(endpoint.network)
        addresses = tuple(_addresses(container, endpoint, network, pools[network.name]))
        endpoints.append(
            replace(
                endpoint,
                addresses=addresses,
                device=device,
                mac=endpoint.mac
                or (None if network.driver is NetworkDriver.IPVLAN else address_mac(addresses[0])),
                host_device=endpoint.host_device
                or (_host_device(container, network, taken) if network.has_bridge else None),
            )
        )
    return replace(container, endpoints=tuple(endpoints))


def _addresses(container: Container, endpoint: Endpoint, network: Network, pool: IPAM) -> list[Address]:
    """One address for each subnet, in the subnets' order."""
    found = []
    for subnet in network.subnets:
        address = endpoint.address(subnet.version)
        if address is None:
            try:
                address = pool.allocate(subnet)
            except PoolExhausted as error:
                raise TopologyError(
                    f"container {quoted(container.name)}",
                    endpoint_path(container, endpoint),
                    f"no address is left in {subnet}",
                    "fewer containers or a larger subnet",
                ) from error
        found.append(address)
    return found


def _pool(topology: Topology, network: Network) -> IPAM:
    """The network's pools, without the addresses that endpoints and, on a LAN, machines were given."""
    ipam = IPAM()
    written = [
        address for _, endpoint in topology.endpoints_on(network.name) for address in endpoint.addresses
    ]
    neighbours = [] if network.has_bridge else topology.segment_addresses(topology.parent_segment(network))
    for subnet in network.subnets:
        gateway = ipam.open(subnet, network.gateway(subnet.version))
        inside = {address for address in (*written, *neighbours) if address in subnet}
        for address in inside - {gateway}:
            ipam.allocate(subnet, address)
    return ipam


def _device_names(topology: Topology, host: Host) -> set[str]:
    """The devices of a host that have names already."""
    return {interface.device for interface in topology.interfaces_of(host.name)}


def _host_device(container: Container, network: Network, taken: set[str]) -> str:
    """A name such as veth077b91e, which Docker draws by lot and we take from the names' hash."""
    names = ("veth" + digits(container.name, network.name, str(attempt))[:7] for attempt in count())
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name
