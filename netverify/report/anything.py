"""What can get through at all: pair by pair, each with such a packet and the rule that lets it pass."""

from __future__ import annotations

import json
from collections.abc import Sequence

from netverify.dataplane.trace import packet_facts
from netverify.model.anything import Anything, Packets, Passage
from netverify.reachability.text import printable, table

_SYMBOLS = (
    (".", "some packet arrives, and its answer as well"),
    (">", "some packet arrives, but no answer comes back"),
    ("?", "some packet may arrive: it depends on what is not known"),
    ("X", "no packet arrives"),
)


def render(found: Sequence[Anything], packets: Packets) -> str:
    """For each IP version a table, and an example for each pair that something passes."""
    lines = [f"{found[0].subject.title}: {packets}"]
    for each in found:
        lines += ["", f"IPv{each.version}", "", *_table(each), ""]
        for passage in each.passages:
            lines.append(f"  {passage.source} -> {passage.target}  {passage.example.packet}")
            if passage.rule is not None:
                lines.append(f"      by {passage.rule}")
            lines += (f"      if {'' if value else 'not '}{name}" for name, value in passage.example.assumed)
    lacks = dict.fromkeys(lack for each in found for lack in each.lacks)
    if lacks:
        lines += ["", "Unknown, and needed for an answer", *(f"    {lack}" for lack in lacks)]
    if found[0].subject.notes:
        lines += ["", "Assumed", *(f"    {note}" for note in found[0].subject.notes)]
    return "\n".join(printable(line) for line in lines)


def _table(found: Anything) -> list[str]:
    known = {(each.source, each.target): _symbol(each) for each in found.passages}
    node = {endpoint.name: endpoint.node for endpoint in found.subject.endpoints}
    grid = [
        ["-" if node[row] == node[column] else known.get((row, column), "X") for column in found.targets]
        for row in found.sources
    ]
    lines = table([*map(printable, found.sources)], [*map(printable, found.targets)], grid)
    counts = {symbol: sum(row.count(symbol) for row in grid) for symbol, _ in _SYMBOLS}
    return [
        *lines,
        "",
        *(f"{counts[symbol]:>5}  {symbol}  {meaning}" for symbol, meaning in _SYMBOLS if counts[symbol]),
    ]


def _symbol(passage: Passage) -> str:
    if not passage.surely:
        return "?"
    return "." if passage.answered else ">"


def render_json(found: Sequence[Anything], packets: Packets) -> str:
    """The same for programs. Pairs that are not there are passed by no packet."""
    passages = [
        {
            "family": each.version,
            "src": passage.source,
            "dst": passage.target,
            "surely": passage.surely,
            "answered": passage.answered,
            "packet": packet_facts(passage.example.packet),
            "rule": None if passage.rule is None else str(passage.rule),
            "assumed": dict(passage.example.assumed),
        }
        for each in found
        for passage in each.passages
    ]
    document = {
        "format": "netverify reach any",
        "version": 1,
        "subject": found[0].subject.title,
        "packets": str(packets),
        "asked": [
            {"family": each.version, "sources": each.sources, "targets": each.targets} for each in found
        ],
        "passages": passages,
        "unknown": list(dict.fromkeys(str(lack) for each in found for lack in each.lacks)),
        "notes": list(found[0].subject.notes),
    }
    return json.dumps(document, indent=1)
