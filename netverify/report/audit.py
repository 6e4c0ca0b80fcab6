"""An audit in each of its formats, and the list of what it looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from netverify.audit.acceptance import Sorted
from netverify.audit.finding import Severity
from netverify.audit.kind import Kind
from netverify.reachability.text import printable
from netverify.report import findings, findings_html, junit, sarif


@dataclass(frozen=True)
class Told:
    """What an audit has to say.

    `source` is the file that was looked at, `kinds` are the kinds of findings that were looked for, by id
    with their titles, `fail_on` is the least severity that counts, and `notes` are what was assumed.
    With `traces` the text has the ways of packets too.
    """

    host: str
    source: str
    sorted: Sorted
    kinds: Mapping[str, str]
    fail_on: Severity = Severity.LOW
    notes: tuple[str, ...] = ()
    traces: bool = False


def render(told: Told, form: str) -> str:
    """The audit in a format: text, json, sarif, html or junit. Accepted findings are in the text alone."""
    return RENDERERS[form](told)


def listed(kinds: Iterable[Kind]) -> str:
    """What is looked for: id, the severity that it usually has, title."""
    rows = [(kind.id, kind.severity.word, kind.title) for kind in kinds]
    wide = max(len(identity) for identity, _, _ in rows)
    return "\n".join(f"{identity:<{wide}}  {word:<8}  {title}" for identity, word, title in rows)


def _text(told: Told) -> str:
    shown = findings.render(told.sorted.open, told.host, traces=told.traces)
    lines = [shown, *_about_acceptance(told.sorted)]
    if told.notes:
        lines += ["", "Assumed", *(f"    {printable(note)}" for note in told.notes)]
    return "\n".join(lines) + "\n"


def _about_acceptance(told: Sorted) -> Iterator[str]:
    if told.accepted:
        yield ""
        yield "Accepted"
    for finding, entry in told.accepted:
        about = f"{finding.severity.word}  {finding.id}: {finding.subject}"
        yield printable(f"    {about}  (until {entry.expires}: {entry.reason})")
    for entry in told.expired:
        yield printable(f"    expired on {entry.expires}: {entry.id or entry.fingerprint}: {entry.reason}")
    for entry in told.unused:
        yield printable(
            f"    accepts nothing that was found: {entry.id or entry.fingerprint} {entry.subject}"
        )


RENDERERS: Final[Mapping[str, Callable[[Told], str]]] = {
    "text": _text,
    "json": lambda told: findings.to_json(told.sorted.open, told.host),
    "sarif": lambda told: sarif.to_sarif(told.sorted.open, told.host, told.source),
    "html": lambda told: findings_html.to_html(told.sorted.open, told.host),
    "junit": lambda told: junit.to_junit(told.sorted.open, told.kinds, told.host, told.fail_on),
}
