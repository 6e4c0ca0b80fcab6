"""Findings as SARIF 2.1.0 (OASIS), which code hosts and CI systems show beside a change.

A host has no source file: the artifact is the snapshot, the place within it a logical location, the rule's
table, chain and number. `partialFingerprints` lets a viewer recognise a finding in the next run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from netverify import __version__
from netverify.audit.finding import Finding, Severity, in_order

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
_LEVEL = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
# What viewers sort by; a CVSS-like number from 0 to 10 (property `security-severity`).
_SCORE = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "3.0",
    Severity.INFO: "0.5",
}


def to_sarif(findings: Sequence[Finding], host: str, snapshot: str) -> str:
    """A SARIF log with one run. `snapshot` is the file (or the host) that was looked at."""
    ordered = in_order(list(findings))
    kinds = {finding.id: finding for finding in reversed(ordered)}
    identities = sorted(kinds)
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "netverify",
                        "semanticVersion": __version__,
                        "rules": [_kind(kinds[identity]) for identity in identities],
                    }
                },
                "results": [
                    _result(finding, identities.index(finding.id), host, snapshot) for finding in ordered
                ],
            }
        ],
    }
    return json.dumps(log, indent=2) + "\n"


def _kind(finding: Finding) -> dict[str, Any]:
    kind: dict[str, Any] = {
        "id": finding.id,
        "shortDescription": {"text": finding.title},
        "fullDescription": {"text": finding.why},
        "properties": {"security-severity": _SCORE[finding.severity], "tags": ["security", "network"]},
    }
    links = [reference for reference in finding.references if reference.startswith("https://")]
    return kind | {"helpUri": links[0]} if links else kind


def _result(finding: Finding, index: int, host: str, snapshot: str) -> dict[str, Any]:
    said = [f"{finding.title}: {finding.subject}"]
    if finding.unknown:
        said.append(f"Not known: {finding.unknown}")
    said += [str(cell) for cell in finding.cells]
    said += [f"Rule: {rule}" for rule in finding.rules]
    if finding.evidence is not None:
        said.append(f"Packet: {finding.evidence.packet}")
    said += [f"Remedy: {command}" for command in finding.remedy]
    logical = [{"fullyQualifiedName": f"{host}/{rule}", "kind": "rule"} for rule in finding.rules]
    logical = logical or [{"fullyQualifiedName": f"{host}/{finding.subject}", "kind": "resource"}]
    return {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": "none" if finding.unknown else _LEVEL[finding.severity],
        "kind": "open" if finding.unknown else "fail",
        "message": {"text": "\n".join(said)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": _uri(snapshot)}},
                "logicalLocations": logical,
            }
        ],
        "partialFingerprints": {"netverify/v1": finding.fingerprint},
        "properties": {"confirmation": finding.confirmation.value, "subject": finding.subject},
    }


def _uri(path: str) -> str:
    return quote(path, safe="/:@")
