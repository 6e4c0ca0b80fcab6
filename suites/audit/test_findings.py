"""A real host against every check of the audit: one test for each kind of finding."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from netverify.audit.acceptance import Acceptance
from netverify.audit.case import Case
from netverify.audit.checks import CHECKS
from netverify.audit.finding import Severity
from netverify.audit.kind import Check
from netverify.audit.run import audit
from netverify.report.findings import render


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.kind.id)
def test_nothing_is_found(
    host: Case, check: Check, accepted: Sequence[Acceptance], fail_on: Severity
) -> None:
    """No finding of this kind that is as bad as --fail-on, and that nobody has accepted.

    What nobody could look at fails too: it is not known to be fine.
    """
    found = [
        finding
        for finding in audit(host, [check]).findings
        if finding.unknown
        or (finding.severity >= fail_on and not any(entry.covers(finding) for entry in accepted))
    ]
    if found:
        pytest.fail(render(found, host.snapshot.name), pytrace=False)
