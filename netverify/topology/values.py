"""The words that a topology is made of: addresses, names, settings; and what makes one of them legal.

Each `check_*` function raises TopologyError, saying of which `subject` which `key` is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Final

from netverify.topology.errors import Step, TopologyError, quoted

Address = IPv4Address | IPv6Address
InterfaceAddress = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network

ADDRESSES: Final = (IPv4Address, IPv6Address)
INTERFACE_ADDRESSES: Final = (IPv4Interface, IPv6Interface)
SUBNETS: Final = (IPv4Network, IPv6Network)
FAMILIES: Final = ("ipv4", "ipv6")
PROTOCOLS: Final = ("tcp", "udp", "sctp")  # what `docker run --publish` knows

# Container names as Docker has them (moby: daemon/names, RestrictedNameChars), and a length that tables bear.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
NAME_RULE: Final = "a letter or digit, then letters, digits, '_', '.', '-', at most 63 in all"

# Linux: net/core/dev.c, dev_valid_name() allows more; '%' makes a template of a name, "all" and "default" are
# directories beside the devices in /proc/sys/net/ipv4/conf, and lo is there before anything is built.
_DEVICE: Final = re.compile(r"[!-~]{1,15}")
_NO_DEVICES: Final = frozenset({".", "..", "all", "default", "lo"})
DEVICE_RULE: Final = "1 to 15 printable ASCII characters without blanks, '/', ':' and '%'"

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SYSCTL: Final = re.compile(r"net[./][!-~]+")
MTU_LEAST, MTU_MOST = 68, 65535  # RFC 791: every module must forward 68 octets; 16 bits of total length


class Settings(Mapping[str, str]):
    """A mapping of text to text that nobody can change and that has a hash. Order does not count."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


NOTHING: Final[Mapping[str, str]] = Settings()


def check_name(subject: str, key: str, name: object) -> None:
    """A node's, network's, segment's or topology's name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TopologyError(subject, (key,), f"{quoted(name)} is no name", NAME_RULE)


def check_device(subject: str, key: str, device: object) -> None:
    """A network device's name."""
    if not isinstance(device, str) or not _DEVICE.fullmatch(device) or set(device) & set("/:%"):
        raise TopologyError(subject, (key,), f"{quoted(device)} is no device name", DEVICE_RULE)
    if device in _NO_DEVICES:
        raise TopologyError(
            subject, (key,), f"the kernel keeps the name '{device}' for itself", "another name"
        )


def check_mac(subject: str, key: str, mac: object) -> None:
    """A unicast MAC address in the kernel's spelling."""
    if not isinstance(mac, str) or not _MAC.fullmatch(mac):
        raise TopologyError(
            subject, (key,), f"{quoted(mac)} is no MAC address", "six pairs of lower-case hex digits with ':'"
        )
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise TopologyError(
            subject, (key,), f"{mac} is no device's own address", "a unicast MAC, such as 02:42:0a:01:01:0a"
        )


def check_port(subject: str, path: tuple[Step, ...], port: int) -> None:
    """A port of TCP, UDP or SCTP."""
    if type(port) is not int or not 1 <= port <= 65535:
        raise TopologyError(subject, path, f"{port!r} is no port", "a number from 1 to 65535")


def check_listens(subject: str, listens: tuple[tuple[str, int], ...]) -> None:
    """The (protocol, port) pairs of a node's services."""
    check_tuple(subject, "listen", listens, (tuple,))
    for number, (protocol, port) in enumerate(listens):
        if protocol not in ("tcp", "udp"):
            raise TopologyError(
                subject, ("listen", number), f"{quoted(protocol)} is no protocol", "tcp or udp"
            )
        check_port(subject, ("listen", number), port)
    check_distinct(subject, "listen", listens)


def check_range(subject: str, key: str, number: int | None, least: int, most: int) -> None:
    """A whole number between `least` and `most`; None passes."""
    if number is not None and (type(number) is not int or not least <= number <= most):
        raise TopologyError(
            subject, (key,), f"{number!r} is out of range", f"a number from {least} to {most}"
        )


