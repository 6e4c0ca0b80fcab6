"""One flow as several observers saw it: sightings at points of its path, and what conntrack remembers of it.

A flow is one request and what came back: its reply, or an ICMP error about it. Nothing here captures
anything; these are the facts that a capture reports and that a report prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address


class Direction(Enum):
    """Which way a packet passed a device, seen from the namespace that the device is in."""

    IN = "in"  # the device received it
    OUT = "out"  # the device sent it


class Leg(Enum):
    """Which part of a flow a packet is."""

    REQUEST = "request"
    REPLY = "reply"
    ERROR = "error"  # an ICMP error that quotes the request (RFC 792, RFC 4443)


@dataclass(frozen=True)
class TransportAddress:
    """An address, and the port where the protocol has ports."""

    host: IPAddress
    port: int | None = None

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port < 65536:
            raise ValueError(f"port {self.port}: expected 0 to 65535")

    def __str__(self) -> str:
        if self.port is None:
            return str(self.host)
        return f"{self.host}:{self.port}" if self.host.version == 4 else f"[{self.host}]:{self.port}"


@dataclass(frozen=True)
class Sighting:
    """A packet of the flow at one point.

    `identifier` is an ICMP echo's identifier, which NAT may rewrite as it rewrites ports. `time_ns` is the
    first time that it was seen there, in nanoseconds since the epoch; `count` says how many packets
    looked the same. `note` is what the addresses do not show (what an ICMP error says, which tunnel).
    """

    point: str
    leg: Leg
    direction: Direction
    source: TransportAddress
    destination: TransportAddress
    time_ns: int
    identifier: int | None = None
    count: int = 1
    note: str = ""

    def __post_init__(self) -> None:
        if self.source.host.version != self.destination.host.version:
            raise ValueError(f"{self.point}: {self.source} -> {self.destination} mixes IPv4 and IPv6")
        if self.count < 1:
            raise ValueError(f"{self.point}: a sighting of {self.count} packets is none")

    def __str__(self) -> str:
        return f"{self.point} {self.leg.value} {self.direction.value}: {self.source} -> {self.destination}"


@dataclass(frozen=True)
class ConntrackTuple:
    """One direction of a tracked connection: what identifies its packets (nf_conntrack_tuple.h)."""

    protocol: str
    source: TransportAddress
    destination: TransportAddress
    icmp_id: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None

    def __str__(self) -> str:
        icmp = "" if self.icmp_id is None else f" id {self.icmp_id} type {self.icmp_type}"
        return f"{self.protocol} {self.source} -> {self.destination}{icmp}"


@dataclass(frozen=True)
class ConntrackEntry:
    """A connection as conntrack remembers it.

    `original` are the addresses of the first packet before any NAT, `reply` those that conntrack expects of
    an answer before NAT is undone: where reply is not original turned round, the connection is translated.
    `status` are the kernel's words (include/uapi/linux/netfilter/nf_conntrack_common.h), with UNREPLIED for a
    connection that has SEEN_REPLY not set, as conntrack(8) prints it. `state` is TCP's, and empty otherwise.
    """

    original: ConntrackTuple
    reply: ConntrackTuple
    status: frozenset[str] = frozenset()
    state: str = ""
    mark: int = 0
    timeout: int | None = None  # seconds until it is forgotten
    zone: int = 0

    def __post_init__(self) -> None:
        if self.original.protocol != self.reply.protocol:
            raise ValueError(f"{self.original.protocol} is answered by {self.reply.protocol}")

    @property
    def protocol(self) -> str:
        """The protocol's name (tcp, udp, icmp, icmpv6), or its number where it has no name here."""
        return self.original.protocol

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.original.source.host.version

    @property
    def assured(self) -> bool:
        """Whether it is kept when the table is full: there was traffic both ways, and enough of it."""
        return "ASSURED" in self.status

    @property
    def unreplied(self) -> bool:
        """Whether no packet has come back yet."""
        return "UNREPLIED" in self.status

    @property
    def source_nat(self) -> bool:
        """Whether its source is rewritten (SNAT, MASQUERADE)."""
        return "SRC_NAT" in self.status

    @property
    def destination_nat(self) -> bool:
        """Whether its destination is rewritten (DNAT, REDIRECT)."""
        return "DST_NAT" in self.status

    def carries(self, sighting: Sighting) -> bool:
        """Whether a packet with these addresses can belong to it, at any stage of translation.

        A request passes up to three stages: untranslated, after DNAT (PREROUTING), after SNAT
        (POSTROUTING); its reply passes the same three, turned round. An ICMP error has addresses of its own
        and is never matched.
        """
        if sighting.leg is Leg.ERROR:
            return False
        ends = (sighting.source, sighting.destination)
        if sighting.leg is Leg.REPLY:
            ends = (sighting.destination, sighting.source)
        known_ids = (self.original.icmp_id, self.reply.icmp_id)
        return ends in self.stages() and sighting.identifier in known_ids

    def stages(self) -> tuple[tuple[TransportAddress, TransportAddress], ...]:
        """Source and destination of a request: untranslated, after DNAT, after DNAT and SNAT."""
        return (
            (self.original.source, self.original.destination),
            (self.original.source, self.reply.source),
            (self.reply.destination, self.reply.source),
        )


