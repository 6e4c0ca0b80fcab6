"""The parts of a snapshot that are plain text: sysctl(8) and `ss -lntup`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from netverify.errors import Place
from netverify.host.cursor import Address
from netverify.host.errors import SnapshotError
from netverify.topology.errors import quoted


@dataclass(frozen=True)
class Listener:
    """A socket that waits for others. `address` None is every address; `version` None both IP versions."""

    protocol: str
    port: int
    address: Address | None = None
    version: int | None = None
    program: str = ""


_NUMBERS = (
    *(".forwarding", ".rp_filter", ".route_localnet", ".accept_local", ".src_valid_mark", ".arp_ignore"),
    *(".ip_forward", "-iptables", "-ip6tables", ".disable_ipv6", ".nf_conntrack_tcp_loose"),
)
"""How sysctls end that are switches and numbers."""


def read_sysctls(text: str, file: str) -> Mapping[str, str]:
    """`name = value` lines, as `sysctl -a` prints them. Raises SnapshotError."""
    found = {}
    for number, line in _lines(text):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise SnapshotError(Place(file, number), f"found {quoted(line)}", "`name = value`")
        if name.strip().endswith(_NUMBERS) and not value.strip().lstrip("-").isdecimal():
            place = Place(file, number)
            raise SnapshotError(place, f"{quoted(name.strip())} is {quoted(value.strip())}", "a whole number")
        found[name.strip()] = value.strip()
    return found


def read_listeners(text: str, file: str) -> tuple[Listener, ...]:
    """The sockets of `ss -lntup` (ss(8)). Raises SnapshotError."""
    return tuple(
        _listener(line, Place(file, number)) for number, line in _lines(text) if not line.startswith("Netid")
    )


def _listener(line: str, place: Place) -> Listener:
    words = line.split()
    if len(words) < 6 or words[0] not in ("tcp", "udp", "sctp", "dccp"):
        raise SnapshotError(place, f"found {quoted(line)}", "what `ss -lntup` prints")
    host, _, port = words[4].rpartition(":")
    host = host.partition("%")[0].strip("[]")
    if not port.isdecimal():
        raise SnapshotError(place, f"found {quoted(words[4])}", "ADDRESS:PORT, with numbers")
    _, _, users = line.partition('users:(("')
    program = users.partition('"')[0]
    if host == "*":
        return Listener(words[0], int(port), program=program)
    try:
        address = ip_address(host)
    except ValueError:
        raise SnapshotError(place, f"found {quoted(words[4])}", "ADDRESS:PORT, with numbers") from None
    chosen = None if address.is_unspecified else address
    return Listener(words[0], int(port), chosen, address.version, program)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()
