"""Container networks: what `docker network create` makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from ipaddress import ip_interface
from typing import Final

from netverify.topology.errors import TopologyError, quoted
from netverify.topology.values import (
    ADDRESSES,
    MTU_LEAST,
    MTU_MOST,
    Address,
    InterfaceAddress,
    Subnet,
    check_address,
    check_choice,
    check_device,
    check_distinct,
    check_name,
    check_range,
    check_subnets,
    check_tuple,
    check_usable,
)

_VNI_MOST: Final = 2**24 - 1  # RFC 7348, 5: 24 bits


class NetworkDriver(Enum):
    """How a network is realised; the names are those of `docker network create --driver`."""

    BRIDGE = "bridge"
    MACVLAN = "macvlan"
    IPVLAN = "ipvlan"
    OVERLAY = "overlay"


# What `docker network create -o macvlan_mode=` and `-o ipvlan_mode=` take; the first is the default.
MODES: Final[Mapping[NetworkDriver, tuple[str, ...]]] = {
    NetworkDriver.MACVLAN: ("bridge", "private", "vepa", "passthru"),
    NetworkDriver.IPVLAN: ("l2", "l3", "l3s"),
}


# What com.docker.network.bridge.gateway_mode_ipv4 and _ipv6 take; the first is the default.
GATEWAY_MODES: Final = ("nat", "routed", "nat-unprotected", "isolated")


@dataclass(frozen=True)
class Network:
    """A container network: `docker network create` in one object.

    `hosts` are the hosts that carry it: one for every driver except overlay. `device` is the bridge's name
    (bridge, overlay) or the parent's (macvlan, ipvlan). `default_route` says whether containers get their
    default route through the gateway of this network. `default_bridge` marks docker0. The remaining options
    carry Docker's names; `gateway_mode` is IPv4's, `gateway_mode6` IPv6's, and through the host's devices
    `trusted` packets may come directly to containers' addresses.

    There is at most one subnet for each family. A gateway left out is the subnet's first address.
    """

    name: str
    driver: NetworkDriver
    hosts: tuple[str, ...]
    subnets: tuple[Subnet, ...]
    gateways: tuple[Address, ...] = ()
    device: str | None = None
    default_bridge: bool = False
    default_route: bool = True
    internal: bool = False
    icc: bool = True
    masquerade: bool = True
    gateway_mode: str = "nat"
    gateway_mode6: str = "nat"
    host_binding: Address | None = None  # where ports are published that name no address
    trusted: tuple[str, ...] = ()
    mode: str | None = None  # macvlan: bridge, private, vepa, passthru; ipvlan: l2, l3, l3s
    vni: int | None = None  # overlay
    mtu: int | None = None

    def __post_init__(self) -> None:
        subject = f"network {quoted(self.name)}"
        check_name(subject, "name", self.name)
        check_choice(subject, "driver", self.driver, NetworkDriver)
        check_tuple(subject, "hosts", self.hosts, (str,))
        check_distinct(subject, "hosts", self.hosts)
        self._check_hosts(subject)
        self._check_addresses(subject)
        if self.device is not None:
            check_device(subject, "device" if self.has_bridge else "parent", self.device)
        elif not self.has_bridge:
            raise TopologyError(
                subject, ("parent",), "it is missing", f"the host's device that {self.driver.value} divides"
            )
        self._check_options(subject)
        check_range(subject, "vni", self.vni, 1, _VNI_MOST)
        check_range(subject, "mtu", self.mtu, MTU_LEAST, MTU_MOST)

    def _check_hosts(self, subject: str) -> None:
        if self.driver is NetworkDriver.OVERLAY:
            if len(self.hosts) < 2:
                raise TopologyError(
                    subject, ("hosts",), "an overlay spans hosts, and there are not two", "two hosts or more"
                )
        elif len(self.hosts) != 1:
            raise TopologyError(
                subject, ("host",), f"{len(self.hosts)} hosts carry it", f"one host for {self.driver.value}"
            )

    def _check_addresses(self, subject: str) -> None:
        check_subnets(subject, self.subnets)
        check_tuple(subject, "gateway", self.gateways, ADDRESSES)
        if not self.subnets:
            raise TopologyError(subject, ("subnet",), "it is missing", "a subnet such as 172.18.0.0/16")
        versions = [subnet.version for subnet in self.subnets]
        for number, subnet in enumerate(self.subnets):
            if versions.index(subnet.version) != number:
                raise TopologyError(
                    subject,
                    ("subnet", number),
                    f"{subnet} is its second of IPv{subnet.version}",
                    "one a family",
                )
            if subnet.max_prefixlen - subnet.prefixlen < 2:
                raise TopologyError(
                    subject,
                    ("subnet", number),
                    f"{subnet} has no room for a gateway and a container",
                    "/30 or /126 at least",
                )
            if subnet.is_multicast or subnet.is_unspecified:
                raise TopologyError(
                    subject, ("subnet", number), f"{subnet} holds no device's address", "unicast"
                )
        versions = [gateway.version for gateway in self.gateways]
        for number, gateway in enumerate(self.gateways):
            pool = self.subnet(gateway.version)
            if pool is None or versions.index(gateway.version) != number:
                raise TopologyError(
                    subject, ("gateway", number), f"{gateway} has no subnet of its own", "one for each subnet"
                )
            check_address(subject, ("gateway", number), gateway)
            check_usable(subject, ("gateway", number), gateway, pool)

    def _check_options(self, subject: str) -> None:
        bridge_only = (
            ("default_bridge", self.default_bridge),
            ("icc", not self.icc),
            ("masquerade", not self.masquerade),
            ("gateway_mode", self.gateway_mode != "nat"),
            ("gateway_mode6", self.gateway_mode6 != "nat"),
            ("host_binding", self.host_binding is not None),
            ("trusted", bool(self.trusted)),
        )
        check_choice(subject, "gateway_mode", self.gateway_mode, GATEWAY_MODES)
        check_choice(subject, "gateway_mode6", self.gateway_mode6, GATEWAY_MODES)
        check_tuple(subject, "trusted", self.trusted, (str,))
        for device in self.trusted:
            check_device(subject, "trusted", device)
        if self.host_binding is not None:
            check_address(subject, ("host_binding",), self.host_binding)
        for key, changed in bridge_only:
            if changed and self.driver is not NetworkDriver.BRIDGE:
                raise TopologyError(
                    subject, (key,), f"driver {self.driver.value} has no such option", "it on bridges only"
                )
        if self.mode is not None:
            if self.driver not in MODES:
                raise TopologyError(subject, ("mode",), f"driver {self.driver.value} has no modes", "no mode")
            check_choice(subject, "mode", self.mode, MODES[self.driver])
        overlay = self.driver is NetworkDriver.OVERLAY
        if overlay and self.vni is None:
            raise TopologyError(
                subject, ("vni",), "it is missing", "the VXLAN network identifier of the overlay"
            )
        if self.vni is not None and not overlay:
            raise TopologyError(
                subject, ("vni",), f"driver {self.driver.value} has none", "it on overlays only"
            )

    @property
    def has_bridge(self) -> bool:
        """Whether hosts carry it as a bridge (bridge, overlay) and not as a division of a device."""
        return self.driver in (NetworkDriver.BRIDGE, NetworkDriver.OVERLAY)

    @property
    def host(self) -> str:
        """The host that carries it (of an overlay, the first one)."""
        return self.hosts[0]

    @property
    def host_device(self) -> str:
        """The device that stands for it on its hosts: the bridge, or the parent.

        A bridge that nobody named is docker0, or "br-" and twelve hex digits, which Docker takes from the
        network's random identifier and we from its name.
        """
        if self.device is not None:
            return self.device
        return "docker0" if self.default_bridge else "br-" + sha256(self.name.encode()).hexdigest()[:12]

    def subnet(self, version: int) -> Subnet | None:
        """Its subnet of that family (4 or 6), if it has one."""
        return next((subnet for subnet in self.subnets if subnet.version == version), None)

    def gateway(self, version: int) -> Address | None:
        """Its gateway of that family, given or implied; None without a subnet of that family."""
        given = next((gateway for gateway in self.gateways if gateway.version == version), None)
        pool = self.subnet(version)
        return given if given is not None or pool is None else pool.network_address + 1

    def with_prefix(self, address: Address) -> InterfaceAddress:
        """One of its addresses as a device has it. Raises TopologyError for a stranger's address."""
        pool = self.subnet(address.version)
        if pool is None or address not in pool:
            raise TopologyError(
                f"network {quoted(self.name)}",
                (),
                f"{address} is none of its addresses",
                "an address of its subnets",
            )
        return ip_interface(f"{address}/{pool.prefixlen}")

    @property
    def bridge_addresses(self) -> tuple[InterfaceAddress, ...]:
        """What the host's bridge has: the gateways of a bridge network; nothing for other drivers.

        Nor has a family whose gateway mode is isolated (moby PR 49262).
        """
        if self.driver is not NetworkDriver.BRIDGE:
            return ()
        modes = {4: self.gateway_mode, 6: self.gateway_mode6}
        open_subnets = (subnet for subnet in self.subnets if modes[subnet.version] != "isolated")
        gateways = (self.gateway(subnet.version) for subnet in open_subnets)
        return tuple(self.with_prefix(gateway) for gateway in gateways if gateway is not None)
