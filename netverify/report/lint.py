"""Findings in rules, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from netverify.dataplane.program import table_of
from netverify.model.changes import HostLint
from netverify.model.naming import place_words
from netverify.model.subject import Subject
from netverify.reachability.text import printable


def render(subject: Subject, found: Sequence[HostLint]) -> str:
    """Every finding, by host and IP version."""
    lines = [f"{subject.title}: {_count(sum(len(each.findings) for each in found))}"]
    for each in found:
        if each.findings:
            lines += ["", f"{each.host}, {_version(each)}"]
        for finding in each.findings:
            lines += [f"  {finding.kind}  {place_words(finding.place)}", f"      {finding.text}"]
            if finding.remedy:
                lines.append(f"      remedy: {finding.remedy}")
    lacks = tuple(dict.fromkeys(lack for each in found for lack in each.lacks))
    if lacks:
        lines += ["", "Unknown, so that there may be more", *(f"    {lack}" for lack in lacks)]
    if subject.notes:
        lines += ["", "Assumed", *(f"    {note}" for note in subject.notes)]
    return "\n".join(printable(line) for line in lines)


def render_json(subject: Subject, found: Sequence[HostLint]) -> str:
    """The same for programs; the family is null for what nftables has for both IP versions at once."""
    findings = [
        {
            "host": each.host,
            "family": each.version,
            "kind": finding.kind,
            "table": table_of(finding.place),
            "chain": finding.place.chain,
            "number": finding.place.number,
            "text": finding.text,
            "by": [str(place) for place in finding.by],
            "remedy": finding.remedy,
        }
        for each in found
        for finding in each.findings
    ]
    lacks = dict.fromkeys(str(lack) for each in found for lack in each.lacks)
    document = {
        "format": "netverify lint",
        "version": 1,
        "subject": subject.title,
        "findings": findings,
        "unknown": list(lacks),
        "notes": list(subject.notes),
    }
    return json.dumps(document, indent=2)


def exit_code(found: Sequence[HostLint]) -> int:
    """1 when something was found, 3 when not everything could be looked at, else 0."""
    if any(each.findings for each in found):
        return 1
    return 3 if any(each.lacks for each in found) else 0


def _version(each: HostLint) -> str:
    return "IPv4 and IPv6" if each.version is None else f"IPv{each.version}"


def _count(number: int) -> str:
    return "nothing found" if number == 0 else "1 finding" if number == 1 else f"{number} findings"