def check_choice(subject: str, key: str, value: object, choices: Iterable[object]) -> None:
    """One of a few words."""
    choices = tuple(choices)
    if value not in choices:
        raise TopologyError(
            subject, (key,), f"{quoted(value)} is unknown", "one of " + ", ".join(map(str, choices))
        )


def check_tuple(subject: str, key: str, values: object, kinds: tuple[type, ...]) -> None:
    """A tuple of members of exactly these types, so that the whole has a hash and compares as it looks."""
    kind_names = " or ".join(kind.__name__ for kind in kinds)
    if type(values) is not tuple:
        raise TopologyError(subject, (key,), f"{quoted(values)} is no tuple", f"a tuple of {kind_names}")
    for number, value in enumerate(values):
        if type(value) not in kinds:
            raise TopologyError(
                subject, (key, number), f"{quoted(value)} is of type {type(value).__name__}", kind_names
            )


def check_subnets(subject: str, subnets: tuple[Subnet, ...]) -> None:
    """A tuple of subnets, none of them with a zone."""
    check_tuple(subject, "subnet", subnets, SUBNETS)
    for number, subnet in enumerate(subnets):
        check_zone(subject, ("subnet", number), subnet.network_address)


def check_zone(subject: str, path: tuple[Step, ...], address: Address) -> None:
    """No zone such as %eth0: what a zone means depends on the namespace that one asks in."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise TopologyError(subject, path, f"{address} has a zone", "the address without %ZONE")


def check_distinct(subject: str, key: str, values: tuple[object, ...]) -> None:
    """No value twice."""
    seen: set[object] = set()
    for number, value in enumerate(values):
        if value in seen:
            raise TopologyError(subject, (key, number), f"{quoted(value)} comes twice", "each only once")
        seen.add(value)


def check_usable(subject: str, path: tuple[Step, ...], address: Address, subnet: Subnet) -> None:
    """An address that one device of `subnet` can have."""
    if address not in subnet:
        raise TopologyError(subject, path, f"{address} is outside {subnet}", f"an address of {subnet}")
    fault = reserved_as(address, subnet)
    if fault:
        raise TopologyError(
            subject, path, f"{address} is the {fault} of {subnet}", "an address that a device may have"
        )


def check_address(subject: str, path: tuple[Step, ...], address: Address | InterfaceAddress) -> None:
    """An address that a packet may come from: no multicast, no 0.0.0.0 or ::, no zone such as %eth0."""
    check_zone(subject, path, address)
    alone = address.ip if isinstance(address, INTERFACE_ADDRESSES) else address
    if alone.is_multicast or alone.is_unspecified:
        raise TopologyError(subject, path, f"{address} belongs to no device", "a unicast address")


def reserved_as(address: Address, subnet: Subnet) -> str | None:
    """Why no device may have `address`: it names the subnet, or it means everybody there.

    RFC 919 and RFC 4291, 2.6.1; a subnet of one or two addresses keeps none (RFC 3021, RFC 6164).
    """
    if subnet.max_prefixlen - subnet.prefixlen < 2:
        return None
    if address == subnet.network_address:
        return "network address"
    if subnet.version == 4 and address == subnet.broadcast_address:
        return "broadcast address"
    return None


def check_text(subject: str, key: str, text: str | None, *, lines: bool = False) -> None:
    """Text for people, or (`lines`) for a program: nothing in it that a terminal would obey."""
    if text is None:
        return
    if not isinstance(text, str):
        raise TopologyError(subject, (key,), f"{quoted(text)} is no text", "text")
    for character in text:
        if not (character.isprintable() or (lines and character in "\n\t")):
            raise TopologyError(
                subject,
                (key,),
                f"there is U+{ord(character):04X} in it",
                "printable text" if lines else "one line of printable text",
            )


def frozen_settings(subject: str, key: str, settings: Mapping[str, str]) -> Settings:
    """Sysctls: names below net, each with a value that is one line of text."""
    for name, value in settings.items():
        if not _SYSCTL.fullmatch(name) or ".." in name or "//" in name:
            raise TopologyError(
                subject,
                (key, name),
                f"{quoted(name)} is no sysctl of a network namespace",
                "a name such as net.ipv4.ip_forward",
            )
        check_text(subject, f"{key}.{name}", value)
    return Settings(settings)
