"""A value of a JSON document together with the keys that lead to it, so that an error can name them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any

from netverify.errors import Place
from netverify.host.errors import SnapshotError
from netverify.topology.errors import key_path, printable, quoted

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
InterfaceAddress = IPv4Interface | IPv6Interface

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_NAMES = {dict: "an object", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}


def loads(text: str, file: str) -> Any:
    """The value of a JSON text. Raises SnapshotError with line and column."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
        if _HALF.search(text):  # half of a character cannot be written again
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        place = Place(file, error.lineno, error.colno)
        end = error.pos >= len(text.rstrip())
        found = "the text ends" if end else f"found {quoted(text[error.pos : error.pos + 20])}"
        raise SnapshotError(place, f"damaged JSON: {found}", error.msg) from error
    except RecursionError:
        raise SnapshotError(Place(file), "the JSON is nested too deeply", "what the tools print") from None
    except UnicodeEncodeError:
        raise SnapshotError(Place(file), "the JSON has half a surrogate pair in it", "characters") from None
    except ValueError as error:  # NaN, or a number of thousands of digits
        raise SnapshotError(
            Place(file), f"damaged JSON: {printable(str(error))}", "what tools print"
        ) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON (RFC 8259, section 6)")


@dataclass(frozen=True)
class Cursor:
    """One value, and where it stands."""

    value: Any
    file: str
    path: tuple[str | int, ...] = ()

    def error(self, expected: str) -> SnapshotError:
        """The error to raise when the value is not what was expected."""
        if isinstance(self.value, dict | list):
            found = f"it is {_NAMES[type(self.value)]}"
        else:
            found = f"it is {quoted(self.value)}"
        return SnapshotError(Place(self.file, key=key_path(self.path) or None), found, expected)

    def typed(self, kind: type) -> Any:
        """The value, which must be of that type."""
        if not isinstance(self.value, kind) or (kind is int and isinstance(self.value, bool)):
            raise self.error(_NAMES[kind])
        return self.value

    def items(self) -> Iterator[Cursor]:
        """The members of a list."""
        for index, member in enumerate(self.typed(list)):
            yield Cursor(member, self.file, (*self.path, index))

    def members(self) -> Iterator[tuple[str, Cursor]]:
        """The members of an object."""
        for key, member in self.typed(dict).items():
            yield key, Cursor(member, self.file, (*self.path, key))

    def has(self, key: str) -> bool:
        """Whether an object has the key, with a value that says something."""
        return self.typed(dict).get(key) not in (None, "")

    def at(self, key: str) -> Cursor:
        """The member of an object. Raises SnapshotError when it is not there."""
        members = self.typed(dict)
        if key not in members:
            raise Cursor(members, self.file, self.path).error(f"the key {key!r} in it")
        return Cursor(members[key], self.file, (*self.path, key))

    def text(self, key: str, default: str | None = None) -> str:
        """A text under a key; `default` where the key is missing."""
        if default is not None and self.typed(dict).get(key) is None:
            return default
        found: str = self.at(key).typed(str)
        return found

    def number(self, key: str, default: int | None = None) -> int:
        """A whole number under a key, also one that is written as text; `default` where it is missing."""
        if default is not None and self.typed(dict).get(key) is None:
            return default
        member = self.at(key)
        if isinstance(member.value, str):
            try:
                return int(member.value, 0)
            except ValueError:
                raise member.error("a whole number") from None
        found: int = member.typed(int)
        return found

    def flag(self, key: str) -> bool:
        """True or false under a key, false where it is missing."""
        return bool(self.typed(dict).get(key) is not None and self.at(key).typed(bool))

    def address(self) -> Address:
        """The value as an address."""
        try:
            return ip_address(self.typed(str))
        except ValueError:
            raise self.error("an IP address") from None

    def interface(self, length: int) -> InterfaceAddress:
        """The value as an address of a device with a prefix of that length."""
        try:
            return ip_interface(f"{self.typed(str)}/{length}")
        except ValueError:
            raise self.error(f"an IP address that can have a prefix of {length} bits") from None

    def network(self, version: int | None = None) -> Network:
        """The value as a network or an address; `default` and `all` are everything of that IP version."""
        text = self.typed(str)
        if text in ("default", "all"):
            return ip_network("::/0" if version == 6 else "0.0.0.0/0")
        try:
            return ip_network(text, strict=False)
        except ValueError:
            raise self.error("an address or a network") from None
