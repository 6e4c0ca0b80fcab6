"""What is asked of one pair, and what came of it: Probe, Outcome, Cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from netverify.reachability.errors import ReachabilityError
from netverify.reachability.text import printable

PROTOCOLS = ("icmp", "udp", "tcp", "arp")


class Outcome(Enum):
    """What became of one probe.

    ERROR means that the question was not answered (our own send failed, the listener was missing, a packet
    vanished unaccounted). It never passes for "blocked".
    """

    DELIVERED = "delivered"  # the receiver had the request in hand
    REFUSED = "refused"  # the destination itself said no: RST, or ICMP port unreachable
    PROHIBITED = "prohibited"  # a filter said no: ICMP administratively prohibited, REJECT
    UNREACHABLE = "unreachable"  # no route, or nobody answered ARP/ND
    FILTERED = "filtered"  # silently dropped, with proof that a rule or a kernel check did it
    ERROR = "error"


@dataclass(frozen=True)
class Probe:
    """One kind of packet: protocol, destination port (UDP and TCP only), IP version 4 or 6.

    Raises ReachabilityError for a combination that does not exist.
    """

    protocol: str
    port: int | None = None
    version: int = 4

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ReachabilityError(f"protocol {self.protocol!r}: expected one of {', '.join(PROTOCOLS)}")
        if (self.port is not None) != (self.protocol in ("udp", "tcp")):
            raise ReachabilityError(f"{self.protocol}: a port belongs to udp and tcp, and to them alone")
        if self.port is not None and not 0 < self.port < 65536:
            raise ReachabilityError(f"port {self.port}: expected 1 to 65535")
        if self.version not in (4, 6) or (self.protocol == "arp" and self.version == 6):
            raise ReachabilityError(f"{self.protocol} over IPv{self.version} does not exist")

    def __str__(self) -> str:
        port = "" if self.port is None else f"/{self.port}"
        return f"{self.protocol}{port}" + ("" if self.version == 4 else " over IPv6")


def icmp(*, version: int = 4) -> Probe:
    """An ICMP (or ICMPv6) echo request."""
    return Probe("icmp", version=version)


def udp(port: int, *, version: int = 4) -> Probe:
    """A UDP datagram to `port`, echoed by a listener there."""
    return Probe("udp", port, version)


def tcp(port: int, *, version: int = 4) -> Probe:
    """A TCP connection to `port`, accepted by a listener there."""
    return Probe("tcp", port, version)


def arp() -> Probe:
    """An ARP who-has for the target's address (RFC 826)."""
    return Probe("arp")


@dataclass(frozen=True)
class Cell:
    """The answer for one ordered pair.

    `seen_source` is the source address (and port, where there is one) that the receiver saw: NAT shows here.
    `receiver` is the namespace whose listener received it; `replied` whether its answer came back to the
    sender. `detail` says in words what the outcome rests on; `rules` are the rules (rendered, with table,
    chain and number) whose counters moved for this cell, where they were read.

    Raises ReachabilityError for a reply to a request that is said not to have arrived: only DELIVERED can
    have been replied to (what became of an ERROR is open, so that one may say either).
    """

    source: str
    target: str
    outcome: Outcome
    seen_source: str | None = None
    receiver: str | None = None
    replied: bool = False
    detail: str = ""
    rules: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.replied and self.outcome not in (Outcome.DELIVERED, Outcome.ERROR):
            where = f"{printable(self.source)} -> {printable(self.target)}"
            raise ReachabilityError(
                f"{where}: {self.outcome.value}, yet replied to; call it delivered (or an error if unsure)"
            )
