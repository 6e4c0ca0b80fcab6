"""Findings that somebody has accepted: which, why, and until when.

A file lists them, so that accepting one is a reviewed change and ends by itself:

    accepted:
      - id: published-beyond-firewall
        subject: "web *"
        reason: behind the load balancer, ticket OPS-114
        expires: 2027-03-31
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

from netverify.audit.finding import Finding
from netverify.errors import InputError
from netverify.topology.document import Cursor, Document

_KEYS = {"id": "", "subject": "", "fingerprint": "", "reason": "", "expires": ""}


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One entry. `subject` is a pattern with `*` and `?`; a fingerprint means one finding and no other."""

    id: str
    subject: str
    fingerprint: str
    reason: str
    expires: date

    def covers(self, finding: Finding) -> bool:
        """Whether it speaks of this finding, whatever the day."""
        if self.fingerprint and self.fingerprint != finding.fingerprint:
            return False
        if self.id and self.id != finding.id:
            return False
        return fnmatchcase(finding.subject, self.subject)


@dataclass(frozen=True, slots=True)
class Sorted:
    """Findings by what acceptance makes of them; `expired` and `unused` are entries to be looked at again."""

    open: tuple[Finding, ...]
    accepted: tuple[tuple[Finding, Acceptance], ...]
    expired: tuple[Acceptance, ...]
    unused: tuple[Acceptance, ...]


def sort(findings: Sequence[Finding], accepted: Sequence[Acceptance], today: date) -> Sorted:
    """Tell accepted findings from open ones. An entry counts up to and including the day it expires.

    What could not be looked at is never accepted: there is nothing yet that somebody could have accepted.
    """
    still_open: list[Finding] = []
    taken: list[tuple[Finding, Acceptance]] = []
    used: set[Acceptance] = set()
    for finding in findings:
        covering = [entry for entry in accepted if not finding.unknown and entry.covers(finding)]
        used.update(covering)
        valid = [entry for entry in covering if entry.expires >= today]
        if valid:
            taken.append((finding, valid[0]))
        else:
            still_open.append(finding)
    return Sorted(
        tuple(still_open),
        tuple(taken),
        tuple(entry for entry in accepted if entry.expires < today),
        tuple(entry for entry in accepted if entry not in used),
    )


def load(path: str | Path) -> tuple[Acceptance, ...]:
    """The entries of a file. Raises InputError with file, line and key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the accepted findings in {path}: {error}") from error
    return loads(text, str(path))


def loads(text: str, file: str) -> tuple[Acceptance, ...]:
    """The entries of a text; `file` is its name in errors. Raises InputError."""
    found: list[Acceptance] = []
    root = Document(text, file, "a list of accepted findings under the key `accepted`").root()
    for _key, entries in root.known_items({"accepted": ""}, "the key `accepted` with a list"):
        found += [_entry(entry) for entry in entries.values("a list of entries")]
    return tuple(found)


def _entry(entry: Cursor) -> Acceptance:
    given = dict(entry.known_items(_KEYS, "id, subject, reason and expires"))
    if "id" not in given and "fingerprint" not in given:
        entry.fail("it names no finding", "an id, a fingerprint, or both")
    for key in ("reason", "expires"):
        if key not in given:
            entry.fail(f"it has no {key}", f"each accepted finding with a {key}")
    words = {key: value.text() for key, value in given.items()}
    try:
        expires = date.fromisoformat(words["expires"])
    except ValueError:
        given["expires"].fail(f"{words['expires'][:40]!r} is no day", "a day such as 2027-03-31")
    if not words["reason"].strip():
        given["reason"].fail("the reason is empty", "why the finding is accepted")
    return Acceptance(
        words.get("id", ""), words.get("subject", "*"), words.get("fingerprint", ""), words["reason"], expires
    )
