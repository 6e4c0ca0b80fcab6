"""Containers, their endpoints on networks, and the ports they publish."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from netverify.topology.devices import Route
from netverify.topology.errors import TopologyError, quoted
from netverify.topology.values import (
    ADDRESSES,
    NOTHING,
    PROTOCOLS,
    Address,
    check_address,
    check_choice,
    check_device,
    check_distinct,
    check_listens,
    check_mac,
    check_name,
    check_port,
    check_tuple,
    frozen_settings,
)

PORT_MAPPING_RULE: Final = "[HOST_ADDRESS:]HOST_PORT:CONTAINER_PORT[/PROTOCOL], an IPv6 address in brackets"
_PORT_MAPPING: Final = re.compile(
    r"(?:(?:\[(?P<v6>[^\]]*)\]|(?P<v4>[^:\[\]]*)):)?(?P<host>[0-9]{1,5}):(?P<container>[0-9]{1,5})"
    r"(?:/(?P<protocol>[a-z]+))?"
)
_RANGES: Final = re.compile(
    r"(?P<address>.*:)?(?P<host>[0-9]{1,5})-(?P<host_end>[0-9]{1,5})"
    r":(?P<container>[0-9]{1,5})-(?P<container_end>[0-9]{1,5})(?P<protocol>/[a-z]+)?"
)


@dataclass(frozen=True)
class Endpoint:
    """One attachment of a container to a network; addresses left out are allocated by IPAM.

    `host_device` is the other end of its veth pair, on the host's bridge (drivers bridge and overlay).
    """

    network: str
    addresses: tuple[Address, ...] = ()
    device: str | None = None  # eth0, eth1, ... in order when left out
    mac: str | None = None
    host_device: str | None = None  # veth and seven hex digits when left out, as Docker does

    def __post_init__(self) -> None:
        subject = f"endpoint on {quoted(self.network)}"
        check_name(subject, "network", self.network)
        check_tuple(subject, "address", self.addresses, ADDRESSES)
        for number, address in enumerate(self.addresses):
            check_address(subject, ("address", number), address)
        if len({address.version for address in self.addresses}) < len(self.addresses):
            raise TopologyError(subject, ("address",), "it has two of one family", "one address a family")
        for key, device in (("device", self.device), ("host_device", self.host_device)):
            if device is not None:
                check_device(subject, key, device)
        if self.mac is not None:
            check_mac(subject, "mac", self.mac)

    def address(self, version: int) -> Address | None:
        """Its address of that family (4 or 6), if it has one."""
        return next((address for address in self.addresses if address.version == version), None)


@dataclass(frozen=True)
class PortMapping:
    """`docker run --publish [HOST_ADDRESS:]HOST_PORT:CONTAINER_PORT/PROTOCOL`.

    Without a host address the port is published on all of the host's, IPv4 and IPv6.
    """

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_address: Address | None = None

    def __post_init__(self) -> None:
        subject = "published port"
        check_port(subject, ("host_port",), self.host_port)
        check_port(subject, ("container_port",), self.container_port)
        check_choice(subject, "protocol", self.protocol, PROTOCOLS)
        address = self.host_address
        if address is not None:
            if type(address) not in ADDRESSES:
                raise TopologyError(
                    subject,
                    ("host_address",),
                    f"{quoted(address)} is of type {type(address).__name__}",
                    "an address",
                )
            if not address.is_unspecified:
                check_address(subject, ("host_address",), address)

    @classmethod
    def parse(cls, text: str) -> PortMapping:
        """Read it as `docker run --publish` does (without ranges and random ports). Raises TopologyError."""
        match = _PORT_MAPPING.fullmatch(text)
        if match is None:
            raise TopologyError("published port", (), f"{quoted(text)} cannot be read", PORT_MAPPING_RULE)
        written = match["v4"] if match["v6"] is None else match["v6"]
        address: Address | None = None
        if written is not None:
            try:
                address = ip_address(written)
            except ValueError:
                raise TopologyError(
                    "published port", (), f"{quoted(written)} is no address", PORT_MAPPING_RULE
                ) from None
        return cls(int(match["host"]), int(match["container"]), match["protocol"] or "tcp", address)

    @classmethod
    def parse_range(cls, text: str) -> tuple[PortMapping, ...]:
        """Read one mapping, or two ranges of one length, such as 9000-9002:80-82: a mapping for each pair.

        The docker command makes the same single mappings of them before it asks the engine. Of a range of
        host ports for one container port the engine would choose; that is refused. Raises TopologyError.
        """
        found = _RANGES.fullmatch(text)
        if found is None:
            return (cls.parse(text),)
        hosts = range(int(found["host"]), int(found["host_end"]) + 1)
        ports = range(int(found["container"]), int(found["container_end"]) + 1)
        if len(hosts) != len(ports) or not hosts:
            raise TopologyError(
                "published port",
                (),
                f"{quoted(text)} has ranges of two lengths",
                "two rising ranges of one length",
            )
        before, after = found["address"] or "", found["protocol"] or ""
        return tuple(
            cls.parse(f"{before}{host}:{port}{after}") for host, port in zip(hosts, ports, strict=True)
        )

    def __str__(self) -> str:
        address = ""
        if self.host_address is not None:
            address = f"[{self.host_address}]:" if self.host_address.version == 6 else f"{self.host_address}:"
        return f"{address}{self.host_port}:{self.container_port}/{self.protocol}"

    def clashes_with(self, other: PortMapping) -> bool:
        """Whether both would need the same socket of the host."""
        if (self.protocol, self.host_port) != (other.protocol, other.host_port):
            return False
        one, two = self.host_address, other.host_address
        if one is None or two is None or one == two:
            return True
        return one.version == two.version and (one.is_unspecified or two.is_unspecified)


@dataclass(frozen=True)
class Container:
    """A namespace on a host, attached to networks or sharing somebody's namespace.

    `mode` is what `docker run --network` was given: "networks" (the endpoints below), "none", "host", or
    "container:NAME". `listens` are (protocol, port) pairs of its services.
    """

    name: str
    host: str
    endpoints: tuple[Endpoint, ...] = ()
    mode: str = "networks"
    publish: tuple[PortMapping, ...] = ()
    listens: tuple[tuple[str, int], ...] = ()
    routes: tuple[Route, ...] = ()
    sysctls: Mapping[str, str] = NOTHING

    def __post_init__(self) -> None:
        subject = f"container {quoted(self.name)}"
        check_name(subject, "name", self.name)
        check_name(subject, "host", self.host)
        check_tuple(subject, "networks", self.endpoints, (Endpoint,))
        check_tuple(subject, "publish", self.publish, (PortMapping,))
        check_tuple(subject, "routes", self.routes, (Route,))
        for key, values in (("publish", self.publish), ("routes", self.routes)):
            check_distinct(subject, key, values)
        check_distinct(subject, "networks", tuple(endpoint.network for endpoint in self.endpoints))
        check_listens(subject, self.listens)
        object.__setattr__(self, "sysctls", frozen_settings(subject, "sysctls", self.sysctls))
        self._check_mode(subject)

    def _check_mode(self, subject: str) -> None:
        kind, colon, partner = self.mode.partition(":")
        if kind == "container" and colon:
            check_name(subject, "mode", partner)
        elif self.mode not in ("networks", "none", "host"):
            raise TopologyError(
                subject,
                ("mode",),
                f"{quoted(self.mode)} is unknown",
                "networks, none, host or container:NAME",
            )
        if self.mode == "networks":
            if not self.endpoints:
                raise TopologyError(
                    subject,
                    ("networks",),
                    "it is attached to none",
                    "a network, or mode: none, host or container:NAME",
                )
            return
        given: dict[str, object] = {"networks": self.endpoints, "publish": self.publish}
        if not self.has_namespace:
            given |= {"routes": self.routes, "sysctls": self.sysctls}
        for key, values in given.items():
            if values:
                raise TopologyError(
                    subject,
                    (key,),
                    f"mode {self.mode} has nothing of the kind",
                    f"no {key}, or mode networks",
                )

    @property
    def has_namespace(self) -> bool:
        """Whether the container has a network namespace of its own."""
        return self.mode in ("networks", "none")

    @property
    def shares(self) -> str | None:
        """Whose namespace it shares: the host's or a container's name; None with a namespace of its own."""
        if self.has_namespace:
            return None
        return self.host if self.mode == "host" else self.mode.partition(":")[2]

    def endpoint(self, network: str) -> Endpoint:
        """Its attachment to that network. Raises TopologyError if there is none."""
        for endpoint in self.endpoints:
            if endpoint.network == network:
                return endpoint
        raise TopologyError(
            f"container {quoted(self.name)}",
            ("networks",),
            f"it is not attached to {quoted(network)}",
            "one of " + ", ".join(endpoint.network for endpoint in self.endpoints),
        )
