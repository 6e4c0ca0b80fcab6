"""Address translation as rules ask for it, and what the kernel may make of a packet's address and port.

Sources: net/netfilter/nf_nat_core.c (get_unique_tuple, find_best_ips_proto, nf_nat_l4proto_unique_tuple),
nf_nat_redirect.c, nf_nat_masquerade.c, xt_NETMAP.c, xt_nat.c of Linux 6.x.

Where the rule leaves the kernel a choice, `Choice` is the set that it chooses from and not a guess:

- Of several addresses it takes one by a hash of the packet's addresses; with --persistent of the source
  alone. Only translation of the source keeps an address (with its port) that is in the range already.
- A port that is in the range stays. Else translation of the destination takes the first of the range, and
  translation of the source any, at random; --random and --random-fully take any in either case.
- `100-200/1000` counts from a base: port 1000 becomes 100, 1001 becomes 101, and round again after 200.
- Without a range of ports, a random source port stays in its class: up to 511, 600 to 1023, or from 1024.

All of this holds as long as no other connection has taken what comes out; the kernel then looks further. And
a source that another connection has translated into the range already is translated alike, whatever else it
could become (find_appropriate_src), so that a peer sees one client as one. Both are facts of connections
that exist, not of the rules. A caller that must show one value shows `first`, and says that it is one of
several where it is not `exact`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from netverify.dataplane.packet import WITH_PORTS, address

Range = tuple[int, int]
"""The first and the last, both included."""


class NatKind(Enum):
    """Whose address is translated, and into what."""

    DNAT = "DNAT"
    REDIRECT = "REDIRECT"
    SNAT = "SNAT"
    MASQUERADE = "MASQUERADE"
    NETMAP = "NETMAP"


@dataclass(frozen=True, slots=True)
class Nat:
    """One translation: a range of addresses and of ports, both ends included; None leaves it as it is.

    `base` is the port from which a range of ports is counted; `random` and `persistent` are the options.
    """

    kind: NatKind
    addresses: Range | None = None
    ports: Range | None = None
    network: Range | None = None  # NETMAP: base and mask
    base: int | None = None
    random: bool = False
    persistent: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What a translation may write: one of the addresses and one of the ports."""

    addresses: Range
    ports: Range

    @property
    def first(self) -> tuple[int, int]:
        """One of them, as an address and a port."""
        return self.addresses[0], self.ports[0]

    @property
    def exact(self) -> bool:
        """Whether nothing is left to choose."""
        return self.addresses[0] == self.addresses[1] and self.ports[0] == self.ports[1]

    def text(self, version: int) -> str:
        """The choice in words: `10.0.0.2-10.0.0.4, port 80`."""
        low, high = (str(address(version, number)) for number in self.addresses)
        addresses = low if low == high else f"{low}-{high}"
        ports = str(self.ports[0]) if self.ports[0] == self.ports[1] else f"{self.ports[0]}-{self.ports[1]}"
        return f"{addresses}, port {ports}"


def choose(nat: Nat, *, of_source: bool, protocol: int, old: int, port: int, to: int | None = None) -> Choice:
    """What a translation may make of a half of a new connection, its address `old` and its `port`.

    `to` is the address that MASQUERADE and REDIRECT found, which the rule does not say. For protocols without
    ports the port stays what it is.
    """
    addresses = (to, to) if to is not None else nat.addresses
    if nat.network is not None:
        base, mask = nat.network
        mapped = old & ~mask | base
        addresses = (mapped, mapped)
    ported = protocol in WITH_PORTS
    same = (port, port)
    if of_source and not nat.random and _holds(addresses, old) and (not ported or _holds(nat.ports, port)):
        return Choice((old, old), same)
    return Choice(addresses or (old, old), _ports(nat, port, of_source) if ported else same)


def _holds(found: Range | None, value: int) -> bool:
    return found is None or found[0] <= value <= found[1]


def _ports(nat: Nat, port: int, of_source: bool) -> Range:
    if nat.ports is None:
        return _class_of(port) if nat.random and of_source else (port, port)
    low, high = min(nat.ports), max(nat.ports)
    if nat.base is not None:
        shifted = low + ((port - nat.base) & 0xFFFF) % (high - low + 1)
        return shifted, shifted
    if nat.random:
        return low, high
    if low <= port <= high:
        return port, port
    return (low, high) if of_source else (low, low)


def _class_of(port: int) -> Range:
    """The ports that one without a range is exchanged for (nf_nat_l4proto_unique_tuple)."""
    if port < 512:
        return 1, 511
    return (600, 1023) if port < 1024 else (1024, 65535)
