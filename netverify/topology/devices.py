"""Devices and what connects them: interfaces, routes, segments, cables."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

from netverify.topology.errors import TopologyError, quoted
from netverify.topology.values import (
    ADDRESSES,
    INTERFACE_ADDRESSES,
    MTU_LEAST,
    MTU_MOST,
    SUBNETS,
    Address,
    InterfaceAddress,
    Subnet,
    check_address,
    check_choice,
    check_device,
    check_distinct,
    check_mac,
    check_name,
    check_range,
    check_subnets,
    check_tuple,
    check_usable,
    check_zone,
)

ROUTE_KINDS: Final = ("unicast", "blackhole", "unreachable", "prohibit")
ROUTE_RULE: Final = "[KIND] DESTINATION [via ADDRESS] [dev DEVICE] [src ADDRESS] [onlink]"
EVERYTHING: Final = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True)
class Route:
    """One route: `destination` via a gateway, out of a device, or refused (`kind`).

    `kind` is iproute2's route type: unicast, blackhole, unreachable or prohibit. Its text form, in files and
    from `str()`, is that of `ip route`: "default via 10.1.1.1", "172.18.0.0/24 dev br0".
    """

    destination: Subnet
    via: Address | None = None
    device: str | None = None
    source: Address | None = None
    kind: str = "unicast"
    onlink: bool = False

    def __post_init__(self) -> None:
        subject = f"route to {self.destination}"
        if type(self.destination) not in SUBNETS:
            raise TopologyError(subject, (), "its destination is no subnet", "an IPv4Network or IPv6Network")
        check_zone(subject, (), self.destination.network_address)
        check_choice(subject, "kind", self.kind, ROUTE_KINDS)
        if self.device is not None:
            check_device(subject, "dev", self.device)
        for key, address in (("via", self.via), ("src", self.source)):
            if address is None:
                continue
            if type(address) not in ADDRESSES or address.version != self.destination.version:
                raise TopologyError(
                    subject, (key,), f"{address} is of another family", f"IPv{self.destination.version}"
                )
            check_address(subject, (key,), address)
        if self.kind == "unicast" and self.via is None and self.device is None:
            raise TopologyError(subject, (), "it leads nowhere", "via ADDRESS, dev DEVICE or both")
        if self.kind != "unicast" and (self.via or self.device or self.source or self.onlink):
            raise TopologyError(subject, (), f"a {self.kind} route has no way to go", "the destination alone")
        if self.onlink and (self.via is None or self.device is None):
            raise TopologyError(subject, (), "onlink says that the gateway is on a device", "via and dev too")

    @classmethod
    def parse(cls, text: str) -> Route:
        """Read a route as `ip route` writes it.

        "default" is 0.0.0.0/0, or ::/0 if the gateway is of IPv6; an address alone is a host route. Raises
        TopologyError.
        """
        subject = f"route {quoted(text)}"
        words = text.split()
        kind = words.pop(0) if words and words[0] in ROUTE_KINDS else "unicast"
        if not words:
            raise TopologyError(subject, (), "it has no destination", ROUTE_RULE)
        target, onlink, given = words[0], False, dict[str, str]()
        rest = iter(words[1:])
        for word in rest:
            if word == "onlink" and not onlink:
                onlink = True
                continue
            value = next(rest, None)
            if word not in ("via", "dev", "src") or value is None or word in given:
                raise TopologyError(subject, (), f"{quoted(word)} cannot stand there", ROUTE_RULE)
            given[word] = value
        via, source = (_address(subject, given[key]) if key in given else None for key in ("via", "src"))
        version = (via or source or ip_address("0.0.0.0")).version
        return cls(
            EVERYTHING[version] if target == "default" else _subnet(subject, target),
            via,
            given.get("dev"),
            source,
            kind,
            onlink,
        )

    def __str__(self) -> str:
        default = self.destination == EVERYTHING[4] or (
            self.destination == EVERYTHING[6] and (self.via or self.source)
        )
        words = [] if self.kind == "unicast" else [self.kind]
        words.append("default" if default else str(self.destination))
        words += [f"via {self.via}"] if self.via else []
        words += [f"dev {self.device}"] if self.device else []
        words += [f"src {self.source}"] if self.source else []
        words += ["onlink"] if self.onlink else []
        return " ".join(words)


@dataclass(frozen=True)
class Interface:
    """A network device of a host.

    `segment` names the switch that it is plugged into; without one its far end is plugged into nothing
    (but has carrier). `master` enslaves it to a bridge of the same host.
    """

    device: str
    addresses: tuple[InterfaceAddress, ...] = ()
    segment: str | None = None
    master: str | None = None
    mac: str | None = None
    mtu: int | None = None
    up: bool = True

    def __post_init__(self) -> None:
        subject = f"interface {quoted(self.device)}"
        check_device(subject, "device", self.device)
        check_tuple(subject, "address", self.addresses, INTERFACE_ADDRESSES)
        for number, address in enumerate(self.addresses):
            check_address(subject, ("address", number), address)
            check_usable(subject, ("address", number), address.ip, address.network)
        check_distinct(subject, "address", tuple(address.ip for address in self.addresses))
        if self.segment is not None:
            check_name(subject, "segment", self.segment)
        if self.master is not None:
            check_device(subject, "master", self.master)
            if self.master == self.device:
                raise TopologyError(subject, ("master",), "it would be its own bridge", "another device")
        if self.mac is not None:
            check_mac(subject, "mac", self.mac)
        check_range(subject, "mtu", self.mtu, MTU_LEAST, MTU_MOST)


@dataclass(frozen=True)
class Segment:
    """A plain Ethernet switch outside all hosts, such as a LAN.

    Where `subnets` are given, everybody on the segment has addresses of these.
    """

    name: str
    subnets: tuple[Subnet, ...] = ()

    def __post_init__(self) -> None:
        subject = f"segment {quoted(self.name)}"
        check_name(subject, "name", self.name)
        check_subnets(subject, self.subnets)
        check_distinct(subject, "subnet", self.subnets)


@dataclass(frozen=True)
class CableEnd:
    """One end of a veth pair: the namespace (host or container) it is in, and its device there."""

    node: str
    interface: Interface

    def __post_init__(self) -> None:
        subject = f"cable end {quoted(self)}"
        check_name(subject, "node", self.node)
        if self.interface.segment is not None:
            raise TopologyError(
                subject, ("segment",), "it is plugged into its other end", "no segment (or no cable)"
            )

    def __str__(self) -> str:
        return f"{self.node}:{self.interface.device}"


@dataclass(frozen=True)
class Cable:
    """A veth pair between two namespaces, or within one."""

    ends: tuple[CableEnd, CableEnd]

    def __post_init__(self) -> None:
        check_tuple("cable", "ends", self.ends, (CableEnd,))
        if len(self.ends) != 2:
            raise TopologyError("cable", (), f"it has {len(self.ends)} ends", "two ends")
        check_distinct("cable", "ends", tuple(map(str, self.ends)))


def _address(subject: str, text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise TopologyError(
            subject, (), f"{quoted(text)} is no address", "an address such as 10.1.1.1 or fd00::1"
        ) from None


def _subnet(subject: str, text: str) -> Subnet:
    try:
        return ip_network(text)
    except ValueError as error:
        raise TopologyError(
            subject,
            (),
            f"{quoted(text)} is no subnet ({error})",
            "a subnet such as 10.1.0.0/24 or fd00::/64, or default",
        ) from None
