"""The network drivers: what creating a network, and connecting a container to it, means in netlink.

Each driver has the four verbs of a container engine's driver (create, delete, connect, disconnect) and only
adds requests to a `Plan`; whoever owns the plan sends them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface

from netverify.errors import InputError
from netverify.kernel import capabilities, netlink
from netverify.kernel.plan import Plan
from netverify.topology.model import Address, Endpoint, InterfaceAddress, Network, NetworkDriver, Subnet

ANY_MAC = "00:00:00:00:00:00"
VXLAN_OVERHEAD = 50  # bytes: outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348 section 5)


def prefixed(address: Address, subnets: tuple[Subnet, ...]) -> InterfaceAddress:
    """An address with the prefix length of the subnet that it is in."""
    for subnet in subnets:
        if address.version == subnet.version and address in subnet:
            return ip_interface(f"{address}/{subnet.prefixlen}")
    raise InputError(f"address {address} is in none of {', '.join(map(str, subnets))}")


@dataclass
class BridgeDriver:
    """A Linux bridge on the host, with the gateway addresses; each container hangs on it by a veth pair."""

    plan: Plan
    name: str = NetworkDriver.BRIDGE.value

    def create(self, network: Network) -> None:
        """Make the bridge and give it its gateway addresses."""
        (host,) = network.hosts
        device = _device(network)
        self.plan.bridge(host, device, mtu=network.mtu)
        addresses = [prefixed(gateway, network.subnets) for gateway in network.gateways]
        self.plan.configure(host, device, addresses)

    def delete(self, network: Network) -> None:
        """Delete the bridge; its ports are let go."""
        (host,) = network.hosts
        _delete(self.plan, host, _device(network))

    def connect(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        """Plug a container in: a veth pair, its addresses, and the default route where the network gives one."""
        master = self.plan.device(host, _device(network))
        device = endpoint.device or "eth0"
        port = self.plan.spare_name("veth")
        self.plan.veth((host, port), (node, device), master=master, mac=endpoint.mac, mtu=network.mtu)
        _address(self.plan, network, node, endpoint)

    def disconnect(self, network: Network, node: str, endpoint: Endpoint) -> None:
        """Unplug a container; both ends of its veth pair go."""
        _delete(self.plan, node, endpoint.device or "eth0")


@dataclass
class MacvlanDriver:
    """A device of its own MAC on the parent's wire, without any bridge (ip-link(8), macvlan)."""

    plan: Plan
    name: str = NetworkDriver.MACVLAN.value

    def create(self, network: Network) -> None:
        """Check that the parent is there; nothing else is made."""
        self.plan.device(network.hosts[0], _device(network))

    def delete(self, network: Network) -> None:
        """Nothing was made."""

    def connect(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        """Make the container's device on the parent."""
        capabilities.require("macvlan")
        parent = self.plan.device(host, _device(network))
        device = endpoint.device or "eth0"
        index = self.plan.new_device(node, device)
        space = self.plan.namespaces[node].fd
        mode = network.mode or "bridge"
        self.plan.stacked[host].append(
            netlink.add_macvlan(device, index, parent, mode, space, mac=endpoint.mac)
        )
        _address(self.plan, network, node, endpoint)

    def disconnect(self, network: Network, node: str, endpoint: Endpoint) -> None:
        """Delete the container's device."""
        _delete(self.plan, node, endpoint.device or "eth0")


@dataclass
class IpvlanDriver:
    """A device that shares the parent's MAC and is told apart by address (ip-link(8), ipvlan)."""

    plan: Plan
    name: str = NetworkDriver.IPVLAN.value

    def create(self, network: Network) -> None:
        """Check that the kernel has ipvlan and the parent is there; nothing else is made."""
        capabilities.require("ipvlan")
        self.plan.device(network.hosts[0], _device(network))

    def delete(self, network: Network) -> None:
        """Nothing was made."""

    def connect(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        """Make the container's device on the parent."""
        parent = self.plan.device(host, _device(network))
        device = endpoint.device or "eth0"
        index = self.plan.new_device(node, device)
        space = self.plan.namespaces[node].fd
        self.plan.stacked[host].append(
            netlink.add_ipvlan(device, index, parent, network.mode or "l2", space)
        )
        _address(self.plan, network, node, endpoint)

    def disconnect(self, network: Network, node: str, endpoint: Endpoint) -> None:
        """Delete the container's device."""
        _delete(self.plan, node, endpoint.device or "eth0")


@dataclass
class OverlayDriver:
    """A bridge on each host, joined by vxlan tunnels between the hosts' own addresses (RFC 7348).

    `underlay` gives each host's address on the network that carries the tunnels. Learning is off, and what
    has no entry goes to every other host, which answers ARP and everything else correctly with any number of
    hosts.
    """

    plan: Plan
    underlay: Callable[[str], Address]
    name: str = NetworkDriver.OVERLAY.value

    def create(self, network: Network) -> None:
        """Make a bridge and a vxlan device on each host."""
        capabilities.require("vxlan")
        if network.vni is None:
            raise InputError(f"network {network.name}: an overlay needs a vni (VXLAN network identifier)")
        mtu = network.mtu or 1500 - VXLAN_OVERHEAD
        for host in network.hosts:
            device = _device(network)
            master = self.plan.bridge(host, device, mtu=mtu)
            tunnel = f"vxlan{network.vni}"
            index = self.plan.new_device(host, tunnel)
            links = self.plan.links[host]
            local = self.underlay(host)
            links.append(netlink.add_vxlan(tunnel, index, network.vni, local, master, mtu=mtu))
            remotes = (self.underlay(other) for other in network.hosts if other != host)
            links += [netlink.add_forwarding_entry(index, ANY_MAC, remote) for remote in remotes]
            self.plan.configure(host, device, [])

    def delete(self, network: Network) -> None:
        """Delete the bridge and the vxlan device of each host."""
        for host in network.hosts:
            _delete(self.plan, host, f"vxlan{network.vni}")
            _delete(self.plan, host, _device(network))

    def connect(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        """Plug a container into its host's bridge."""
        master = self.plan.device(host, _device(network))
        device = endpoint.device or "eth0"
        mtu = network.mtu or 1500 - VXLAN_OVERHEAD
        port = self.plan.spare_name("veth")
        self.plan.veth((host, port), (node, device), master=master, mac=endpoint.mac, mtu=mtu)
        _address(self.plan, network, node, endpoint)

    def disconnect(self, network: Network, node: str, endpoint: Endpoint) -> None:
        """Unplug a container."""
        _delete(self.plan, node, endpoint.device or "eth0")


KernelDriver = BridgeDriver | MacvlanDriver | IpvlanDriver | OverlayDriver


def drivers(plan: Plan, underlay: Callable[[str], Address]) -> Mapping[NetworkDriver, KernelDriver]:
    """One of each."""
    return {
        NetworkDriver.BRIDGE: BridgeDriver(plan),
        NetworkDriver.MACVLAN: MacvlanDriver(plan),
        NetworkDriver.IPVLAN: IpvlanDriver(plan),
        NetworkDriver.OVERLAY: OverlayDriver(plan, underlay),
    }


def _device(network: Network) -> str:
    if network.device is None:
        raise InputError(f"network {network.name}: no device; resolve the topology before building it")
    return network.device


def _delete(plan: Plan, node: str, device: str) -> None:
    plan.settings[node].append(netlink.delete_link(plan.device(node, device)))
    del plan.devices[node][device]


def _address(plan: Plan, network: Network, node: str, endpoint: Endpoint) -> None:
    addresses = [prefixed(address, network.subnets) for address in endpoint.addresses]
    plan.configure(node, endpoint.device or "eth0", addresses)


__all__ = ["BridgeDriver", "IpvlanDriver", "MacvlanDriver", "OverlayDriver", "drivers"]