@dataclass(frozen=True)
class TrackedConnection:
    """A conntrack entry, and the name of the namespace in whose table it stands."""

    namespace: str
    entry: ConntrackEntry


@dataclass(frozen=True)
class ObservedFlow:
    """A flow as all observers saw it: `points` that were watched, sightings in order of time, conntrack.

    `tracked_in` names the namespaces whose conntrack tables were read, so that "no entry" can be told from
    "not asked".
    """

    title: str
    points: tuple[str, ...]
    sightings: tuple[Sighting, ...]
    tracked_in: tuple[str, ...] = ()
    connections: tuple[TrackedConnection, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.points)) != len(self.points):
            raise ValueError(f"{self.title}: two points have the same name: {', '.join(self.points)}")
        strangers = {sighting.point for sighting in self.sightings} - set(self.points)
        if strangers:
            raise ValueError(f"{self.title}: seen at {', '.join(sorted(strangers))}, which nobody watched")

    def leg(self, leg: Leg) -> tuple[Sighting, ...]:
        """The sightings of one leg, in order of time."""
        return tuple(sighting for sighting in self.sightings if sighting.leg is leg)

    def at(self, point: str, leg: Leg) -> tuple[Sighting, ...]:
        """What was seen of one leg at one point; empty where it did not pass.

        Raises KeyError for a point that was not watched: that nothing is known of it is not silence.
        """
        if point not in self.points:
            raise KeyError(f"{point!r} was not watched; points: {', '.join(self.points)}")
        return tuple(sighting for sighting in self.leg(leg) if sighting.point == point)

    def path(self, leg: Leg) -> tuple[tuple[str, str, str], ...]:
        """(point, source, destination) of one leg, in order of time: the line that a test compares."""
        return tuple((s.point, str(s.source), str(s.destination)) for s in self.leg(leg))

    def unseen(self, leg: Leg) -> tuple[str, ...]:
        """The watched points that one leg did not pass."""
        return tuple(point for point in self.points if not self.at(point, leg))

    def with_rewrites(self, leg: Leg) -> Iterator[tuple[Sighting, tuple[str, ...]]]:
        """Each sighting of one leg, with what was rewritten since the sighting before it."""
        before: Sighting | None = None
        for sighting in self.leg(leg):
            yield sighting, () if before is None else tuple(_rewrites(before, sighting))
            before = sighting


def _rewrites(before: Sighting, after: Sighting) -> Iterator[str]:
    """What happened to a packet between two points, in words."""
    for what, old, new in (
        ("source", before.source, after.source),
        ("destination", before.destination, after.destination),
        ("ICMP id", before.identifier, after.identifier),
    ):
        if old != new:
            yield f"{what} rewritten {old} -> {new}"
