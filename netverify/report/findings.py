"""Findings as text for a terminal and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from netverify.audit.finding import Confirmation, Finding, Severity, in_order
from netverify.reachability.text import printable

WIDTH = 100
SHOWN_CELLS = 8  # of one finding; the rest is counted
FORMAT, VERSION = "netverify findings", 1


def render(findings: Sequence[Finding], host: str, *, traces: bool = True) -> str:
    """How many findings there are of each severity, then each with evidence and remedy, the worst first.

    Without `traces` the packets that show them stand there without their ways.
    """
    lines = [f"{printable(host)}: {summary(findings)}"]
    for finding in in_order(list(findings)):
        lines += ["", *_told(finding, traces=traces)]
    return "\n".join(lines)


def summary(findings: Sequence[Finding]) -> str:
    """`3 findings: 1 critical, 2 low; 1 question could not be answered`."""
    known = [finding for finding in findings if not finding.unknown]
    counts = Counter(finding.severity for finding in known)
    parts = [
        f"{counts[severity]} {severity.word}"
        for severity in sorted(Severity, reverse=True)
        if counts[severity]
    ]
    said = f"{_counted(len(known), 'finding')}: {', '.join(parts)}" if parts else "no findings"
    unknown = len(findings) - len(known)
    return f"{said}; {_counted(unknown, 'question')} could not be answered" if unknown else said


def to_json(findings: Sequence[Finding], host: str) -> str:
    """A JSON document with every field of every finding."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "host": host,
        "findings": [finding.facts() for finding in in_order(list(findings))],
    }
    return json.dumps(document, indent=2) + "\n"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _told(finding: Finding, *, traces: bool) -> Iterator[str]:
    label = "UNKNOWN" if finding.unknown else finding.severity.word.upper()
    confirmed = (
        "" if finding.confirmation is Confirmation.NOT_ASKED else f"  [twin: {finding.confirmation.value}]"
    )
    yield f"{label}  {printable(finding.title)}  ({finding.id}: {printable(finding.subject)}){confirmed}"
    if finding.unknown:
        yield from _wrapped("not known: ", finding.unknown)
    yield from _wrapped("why: ", finding.why)
    for cell in finding.cells[:SHOWN_CELLS]:
        yield f"    cell: {printable(str(cell))}"
    if len(finding.cells) > SHOWN_CELLS:
        yield f"    and {len(finding.cells) - SHOWN_CELLS} more cells"
    for rule in finding.rules:
        yield f"    rule: {printable(str(rule))}"
    if finding.evidence is not None:
        yield f"    packet: {printable(finding.evidence.packet)}"
        shown = finding.evidence.trace if traces else ()
        yield from (f"        {printable(line)}" if line else "" for line in shown)
    for command in finding.remedy:
        yield f"    remedy: {printable(command)}"
    if finding.references:
        yield f"    see: {', '.join(map(printable, finding.references))}"
    yield f"    fingerprint: {finding.fingerprint}"


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        label + printable(text), WIDTH, initial_indent="    ", subsequent_indent=" " * (4 + len(label))
    )
