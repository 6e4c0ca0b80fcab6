"""Findings, asked of a twin with real packets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify.audit.case import Case
from netverify.audit.finding import Confirmation, Evidence, Finding, Sending
from netverify.audit.run import audit
from netverify.kernel.confirm import confirm, refuted
from tests.audit.checks.test_published import published_on, with_input_closed
from tests.audit.hosts import case, usual

CONFIRMED, REFUTED = Confirmation.CONFIRMED, Confirmation.REFUTED
pytestmark = pytest.mark.needs("iptables-legacy")


def said(of: Case) -> dict[tuple[str, str], Confirmation]:
    """What the twin says of each finding that has a packet to show."""
    found = confirm(of.subject, audit(of).findings).findings
    shown = (each for each in found if each.evidence is not None)
    return {(each.id, each.subject): each.confirmation for each in shown}


@pytest.mark.parametrize("version", ["18.03.1", "26.1.4", "28.5.2"])
def test_every_finding_with_a_packet_is_confirmed(version: str) -> None:
    """Published ports behind a closed INPUT; IPv6 without rules; forged sources; neighbours who go around."""
    host = usual(version)
    confirmations = said(case(host, ipv4=with_input_closed(host)))
    assert ("published-beyond-firewall", "bridge-2 tcp/8080 from lan") in confirmations
    assert set(confirmations.values()) == {CONFIRMED}, confirmations


def test_a_neighbour_who_sends_what_is_for_loopback() -> None:
    confirmations = said(case(published_on("127.0.0.1", "26.1.4")))
    key = ("loopback-publication-reachable", "front-2 tcp/8443 at 127.0.0.1 from lan")
    assert confirmations[key] is CONFIRMED


def test_a_wrong_finding_is_refuted() -> None:
    of = case(published_on("127.0.0.1", "28.5.2"))
    wrong = Sending("lan", "127.0.0.1", "tcp", 8443, 4)
    finding = Finding("made-up", "a wrong finding", audit(of).findings[0].severity, "web", "because")
    findings = (
        replace(finding, evidence=Evidence("a packet", (), wrong)),
        replace(finding, subject="right", evidence=Evidence("a packet", (), replace(wrong, arrives=False))),
        replace(finding, subject="silent"),
    )
    found = confirm(of.subject, findings).findings
    assert [each.confirmation for each in found] == [REFUTED, CONFIRMED, Confirmation.NOT_ASKED]
    assert [each.subject for each in refuted(found)] == ["web"]
