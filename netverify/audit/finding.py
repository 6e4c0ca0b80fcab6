"""One finding: what is wrong on a host, where, how it is shown, why it matters and what to do about it.

A finding is data. Texts in it come from hosts that nobody vouches for (names, rules, comments): whoever
prints one escapes them for its medium.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from enum import Enum, IntEnum

_IDENTITY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Severity(IntEnum):
    """How bad it is; in order, so that a threshold is a comparison."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        """As it is written on the command line and in reports."""
        return self.name.lower()

    @classmethod
    def named(cls, word: str) -> Severity:
        """The severity of that name. Raises ValueError with the names that there are."""
        for member in cls:
            if member.word == word.lower():
                return member
        raise ValueError(f"{word!r} is no severity: expected one of {', '.join(m.word for m in cls)}")


class Confirmation(Enum):
    """What a twin of the host said of a finding, asked with real packets."""

    NOT_ASKED = "not asked"
    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    NOT_TWINNED = "not twinned"


@dataclass(frozen=True, slots=True)
class RuleReference:
    """A rule as a person finds it again: its program's backend, its place, its text. Number 0 is a policy."""

    backend: str
    family: str
    table: str
    chain: str
    number: int
    text: str

    def __str__(self) -> str:
        last = "policy" if self.number == 0 else f"rule {self.number}"
        return f"{self.backend} {self.family} {self.table} {self.chain} {last}: {self.text}"


@dataclass(frozen=True, slots=True)
class CellReference:
    """One cell of the host's matrix: who, whom, at which address, over which service."""

    source: str
    target: str
    service: str = ""

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}" + (f" ({self.service})" if self.service else "")


@dataclass(frozen=True, slots=True)
class Sending:
    """A packet that a twin can be asked to send, and whether the model says that it arrives.

    `source` is an endpoint's name; `protocol`, `port` and `version` are those of a `reachability.Probe`.
    """

    source: str
    address: str
    protocol: str
    port: int | None
    version: int
    source_address: str | None = None
    arrives: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """A packet that shows it, its way through the host, line by line, and how to send it."""

    packet: str
    trace: tuple[str, ...] = ()
    sending: Sending | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that somebody should know about a host.

    `id` names the kind of finding and never changes between versions; `subject` is what it is about (a
    network, a container, a rule), so that the two together tell findings of one host apart. `unknown` is not
    empty where the answer could not be had: it names the part that was not collected, and the finding is then
    a statement of ignorance, not of a fault.
    """

    id: str
    title: str
    severity: Severity
    subject: str
    why: str
    remedy: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    cells: tuple[CellReference, ...] = ()
    rules: tuple[RuleReference, ...] = ()
    evidence: Evidence | None = None
    confirmation: Confirmation = Confirmation.NOT_ASKED
    unknown: str = ""

    def __post_init__(self) -> None:
        if not _IDENTITY.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is no id of a finding: expected words like `isolation-bypassed`")
        if not self.title or not self.subject or not self.why:
            raise ValueError(f"finding {self.id}: it needs a title, a subject and a reason")

    @property
    def fingerprint(self) -> str:
        """The same for the same finding of two runs: of its id, its subject and the text of its rules.

        Numbers of rules and counters move without anything being different, so they do not take part.
        """
        parts = [self.id, self.subject, *sorted({rule.text for rule in self.rules}), self.unknown]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def facts(self) -> dict[str, object]:
        """The finding for JSON."""
        return asdict(self) | {
            "severity": self.severity.word,
            "confirmation": self.confirmation.value,
            "fingerprint": self.fingerprint,
        }


def in_order(findings: list[Finding]) -> list[Finding]:
    """The worst first; of one severity by id and subject; what is merely unknown after what is known."""
    return sorted(findings, key=lambda f: (bool(f.unknown), -f.severity, f.id, f.subject))
