"""A flow and its address translation as a table: point, direction, source, destination, note."""

from __future__ import annotations

from collections.abc import Iterator

from netverify.reachability.flow import Leg, ObservedFlow, TrackedConnection

COLUMNS = ("point", "direction", "source", "destination", "note")
_Row = tuple[str, str, str, str, str]
# Shown first among a connection's words; the rest of the kernel's words are bookkeeping.
_STATUS_SHOWN = ("UNREPLIED", "ASSURED", "SRC_NAT", "DST_NAT")


def nat_table(flow: ObservedFlow) -> str:
    """Print `flow`: request, then reply, then ICMP errors, each in order of time, then conntrack.

    A watched point that the request or the reply did not pass has a line that says so. The table ends without
    a newline.
    """
    rows: list[_Row] = [COLUMNS, *_rows(flow)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [flow.title] if flow.title else []
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _rows(flow: ObservedFlow) -> Iterator[_Row]:
    for leg in Leg:
        for sighting, rewrites in flow.with_rewrites(leg):
            notes = [*rewrites, sighting.note, f"{sighting.count} packets" if sighting.count > 1 else ""]
            yield (
                sighting.point,
                f"{leg.value} {sighting.direction.value}",
                str(sighting.source),
                str(sighting.destination),
                "; ".join(filter(None, notes)),
            )
        if leg is not Leg.ERROR:  # that no error came is no news
            for point in flow.unseen(leg):
                yield point, leg.value, "-", "-", "not seen"
    for namespace in flow.tracked_in:
        entries = [tracked for tracked in flow.connections if tracked.namespace == namespace]
        for tracked in entries:
            yield from _tracked(tracked)
        if not entries:
            yield f"conntrack {namespace}", "-", "-", "-", "no entry"


def _tracked(tracked: TrackedConnection) -> Iterator[_Row]:
    entry = tracked.entry
    words = [entry.protocol, entry.state, *(word for word in _STATUS_SHOWN if word in entry.status)]
    if entry.mark:
        words.append(f"mark {entry.mark:#x}")
    notes = (" ".join(filter(None, words)), "expected of the answer")
    for name, side, note in zip(("original", "reply"), (entry.original, entry.reply), notes, strict=True):
        if side.icmp_id is not None:
            note = f"{note}, ICMP id {side.icmp_id}"
        yield f"conntrack {tracked.namespace}", name, str(side.source), str(side.destination), note
