"""Public addresses renamed so that whatever holds among them still holds.

The mapping is a permutation of all addresses that preserves prefixes, as Crypto-PAn's is (Xu and others, ICNP
2002): two addresses share as many leading bits after it as before. Which bit is flipped after which prefix is
drawn from the salt. Not flipped is

* everything in private, documentation, loopback, link-local, multicast and other special blocks, and what
  leads there: an address keeps those leading bits that it shares with the nearest such block;
* the last 8 bits of IPv4 and the last 64 of IPv6, and the host's part in the networks that devices are on, so
  that gateways, broadcast addresses and neighbours stay what they are;
* what decides where a range of addresses begins and ends.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from netverify.errors import Place
from netverify.host.cursor import Address, Network
from netverify.host.errors import SnapshotError
from netverify.topology.errors import quoted

_WIDTH: Final = {4: 32, 6: 128}
_FLIPPED: Final = {4: 24, 6: 64}  # leading bits that may be
# IANA's registries of special-purpose addresses: those that networks and models of them treat apart.
_SPECIAL: Final = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
_GLOBAL6: Final = IPv6Network("2000::/3")  # all that IANA has given out; what is elsewhere is special
_SPECIAL6: Final = IPv6Network("2001:db8::/32")

_FOUR = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_SIX = r"(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}"
_ADDRESS: Final = re.compile(
    rf"(?<![\w.])(?P<four>{_FOUR})(?:/(?P<mask>{_FOUR}|[0-9]{{1,2}}))?(?!\w|\.[0-9])"
    rf"|(?<![\w:.])(?P<six>{_SIX})(?:/(?P<mask6>{_SIX}|[0-9]{{1,3}}))?(?![\w:]|\.[0-9])"
)
_RANGE: Final = re.compile(rf"({_FOUR})-({_FOUR})|({_SIX})-({_SIX})")


def is_public(address: Address) -> bool:
    """Whether an address is one that is renamed."""
    if address.version == 4:
        return not any(address in block for block in _SPECIAL)
    return address in _GLOBAL6 and address not in _SPECIAL6


def ranges_in(text: str) -> Iterable[tuple[Address, Address]]:
    """The ranges `FIRST-LAST` in a text."""
    for match in _RANGE.finditer(text):
        first, last = (parsed(word) for word in match.groups() if word is not None)
        if first is not None and last is not None and first.version == last.version:
            yield first, last


class Renumbering:
    """The mapping that a salt makes; the same salt always makes the same but for what has to be kept."""

    def __init__(
        self, salt: bytes, attached: Iterable[Network] = (), ranges: Iterable[tuple[Address, Address]] = ()
    ) -> None:
        """`attached` are the networks that devices are on."""
        self._key = hashlib.sha256(salt).digest()
        self._kept: set[tuple[int, int, int]] = set()
        self._flips: dict[tuple[int, int, int], int] = {}
        self._attached: dict[tuple[int, int], set[int]] = {}
        special: tuple[Network, ...] = (*_SPECIAL, _SPECIAL6)
        for block in special:
            self._keep_path(block.network_address, 0, block.prefixlen)
        for network in attached:
            if is_public(network.network_address):
                start = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
                self._attached.setdefault((network.version, network.prefixlen), set()).add(start)
        for first, last in ranges:
            width = _WIDTH[first.version]
            common = width - (int(first) ^ int(last)).bit_length()
            self._keep_path(first, common, width)
            self._keep_path(last, common, width)

    def address(self, address: Address) -> Address:
        """What an address is called instead."""
        if not is_public(address):
            return address
        version, width, number = address.version, _WIDTH[address.version], int(address)
        result = number
        for depth in range(_FLIPPED[version]):
            result ^= self._flip(version, depth, number >> (width - depth)) << (width - depth - 1)
        return type(address)(result)

    def network(self, network: Network) -> Network:
        """What a network is called instead."""
        return ip_network(f"{self.address(network.network_address)}/{network.prefixlen}", strict=False)

    def text(self, text: str, where: str = "") -> str:
        """A text with other public addresses in it, and other networks. Raises SnapshotError."""
        return _ADDRESS.sub(self._replacement(where), text)

    def _replacement(self, where: str) -> Callable[[re.Match[str]], str]:
        def replaced(match: re.Match[str]) -> str:
            address = parsed(match["four"] or match["six"])
            if address is None or not is_public(address):
                return match[0]
            mask = match["mask"] or match["mask6"]
            if mask is None:
                return str(self.address(address))
            try:
                length = ip_network(f"{address}/{mask}", strict=False).prefixlen
            except ValueError:
                problem = f"{quoted(match[0])} has a mask with gaps: what it stands for has no other name"
                raise SnapshotError(Place(where), problem) from None
            network = ip_network(f"{address}/{length}", strict=False)
            is_base = network.network_address == address
            renamed = self.network(network).network_address if is_base else self.address(address)
            return f"{renamed}/{mask}"

        return replaced

    def _keep_path(self, address: Address, start: int, end: int) -> None:
        width = _WIDTH[address.version]
        self._kept |= {(address.version, d, int(address) >> (width - d)) for d in range(start, end)}

    def _flip(self, version: int, depth: int, prefix: int) -> int:
        """1 where the bit after a prefix is flipped."""
        node = (version, depth, prefix)
        if node not in self._flips:
            if node in self._kept or (version == 6 and depth < _GLOBAL6.prefixlen) or self._is_inside(*node):
                self._flips[node] = 0
            else:
                words = f"{version} {depth} {prefix}".encode()
                self._flips[node] = hashlib.blake2b(words, key=self._key, digest_size=1).digest()[0] & 1
        return self._flips[node]

    def _is_inside(self, version: int, depth: int, prefix: int) -> bool:
        return any(
            family == version and length <= depth and prefix >> (depth - length) in starts
            for (family, length), starts in self._attached.items()
        )


def parsed(word: str) -> Address | None:
    """A word as an address, None where it is none."""
    try:
        return ip_address(word)
    except ValueError:
        return None
