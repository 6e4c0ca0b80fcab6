"""Shared media: parents of macvlan and ipvlan, underlays of overlays, and one owner for each address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netverify.topology.checks.report import node_path, wrong
from netverify.topology.errors import Step, did_you_mean, quoted
from netverify.topology.inventory import endpoint_path, tunnel_addresses
from netverify.topology.networks import Network
from netverify.topology.values import Address

if TYPE_CHECKING:
    from netverify.topology.model import Topology


def parents(topology: Topology) -> None:
    """The parent of a macvlan or ipvlan is there and free.

    A device has one receive handler (net/core/dev.c, netdev_rx_handler_register): so it belongs to one
    of bridge, macvlan and ipvlan.
    """
    users: dict[tuple[str, str], Network] = {}
    for network in topology.networks:
        if network.has_bridge:
            continue
        path = ("networks", network.name, "parent")
        devices = {interface.device: interface for interface in topology.interfaces_of(network.host)}
        parent = devices.get(network.host_device)
        if parent is None:
            wrong(
                topology,
                path,
                f"{network.host} has no device named {quoted(network.host_device)}",
                did_you_mean(network.host_device, devices),
            )
        if parent.master is not None:
            wrong(
                topology,
                path,
                f"{parent.device} is a port of the bridge {parent.master}",
                "a device of its own",
            )
        other = users.setdefault((network.host, parent.device), network)
        if other.driver is not network.driver:
            wrong(
                topology,
                path,
                f"{parent.device} is the parent of the {other.driver.value} {other.name} already",
                "one of macvlan and ipvlan on a device",
            )
        alone = network.mode == "passthru" and len(topology.endpoints_on(network.name)) > 1
        if alone or (other is not network and "passthru" in (network.mode, other.mode)):
            wrong(
                topology,
                ("networks", network.name, "mode"),
                f"passthru gives the whole of {parent.device} to one endpoint, and there are more",
                "one endpoint, or another mode",
            )


def overlays(topology: Topology) -> None:
    """Overlays have an identifier of their own, and their hosts meet somewhere."""
    owners: dict[int, str] = {}
    for network in topology.networks:
        if network.vni is None:
            continue
        if network.vni in owners:
            wrong(
                topology,
                ("networks", network.name, "vni"),
                f"{owners[network.vni]} has {network.vni} too",
                "a VXLAN network identifier of its own",
            )
        owners[network.vni] = network.name
        tunnel_addresses(topology, network)


def addresses_on_networks(topology: Topology) -> None:
    """On a network no address and no MAC comes twice, and the gateway's is nobody else's."""
    for network in topology.networks:
        taken: dict[Address | str, str] = {}
        for subnet in network.subnets:
            gateway = network.gateway(subnet.version)
            if gateway is not None:
                taken[gateway] = "the gateway"
        for container, endpoint in topology.endpoints_on(network.name):
            values = [*(("address", number, a) for number, a in enumerate(endpoint.addresses))]
            for key, number, address in values:
                if address in taken:
                    wrong(
                        topology,
                        (*endpoint_path(container, endpoint), key, number),
                        f"{taken[address]} has {address}",
                        "an address of its own",
                    )
                taken[address] = container.name
            if endpoint.mac is not None:
                if endpoint.mac in taken:
                    wrong(
                        topology,
                        (*endpoint_path(container, endpoint), "mac"),
                        f"{taken[endpoint.mac]} has {endpoint.mac}",
                        "a MAC of its own",
                    )
                taken[endpoint.mac] = container.name


def addresses_on_segments(topology: Topology) -> None:
    """On a segment no address and no MAC comes twice, macvlan and ipvlan endpoints included."""
    owners: dict[tuple[str, Address | str], str] = {}

    def take(segment: str, value: Address | str, owner: str, path: tuple[Step, ...]) -> None:
        known = owners.setdefault((segment, value), owner)
        if known != owner:
            wrong(topology, path, f"{known} has {value} on {segment}", "an address of its own")

    for host in topology.hosts:
        for interface in host.interfaces:
            if interface.segment is not None:
                owner, path = (
                    f"{host.name}:{interface.device}",
                    node_path(host, "interfaces", interface.device),
                )
                for number, address in enumerate(interface.addresses):
                    take(interface.segment, address.ip, owner, (*path, "address", number))
                if interface.mac is not None:
                    take(interface.segment, interface.mac, owner, (*path, "mac"))
    for network in topology.networks:
        segment = None if network.has_bridge else topology.parent_segment(network)
        for container, endpoint in topology.endpoints_on(network.name) if segment else ():
            for number, ip in enumerate(endpoint.addresses):
                path = (*endpoint_path(container, endpoint), "address", number)
                take(str(segment), ip, container.name, path)
