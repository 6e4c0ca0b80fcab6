"""How the values of a topology file are read.

Each reader takes a `Cursor` and gives the value; it raises TopologyFileError for one that will not do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Final, TypeVar

from netverify.topology.document import Cursor
from netverify.topology.errors import TopologyError, did_you_mean, quoted
from netverify.topology.model import InterfaceAddress, PortMapping, Route

_T = TypeVar("_T")
_Choice = TypeVar("_Choice", bound=Enum)
_Read = Callable[[Cursor], Any]
Table = Mapping[str, tuple[str, _Read]]  # key of the file -> field of the class, how to read it
_PORT: Final = re.compile(r"[0-9]{1,5}")


def make(cursor: Cursor, kind: Callable[..., _T], *values: Any, **fields: Any) -> _T:
    """Make a part of the model; what it objects to is reported where it is written."""
    try:
        return kind(*values, **fields)
    except TopologyError as error:
        cursor.fail_below(error)


def fields(cursor: Cursor, table: Table, expected: str) -> dict[str, Any]:
    """The fields of a part, as `table` says; `expected` is said where there is no mapping."""
    return {table[key][0]: table[key][1](value) for key, value in cursor.known_items(table, expected)}


def text(cursor: Cursor) -> str:
    """A text, as it is written."""
    return cursor.text()


def flag(cursor: Cursor) -> bool:
    """True or false."""
    return cursor.flag()


def number(cursor: Cursor) -> int:
    """A whole number."""
    return cursor.number()


def parsed(kind: Callable[[str], _T], expected: str) -> Callable[[Cursor], _T]:
    """A value that Python's ipaddress reads."""

    def read(cursor: Cursor) -> _T:
        text = cursor.text(expected)
        try:
            return kind(text)
        except ValueError as error:
            return cursor.fail(f"{quoted(text)} will not do: {error}", expected)

    return read


def _with_length(text: str) -> InterfaceAddress:
    if "/" not in text:
        raise ValueError("it has no prefix length")
    return ip_interface(text)


address = parsed(ip_address, "an address such as 10.1.1.10 or fd00::10")
interface_address = parsed(_with_length, "an address with its prefix length, such as 192.168.1.1/24")
subnet = parsed(ip_network, "a subnet such as 172.18.0.0/16 or fd00:18::/64")


def route(cursor: Cursor) -> Route:
    """A route as `ip route` writes it."""
    return make(cursor, Route.parse, cursor.text('a route such as "default via 10.1.1.1"'))


def port_mappings(cursor: Cursor) -> tuple[PortMapping, ...]:
    """Published ports, each as `docker run --publish` takes it: one, or a range."""
    read = many(_port_mappings, "a list of published ports")
    return tuple(mapping for mappings in read(cursor) for mapping in mappings)


def _port_mappings(cursor: Cursor) -> tuple[PortMapping, ...]:
    return make(cursor, PortMapping.parse_range, cursor.text('a published port such as "8080:80/tcp"'))


def service(cursor: Cursor) -> tuple[str, int]:
    """A service such as tcp/80."""
    expected = "a service such as tcp/80"
    text = cursor.text(expected)
    protocol, _, port = text.partition("/")
    if protocol not in ("tcp", "udp") or not _PORT.fullmatch(port):
        cursor.fail(f"{quoted(text)} is none", expected)
    return protocol, int(port)


def chosen(kind: type[_Choice]) -> Callable[[Cursor], _Choice]:
    """One of an Enum's values."""
    known = {member.value: member for member in kind}

    def read(cursor: Cursor) -> _Choice:
        text = cursor.text("one of " + ", ".join(known))
        if text not in known:
            cursor.fail(f"{quoted(text)} is unknown", did_you_mean(text, known))
        return known[text]

    return read


def many(read: Callable[[Cursor], _T], expected: str) -> Callable[[Cursor], tuple[_T, ...]]:
    """A list, or one value alone."""
    return lambda cursor: tuple(read(value) for value in cursor.values(expected))


def strings(cursor: Cursor) -> dict[str, str]:
    """A mapping of texts."""
    return {key: value.text() for key, value in cursor.items("keys, each with a text")}


def families(cursor: Cursor) -> frozenset[str]:
    """Some of ipv4 and ipv6."""
    return frozenset(value.text("ipv4 or ipv6") for value in cursor.values("a list of ipv4 and ipv6"))
