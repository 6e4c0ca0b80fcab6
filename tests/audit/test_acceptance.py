"""Accepted findings: until when, which, and what is said of entries that are no longer any use."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from netverify.audit.acceptance import loads, sort
from netverify.audit.finding import Finding, Severity
from netverify.errors import InputError

TODAY = date(2026, 11, 21)
FINDING = Finding(
    "published-beyond-firewall", "Open to the world", Severity.HIGH, "web tcp/80", "ufw does not see it"
)
ENTRY = """
accepted:
  - id: published-beyond-firewall
    subject: "web *"
    reason: behind the load balancer
    expires: {expires}
"""


@pytest.mark.parametrize(
    ("expires", "is_open"), [("2026-11-20", True), ("2026-11-21", False), ("2027-01-01", False)]
)
def test_an_entry_ends_after_its_day(expires: str, is_open: bool) -> None:
    (entry,) = loads(ENTRY.format(expires=expires), "accepted.yaml")
    found = sort([FINDING], [entry], TODAY)
    assert bool(found.open) is is_open
    assert bool(found.accepted) is not is_open
    assert found.expired == ((entry,) if is_open else ())
    assert found.unused == ()


@pytest.mark.parametrize(
    "other",
    [
        replace(FINDING, subject="db tcp/80"),
        replace(FINDING, id="isolation-bypassed"),
        replace(FINDING, unknown="iptables-save.txt was not collected"),
    ],
    ids=["another subject", "another kind", "not known"],
)
def test_it_covers_nothing_else(other: Finding) -> None:
    (entry,) = loads(ENTRY.format(expires="2027-01-01"), "accepted.yaml")
    found = sort([other], [entry], TODAY)
    assert found.open == (other,)
    assert found.unused == (entry,)


def test_a_fingerprint_means_one_finding() -> None:
    text = f"accepted: [{{fingerprint: '{FINDING.fingerprint}', reason: r, expires: 2027-01-01}}]"
    entries = loads(text, "accepted.yaml")
    other = replace(FINDING, subject="web tcp/81")
    assert sort([FINDING, other], entries, TODAY).open == (other,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accepted: [{id: a, expires: 2027-01-01}]", "accepted.yaml:1:12: accepted[0]: it has no reason"),
        ("accepted: [{id: a, reason: r}]", "it has no expires"),
        ("accepted: [{reason: r, expires: 2027-01-01}]", "it names no finding"),
        ("accepted: [{id: a, reason: r, expires: soon}]", "accepted[0].expires: 'soon' is no day"),
        ("accepted: [{id: a, reason: ' ', expires: 2027-01-01}]", "the reason is empty"),
        ("accepted: [{id: a, because: r, expires: 2027-01-01}]", "the key 'because' is unknown"),
        ("", "accepted.yaml: it is empty; expected a list of accepted findings"),
    ],
)
def test_mistakes_are_located(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        loads(text, "accepted.yaml")
    assert said in str(caught.value)
