"""The network drivers: what creating a network, and connecting a container to it, means in netlink.

Each driver has the four verbs of a container engine's driver (create, delete, connect, disconnect) and only
adds requests to a `Plan`; whoever owns the plan sends them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from netverify.errors import InputError
from netverify.kernel import capabilities, netlink
from netverify.kernel.netlink import Request
from netverify.kernel.plan import Plan
from netverify.topology.inventory import address_mac
from netverify.topology.model import Address, Endpoint, Network, NetworkDriver

ANY_MAC = "00:00:00:00:00:00"
Tunnels = Callable[[str], Mapping[str, Address]]
VXLAN_OVERHEAD = 50  # bytes: outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348 section 5)


@dataclass
class KernelDriver(ABC):
    """What the drivers share: a container's end is a device with addresses, and goes when it is deleted."""

    plan: Plan

    @abstractmethod
    def create(self, network: Network) -> None:
        """Make what the network needs on its hosts."""

    @abstractmethod
    def delete(self, network: Network) -> None:
        """Take it away again."""

    @abstractmethod
    def attach(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        """Make the container's device."""

    def connect(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        """Give the container `node` on `host` a device on the network, up, with its addresses."""
        self.attach(network, node, endpoint, host)
        addresses = [network.with_prefix(address) for address in endpoint.addresses]
        self.plan.configure(node, container_device(endpoint), addresses)

    def disconnect(self, network: Network, node: str, endpoint: Endpoint) -> None:
        """Take the container's device away."""
        device = container_device(endpoint)
        if device not in self.plan.devices.get(node, {}):
            raise InputError(f"{node} is not connected to {network.name}: it has no device {device!r}")
        self.remove(node, device)
        for host in network.hosts:  # the far end of a veth pair goes with it
            self.plan.devices.get(host, {}).pop(endpoint.host_device or "", None)

    def remove(self, node: str, device: str) -> None:
        """Delete a device and forget it."""
        self.plan.settings[node].append(netlink.delete_link(self.plan.device(node, device)))
        del self.plan.devices[node][device]


class BridgeDriver(KernelDriver):
    """A Linux bridge on the host, with the gateway addresses; each container hangs on it by a veth pair."""

    name = NetworkDriver.BRIDGE.value

    def create(self, network: Network) -> None:
        """Make the bridge and give it its gateway addresses."""
        (host,) = network.hosts
        device = network_device(network)
        self.plan.bridge(host, device, mac=bridge_mac(network), mtu=network.mtu)
        self.plan.configure(host, device, list(network.bridge_addresses))

    def delete(self, network: Network) -> None:
        """Delete the bridge; its ports are let go."""
        (host,) = network.hosts
        self.remove(host, network_device(network))

    def attach(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        """A veth pair, its near end a port of the bridge."""
        _plug(self.plan, network, node, endpoint, host, network.mtu)


class OverlayDriver(KernelDriver):
    """A bridge on each host, joined by vxlan tunnels between the hosts' own addresses (RFC 7348).

    `tunnels` gives, for a network's name, the address that each of its hosts sends its tunnel packets from.
    Learning is off, and what has no entry goes to every other host, which answers ARP and everything else
    correctly with any number of hosts.
    """

    name = NetworkDriver.OVERLAY.value

    def __init__(self, plan: Plan, tunnels: Tunnels) -> None:
        super().__init__(plan)
        self.tunnels = tunnels

    def create(self, network: Network) -> None:
        """Make a bridge and a vxlan device on each host."""
        capabilities.require("vxlan")
        if network.vni is None:
            raise InputError(f"network {network.name}: an overlay needs a vni (VXLAN network identifier)")
        device, mtu, tunnel = network_device(network), overlay_mtu(network), f"vxlan{network.vni}"
        addresses = self.tunnels(network.name)
        for host in network.hosts:
            master = self.plan.bridge(host, device, mtu=mtu)
            index = self.plan.new_device(host, tunnel)
            remotes = [addresses[other] for other in network.hosts if other != host]
            self.plan.links[host] += [
                netlink.add_vxlan(tunnel, index, network.vni, addresses[host], master, mtu=mtu),
                *(netlink.add_forwarding_entry(index, ANY_MAC, remote) for remote in remotes),
            ]
            self.plan.configure(host, device, [])

    def delete(self, network: Network) -> None:
        """Delete the bridge and the vxlan device of each host."""
        for host in network.hosts:
            self.remove(host, f"vxlan{network.vni}")
            self.remove(host, network_device(network))

    def attach(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        """A veth pair, its near end a port of the host's bridge."""
        _plug(self.plan, network, node, endpoint, host, overlay_mtu(network))


class StackedDriver(KernelDriver):
    """What macvlan and ipvlan share: the container's device stands on one of the host's, without a bridge."""

    name: str

    def create(self, network: Network) -> None:
        """Check that the kernel has the driver and the parent is there; nothing else is made."""
        capabilities.require(self.name)
        self.plan.device(network.hosts[0], network_device(network))

    def delete(self, network: Network) -> None:
        """Nothing was made."""

    def attach(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        """The container's device, on the parent."""
        parent = self.plan.device(host, network_device(network))
        device = container_device(endpoint)
        index, space = self.plan.new_device(node, device), self.plan.namespaces[node].fd
        self.plan.stacked[host].append(self.request(network, endpoint, (index, parent, space)))

    @abstractmethod
    def request(self, network: Network, endpoint: Endpoint, place: tuple[int, int, int]) -> Request:
        """The request that makes the device; `place` is its index, its parent's, and its namespace."""


class MacvlanDriver(StackedDriver):
    """A device of its own MAC on the parent's wire (ip-link(8), macvlan)."""

    name = NetworkDriver.MACVLAN.value

    def request(self, network: Network, endpoint: Endpoint, place: tuple[int, int, int]) -> Request:
        """A macvlan device, in mode bridge unless the network says otherwise."""
        index, parent, space = place
        device, mode = container_device(endpoint), network.mode or "bridge"
        return netlink.add_macvlan(device, index, parent, mode, space, mac=endpoint.mac)


class IpvlanDriver(StackedDriver):
    """A device that shares the parent's MAC and is told apart by address (ip-link(8), ipvlan)."""

    name = NetworkDriver.IPVLAN.value

    def request(self, network: Network, endpoint: Endpoint, place: tuple[int, int, int]) -> Request:
        """An ipvlan device, in mode l2 unless the network says otherwise."""
        index, parent, space = place
        return netlink.add_ipvlan(container_device(endpoint), index, parent, network.mode or "l2", space)


def drivers(plan: Plan, tunnels: Tunnels) -> Mapping[NetworkDriver, KernelDriver]:
    """One of each."""
    return {
        NetworkDriver.BRIDGE: BridgeDriver(plan),
        NetworkDriver.MACVLAN: MacvlanDriver(plan),
        NetworkDriver.IPVLAN: IpvlanDriver(plan),
        NetworkDriver.OVERLAY: OverlayDriver(plan, tunnels),
    }


def network_device(network: Network) -> str:
    """The bridge or parent device of a resolved network."""
    if network.device is None:
        raise InputError(f"network {network.name}: no device; resolve the topology before building it")
    return network.device


def bridge_mac(network: Network) -> str | None:
    """The MAC address of a network's bridge, made of its gateway as those of its containers of theirs.

    A bridge without one takes the lowest of its ports', which changes as containers come and go; Docker sets
    one for that reason too.
    """
    return next((address_mac(gateway) for gateway in network.gateways if gateway.version == 4), None)


def container_device(endpoint: Endpoint) -> str:
    """The device of an endpoint inside its container."""
    return endpoint.device or "eth0"


def overlay_mtu(network: Network) -> int:
    """What fits into a tunnel over Ethernet."""
    return network.mtu or 1500 - VXLAN_OVERHEAD


def _plug(plan: Plan, network: Network, node: str, endpoint: Endpoint, host: str, mtu: int | None) -> None:
    master = plan.device(host, network_device(network))
    near = (host, endpoint.host_device or plan.spare_name("veth"))
    plan.veth(near, (node, container_device(endpoint)), master=master, mac=endpoint.mac, mtu=mtu)
