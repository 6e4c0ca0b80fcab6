"""A host as the dataplane needs it: devices, addresses, routes, sysctls, rules of both families.

These are facts, not a description of what to build: whoever has a topology, a snapshot or a live host makes a
`HostView` of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from types import MappingProxyType

from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.ipset import IpSet
from netverify.dataplane.packet import Address
from netverify.ruleset import Ruleset
from netverify.ruleset.nft import NftRuleset

InterfaceAddress = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

ALL_NODES = IPv6Address("ff02::1")
ALL_ROUTERS = (IPv6Address("ff02::2"), IPv6Address("ff05::2"))
_SOLICITED_NODE = int(IPv6Address("ff02::1:ff00:0"))

ROUTE_KINDS = frozenset({"unicast", "local", "broadcast", "blackhole", "unreachable", "prohibit"})
LOOPBACK = "lo"
LEGACY = "legacy "
"""Before the names of tables that iptables' legacy backend has on a host that uses both."""
MAIN, DEFAULT, LOCAL = 254, 253, 255  # routing tables of rtnetlink(7)


@dataclass(frozen=True)
class Link:
    """A device of a host; `master` is the bridge that it is a port of, `hairpin` that port's mode.

    A device that is not Ethernet's, such as a tunnel, `asks` nobody for the neighbours behind it.
    """

    name: str
    addresses: tuple[InterfaceAddress, ...] = ()
    is_bridge: bool = False
    master: str | None = None
    up: bool = True
    hairpin: bool = False
    mac: int | None = None
    asks: bool = True

    @classmethod
    def of(cls, name: str, *addresses: str, **fields: object) -> Link:
        """A device with addresses given as text: `Link.of("eth0", "10.0.0.1/24")`."""
        return cls(name, tuple(map(ip_interface, addresses)), **fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Route:
    """One route of a table, as `ip route` shows it; smaller metrics are preferred."""

    destination: Network
    via: Address | None = None
    device: str | None = None
    source: Address | None = None
    kind: str = "unicast"
    table: int = MAIN
    metric: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ROUTE_KINDS:
            raise DataplaneError(f"route to {self.destination}: no kind {self.kind!r}")
        if self.kind == "unicast" and self.device is None:
            raise DataplaneError(f"route to {self.destination}: it names no device")


@dataclass(frozen=True)
class RoutingRule:
    """One rule of `ip rule`: which table is asked for which packets; without `version`, of both."""

    priority: int
    table: int
    source: Network | None = None
    destination: Network | None = None
    in_interface: str | None = None
    mark: int = 0
    mark_mask: int = 0
    inverted: bool = False
    version: int | None = None

    def is_for(self, version: int) -> bool:
        """Whether it is among the rules of an IP version: each has its own, and addresses are of one."""
        networks = (self.source, self.destination)
        said = {self.version, *(network.version for network in networks if network is not None)}
        return said <= {None, version}


DEFAULT_RULES = (RoutingRule(0, LOCAL), RoutingRule(32766, MAIN), RoutingRule(32767, DEFAULT))
"""The rules that every namespace begins with (ip-rule(8))."""


@dataclass(frozen=True)
class Service:
    """A socket that a host offers: `address` None is every address.

    A userland proxy has an `upstream`, (address, port), to which it opens a connection of its own. A socket
    that only holds its port takes what comes and never `answers`. A proxy for UDP on every address
    `answers_as_asked`, from the address that it was asked at, or else from one that the kernel picks.
    """

    protocol: int
    port: int
    address: Address | None = None
    upstream: tuple[Address, int] | None = None
    version: int | None = None
    answers: bool = True
    answers_as_asked: bool = True


@dataclass(frozen=True)
class HostView:
    """One network namespace.

    `routes` are those of all tables but local, which follows from the addresses; connected routes are among
    them (`with_connected_routes` adds them where nobody read them from a kernel). Sysctls have dots, and
    slashes where a device's name has dots; what is not given has the kernel's default, 0. `sets` holds what
    ipsets hold (`ipset.read_ipsets`), or the members of one of networks.

    `ipv4` and `ipv6` are the rules of iptables. Where both backends have some, these are the nft backend's,
    and `legacy` holds those of the other, at most one ruleset of each family. `nft` holds native nftables
    alone, without the tables of iptables-nft (`nft_iptables.split_sources` parts them).
    """

    name: str
    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    routing_rules: tuple[RoutingRule, ...] = DEFAULT_RULES
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ipv4: Ruleset = field(default_factory=lambda: Ruleset("ipv4"))
    ipv6: Ruleset = field(default_factory=lambda: Ruleset("ipv6"))
    services: tuple[Service, ...] = ()
    sets: Mapping[str, IpSet | tuple[Network, ...]] = field(default_factory=dict)
    nft: NftRuleset = field(default_factory=NftRuleset)
    legacy: tuple[Ruleset, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sysctls", MappingProxyType(dict(self.sysctls)))
        object.__setattr__(self, "sets", MappingProxyType(dict(self.sets)))
        if len({link.name for link in self.links}) != len(self.links):
            raise DataplaneError(f"host {self.name}: two devices have one name")
        if len({ruleset.family for ruleset in self.legacy}) != len(self.legacy):
            raise DataplaneError(f"host {self.name}: two legacy rulesets are of one family")
        for link in self.links:
            if link.master is not None and link.master not in self._links:
                raise DataplaneError(
                    f"host {self.name}: {link.name} is a port of {link.master}, which is not there"
                )

    def with_connected_routes(self) -> HostView:
        """With the route that the kernel makes of each address of a device that is up."""
        connected = tuple(
            Route(ip_network(address.network), device=link.name, source=address.ip)
            for link in self.links
            if link.up and link.name != LOOPBACK
            for address in link.addresses
            if address.network.prefixlen < address.max_prefixlen or address.version == 6
        )
        return replace(self, routes=(*connected, *self.routes))

    def ruleset(self, version: int) -> Ruleset:
        """The rules for that IP version."""
        return self.ipv4 if version == 4 else self.ipv6

    def rules_of(self, version: int) -> tuple[RoutingRule, ...]:
        """The rules of routing for an IP version, in order; the usual ones where only the other has any.

        IPv6 begins without the rule for the table `default` (net/ipv6/fib6_rules.c), which is empty anyhow.
        """
        own = [replace(rule, version=None) for rule in self.routing_rules if rule.is_for(version)]
        found = tuple(sorted(own, key=lambda rule: rule.priority))
        usual = DEFAULT_RULES[:2] if version == 6 else DEFAULT_RULES
        return DEFAULT_RULES if self.routing_rules and found in ((), usual) else found

    def link(self, name: str) -> Link:
        """The device of that name. Raises DataplaneError."""
        if name not in self._links:
            raise DataplaneError(f"host {self.name} has no device {name!r}")
        return self._links[name]

    def has_link(self, name: str) -> bool:
        """Whether there is a device of that name."""
        return name in self._links

    def ports(self, bridge: str) -> tuple[Link, ...]:
        """The devices that are ports of a bridge."""
        return tuple(link for link in self.links if link.master == bridge)

    def sysctl(self, name: str) -> int:
        """A sysctl as a number, by its name without "net."; 0 if nobody set it."""
        for spelling in (name, f"net.{name}", name.replace(".", "/"), "net/" + name.replace(".", "/")):
            if spelling in self.sysctls:
                return int(self.sysctls[spelling])
        return 0

    def device_sysctl(self, family: str, device: str, name: str) -> tuple[int, int]:
        """A sysctl of net.FAMILY.conf for "all" and for a device, which has "default"'s unless it is set."""
        own = self._own_sysctl(family, device, name)
        default = self.sysctl(f"{family}.conf.default.{name}") if own is None else own
        return self.sysctl(f"{family}.conf.all.{name}"), default

    def _own_sysctl(self, family: str, device: str, name: str) -> int | None:
        """A sysctl of a device, as sysctl(8) writes it: with slashes for dots, or the other way round."""
        dotted = f"{family}.conf.{device.replace('.', '/')}.{name}"
        slashed = f"{family}/conf/{device}/{name}"
        for spelling in (dotted, f"net.{dotted}", slashed, f"net/{slashed}"):
            if spelling in self.sysctls:
                return int(self.sysctls[spelling])
        return None

    def forwards(self, version: int, device: str) -> bool:
        """Whether packets that come in by a device may go out by another."""
        if version == 6:
            return bool(self.sysctl("ipv6.conf.all.forwarding"))
        own = self._own_sysctl("ipv4", device, "forwarding")
        return bool(own) if own is not None else bool(self.sysctl("ipv4.ip_forward"))

    def bridge_calls_filter(self, version: int) -> bool:
        """Whether br_netfilter shows bridged packets to the packet filter."""
        name = "bridge-nf-call-iptables" if version == 4 else "bridge-nf-call-ip6tables"
        return bool(self.sysctl(f"bridge.{name}"))

    @cached_property
    def local_addresses(self) -> Mapping[Address, str]:
        """Every address of the host's own, with its device; 127.0.0.0/8 is not among them.

        A device that goes down loses its IPv6 addresses, while those of IPv4 stay the host's own.
        """
        found: dict[Address, str] = {}
        for link in self.links:
            for address in link.addresses:
                if link.up or address.version == 4:
                    found.setdefault(address.ip, link.name)
        return MappingProxyType(found)

    def local_networks(self, version: int) -> tuple[Network, ...]:
        """What is delivered to the host itself: each of its addresses, and the whole loopback network."""
        own: list[Network] = [ip_network(a) for a in self.local_addresses if a.version == version]
        if version == 4 and LOOPBACK in self._links and self._links[LOOPBACK].up:
            own.append(IPv4Network("127.0.0.0/8"))
        return tuple(own)

    def anycasts(self) -> Mapping[IPv6Network, InterfaceAddress]:
        """The subnet-router anycast addresses that a host which forwards has joined (RFC 4291, 2.6.1).

        Each is the first address of a subnet of a device, with the host's own one there
        (addrconf_join_anycast in net/ipv6/addrconf.c).
        """
        found: dict[IPv6Network, InterfaceAddress] = {}
        if not self.forwards(6, ""):
            return found
        for link in self.links:
            for address in link.addresses if link.up else ():
                if isinstance(address, IPv6Interface) and address.network.prefixlen < 127:
                    first = IPv6Network(address.network.network_address)
                    if first.network_address not in self.local_addresses:
                        found.setdefault(first, address)
        return found

    def groups(self, device: str) -> frozenset[IPv6Address]:
        """The IPv6 multicast groups that the kernel itself has joined on a device (RFC 4291, 2.8).

        Those of all nodes, of all routers where the host is one, and for each address of the device that of
        its solicited node. What programs join is not among them. Groups of one interface alone
        (ff01::/16) come in by no cable (ip6_rcv_core in net/ipv6/ip6_input.c).
        """
        own = self.link(device).addresses if self.has_link(device) and self.link(device).up else ()
        found = {ALL_NODES, *(ALL_ROUTERS if self.forwards(6, device) else ())}
        heard = [int(address.ip) for address in own if address.version == 6]
        heard += [int(first.network_address) for first, by in self.anycasts().items() if by in own]
        return frozenset(found | {IPv6Address(_SOLICITED_NODE | number & 0xFFFFFF) for number in heard})

    def broadcasts(self) -> tuple[IPv4Network, ...]:
        """The IPv4 broadcast addresses of its devices that are up, and 255.255.255.255."""
        own = [
            IPv4Network(address.network.broadcast_address)
            for link in self.links
            if link.up and link.name != LOOPBACK
            for address in link.addresses
            if isinstance(address, IPv4Interface) and address.network.prefixlen < 31
        ]
        return (*own, IPv4Network("255.255.255.255"))

    @cached_property
    def _links(self) -> dict[str, Link]:
        return {link.name: link for link in self.links}
