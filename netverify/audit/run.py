"""An audit: every check asked, with what could not be asked said as such."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from netverify.audit.case import Case
from netverify.audit.checks import CHECKS
from netverify.audit.finding import Finding, in_order
from netverify.audit.kind import Check
from netverify.dataplane.errors import DataplaneError


@dataclass(frozen=True)
class Audit:
    """What came of it; `notes` are what the model assumed about the host."""

    host: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def also(self, findings: Iterable[Finding]) -> Audit:
        """The same with more findings."""
        return replace(self, findings=tuple(in_order([*self.findings, *findings])))


def audit(case: Case, checks: Sequence[Check] = CHECKS) -> Audit:
    """Make every check of a host. The worst findings come first."""
    found = [finding for check in checks for finding in _made(case, check)]
    return Audit(case.snapshot.name, tuple(in_order(found)), case.subject.notes)


def _made(case: Case, check: Check) -> Iterator[Finding]:
    """What a check finds, or that it has no answer, where a part is missing that it needs, or the model."""
    lost = case.missing(check.kind.needs)
    if lost:
        yield check.kind.unknown(case.snapshot.name, "not collected: " + "; ".join(lost))
        return
    try:
        yield from check.find(case, check.kind)
    except DataplaneError as error:  # too many packets to keep apart, or models that disagree
        yield check.kind.unknown(case.snapshot.name, str(error))
