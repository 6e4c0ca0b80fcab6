"""What NAT makes of one flow: the same packet seen at several points of its way, and in conntrack.

    with NatView(visitor, [Point("bridge br-a", host, "br-a"), ...], conntrack=[host]) as view:
        ...send...
    print(view.table(Echo(identifier, sequence)))

Which addresses a point shows depends on where its tap stands: a device shows what it receives before
PREROUTING and what it sends after POSTROUTING, and br_netfilter moves PREROUTING in front of a bridge; see
netverify.kernel.capture, "Where the tap stands".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from netverify.errors import InputError
from netverify.kernel.capture import DEFAULT_CAPACITY, Capture, Frame
from netverify.kernel.conntrack import Conntrack, Snapshot
from netverify.kernel.flow_key import FlowKey, Header, read_header
from netverify.kernel.namespace import Namespace, Visitor
from netverify.reachability.flow import Leg, ObservedFlow, Sighting, TrackedConnection
from netverify.report.nat import nat_table


@dataclass(frozen=True)
class Point:
    """Where to watch: an interface of a namespace, under the name that the table shows."""

    name: str
    namespace: Namespace
    interface: str


class NatView:
    """Watches several points and conntrack tables at once, and tells flows apart afterwards.

    Every point is watched before `__enter__` returns, and `bpf` (pcap-filter(7)) narrows what all of them
    keep; it sees addresses as they are at each point. `conntrack` names the namespaces whose tables are read:
    at exit, or whenever a flow is asked for before that. Raises what Capture and Conntrack raise.
    """

    def __init__(
        self,
        visitor: Visitor,
        points: Sequence[Point],
        *,
        conntrack: Sequence[Namespace] = (),
        bpf: str = "",
        capacity: int = DEFAULT_CAPACITY,
    ) -> None:
        names = [point.name for point in points]
        if not names or len(set(names)) != len(names):
            raise InputError(f"a NatView needs points with names of their own; got {names}")
        self._visitor = visitor
        self._captures = {
            point.name: Capture(visitor, point.namespace, point.interface, bpf=bpf, capacity=capacity)
            for point in points
        }
        self._tracked_in = tuple(conntrack)
        self._tables: list[Conntrack] = []
        self._final: dict[str, Snapshot] | None = None
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        with self._resources:
            for namespace in self._tracked_in:
                self._tables.append(self._resources.enter_context(Conntrack(self._visitor, namespace)))
            for capture in self._captures.values():
                self._resources.enter_context(capture)
            self._resources = self._resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._final = self._snapshots()
        finally:
            # A capture with a gap says so here: by itself, or in a note to the error that ended the block.
            self._resources.__exit__(kind, error, trace)

    @property
    def captures(self) -> dict[str, Capture]:
        """The capture at each point, by the point's name."""
        return dict(self._captures)

    def flow(self, key: FlowKey) -> ObservedFlow:
        """What was seen of one flow until now; raises CaptureError where a capture has a gap."""
        sightings = _merged(self._sightings(key))
        return ObservedFlow(
            title=str(key),
            points=tuple(self._captures),
            sightings=sightings,
            tracked_in=tuple(namespace.name for namespace in self._tracked_in),
            connections=tuple(self._connections(sightings)) if sightings else (),
        )

    def table(self, key: FlowKey) -> str:
        """`flow()` as a table: point, direction, source, destination, note."""
        return nat_table(self.flow(key))

    def write(self, directory: Path) -> tuple[Path, ...]:
        """Write each point's capture as a pcap file into `directory`, named after the point."""
        paths = []
        for number, (name, capture) in enumerate(self._captures.items(), 1):
            path = directory / f"{number}-{re.sub('[^A-Za-z0-9.-]+', '-', name)}.pcap"
            capture.write(path)
            paths.append(path)
        return tuple(paths)

    def _connections(self, sightings: Sequence[Sighting]) -> Iterator[TrackedConnection]:
        addresses = {end.host for sighting in sightings for end in (sighting.source, sighting.destination)}
        for namespace, snapshot in self._snapshots().items():
            for entry in snapshot.entries(addresses):
                if any(entry.carries(sighting) for sighting in sightings):
                    yield TrackedConnection(namespace, entry)

    def _snapshots(self) -> dict[str, Snapshot]:
        if self._final is not None:
            return self._final
        return {table.namespace.name: table.snapshot() for table in self._tables}

    def _sightings(self, key: FlowKey) -> Iterator[Sighting]:
        found = sorted(
            (
                (frame, name, header)
                for name, capture in self._captures.items()
                for frame in capture.caught()
                if key.may_be_in(frame.data) and (header := read_header(frame)) is not None
            ),
            key=lambda item: item[0].time_ns,  # stable: at equal times the points' own order decides
        )
        legs = key.legs([header for _, _, header in found])
        for (frame, point, header), leg in zip(found, legs, strict=True):
            if leg is not None:
                yield _sighting(point, leg, frame, header)


def _sighting(point: str, leg: Leg, frame: Frame, header: Header) -> Sighting:
    return Sighting(
        point=point,
        leg=leg,
        direction=frame.direction,
        source=header.source,
        destination=header.destination,
        time_ns=frame.time_ns,
        identifier=header.identifier,
        note="; ".join(filter(None, (header.summary, header.tunnel))),
    )


def _merged(sightings: Iterable[Sighting]) -> tuple[Sighting, ...]:
    """Count packets that look the same at the same point (retransmissions), instead of repeating them."""
    result: dict[Sighting, Sighting] = {}
    for sighting in sightings:
        alike = replace(sighting, time_ns=0)
        first = result.get(alike)
        result[alike] = sighting if first is None else replace(first, count=first.count + 1)
    return tuple(result.values())
