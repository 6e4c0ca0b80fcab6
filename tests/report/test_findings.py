"""Findings in every format: complete, in order, and harmless whatever a host calls its things."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from netverify.audit.finding import CellReference, Evidence, Finding, RuleReference, Severity
from netverify.report.findings import render, to_json
from netverify.report.findings_html import to_html
from netverify.report.junit import to_junit
from netverify.report.sarif import to_sarif

HOSTILE = "evil\x1b[2J<script>alert(1)</script>]]>&\"'{{7*7}}${x}\u202e\x00" + "A" * 65536
RULE = RuleReference("nft", "ipv4", "filter", "DOCKER-USER", 1, "-A DOCKER-USER -j ACCEPT")


def finding(subject: str = "br-a", severity: Severity = Severity.HIGH, unknown: str = "") -> Finding:
    return Finding(
        "isolation-bypassed",
        "A rule lets networks reach each other",
        severity,
        subject,
        "Docker keeps its networks apart",
        (f"iptables -D DOCKER-USER 1 # {subject}",),
        ("https://example.org/issue/1",),
        (CellReference("a1", "b1", "tcp/80"), CellReference(subject, "b1")),
        (RULE,),
        Evidence("tcp a1 -> b1", ("line one", subject)),
        unknown=unknown,
    )


FINDINGS = [finding("low", Severity.LOW), finding("lost", unknown="nft.json: not collected"), finding()]


def test_text() -> None:
    said = render(FINDINGS, "host1")
    assert said.splitlines()[0] == "host1: 2 findings: 1 high, 1 low; 1 question could not be answered"
    assert said.index("HIGH") < said.index("LOW") < said.index("UNKNOWN")
    assert "rule: nft ipv4 filter DOCKER-USER rule 1: -A DOCKER-USER -j ACCEPT" in said
    assert "not known: nft.json: not collected" in said
    assert render([], "host1") == "host1: no findings"


def test_json() -> None:
    document = json.loads(to_json(FINDINGS, "host1"))
    assert [each["severity"] for each in document["findings"]] == ["high", "low", "high"]
    assert document["findings"][0]["rules"][0]["chain"] == "DOCKER-USER"
    assert document["findings"][0]["confirmation"] == "not asked"


def test_sarif() -> None:
    (run,) = json.loads(to_sarif(FINDINGS, "host1", "my host.json"))["runs"]
    assert [(result["kind"], result["level"]) for result in run["results"]] == [
        ("fail", "error"),
        ("fail", "note"),
        ("open", "none"),
    ]
    assert {result["ruleId"] for result in run["results"]} == {
        rule["id"] for rule in run["tool"]["driver"]["rules"]
    }
    place = run["results"][0]["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "my%20host.json"
    assert "DOCKER-USER" in place["logicalLocations"][0]["fullyQualifiedName"]


@pytest.mark.parametrize(
    ("severity", "threshold", "failures"), [("high", "low", "1"), ("low", "high", "0"), ("low", "low", "1")]
)
def test_junit_fails_from_a_threshold(severity: str, threshold: str, failures: str) -> None:
    found = [finding(severity=Severity.named(severity))]
    suite = ET.fromstring(to_junit(found, {"other": "Another check"}, "host1", Severity.named(threshold)))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", failures, "0")


def test_junit_says_what_is_unknown() -> None:
    suite = ET.fromstring(to_junit([finding(unknown="not collected")], {}, "host1"))
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1")


class Tags(HTMLParser):
    """Which elements a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)


def test_a_hostile_name_harms_no_format() -> None:
    found = [finding(HOSTILE), finding(HOSTILE, unknown=HOSTILE)]
    text = render(found, HOSTILE)
    assert all(line.isprintable() for line in text.splitlines())
    tags = Tags()
    tags.feed(to_html(found, HOSTILE))
    assert "script" not in tags.seen
    assert {"article", "dl", "code", "pre"} <= tags.seen
    assert json.loads(to_json(found, HOSTILE))["host"] == HOSTILE
    assert json.loads(to_sarif(found, HOSTILE, HOSTILE))["version"] == "2.1.0"
    suite = ET.fromstring(to_junit(found, {"check": HOSTILE}, HOSTILE))
    assert suite.get("tests") == "2"


def test_the_same_finding_is_recognised_where_its_rule_moved() -> None:
    moved = RuleReference("nft", "ipv4", "filter", "DOCKER-USER", 7, RULE.text)
    first, second = (
        Finding("isolation-bypassed", "t", Severity.LOW, "br-a", "w", rules=(rule,)) for rule in (RULE, moved)
    )
    assert first.fingerprint == second.fingerprint
    assert finding().fingerprint != finding("br-b").fingerprint
