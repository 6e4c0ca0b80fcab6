"""Kinds of findings: what an id stands for, and what must be known before anybody may say that it is fine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from netverify.audit.case import Case
from netverify.audit.finding import CellReference, Confirmation, Evidence, Finding, RuleReference, Severity
from netverify.docker.errors import DockerError


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    `needs` are the parts of a snapshot without which the question has no answer. `references` are numbers of
    CVEs, issues of moby (`moby#45610`) and the like, where one is documented.
    """

    id: str
    title: str
    severity: Severity
    why: str
    needs: tuple[str, ...] = ()
    references: tuple[str, ...] = ()

    def found(
        self,
        subject: str,
        *,
        remedy: Sequence[str] = (),
        cells: Iterable[CellReference] = (),
        rules: Iterable[RuleReference] = (),
        evidence: Evidence | None = None,
        title: str = "",
        severity: Severity | None = None,
        references: Sequence[str] = (),
    ) -> Finding:
        """A finding of this kind; title and severity are the kind's unless this one differs."""
        return Finding(
            self.id,
            title or self.title,
            self.severity if severity is None else severity,
            subject,
            self.why,
            tuple(remedy),
            (*self.references, *references),
            tuple(cells),
            tuple(rules),
            evidence,
        )

    def unknown(self, subject: str, reason: str) -> Finding:
        """That nobody can say whether there is one: what was not collected, and why."""
        return Finding(
            self.id,
            self.title,
            self.severity,
            subject,
            self.why,
            references=self.references,
            confirmation=Confirmation.NOT_ASKED,
            unknown=reason,
        )


Find = Callable[[Case, Kind], Iterable[Finding]]
"""Looks for findings of one kind."""


def knowing(*finds: Find) -> Find:
    """Checks that compare with what the engine means to have: unknown where nobody knows its rules."""

    def known(case: Case, kind: Kind) -> Iterator[Finding]:
        try:
            case.intended  # noqa: B018  asked for its error
        except DockerError as error:
            yield kind.unknown(case.snapshot.name, str(error))
        else:
            for find in finds:
                yield from find(case, kind)

    return known


@dataclass(frozen=True, slots=True)
class Check:
    """A kind, and who looks for it."""

    kind: Kind
    find: Find


IPTABLES = (
    "iptables-save.txt",
    "iptables-legacy-save.txt",
    "ip6tables-save.txt",
    "ip6tables-legacy-save.txt",
    "nft.json",
)
ROUTING = ("route.json", "rule.json", "sysctl.txt")
ENGINE = ("docker-networks.json", "docker-containers.json")
FORWARDING = (*IPTABLES, *ROUTING, *ENGINE)
"""What an answer about packets between containers depends on."""
