"""Findings as JUnit XML: one test case for each kind of check, so that CI shows what was looked at too."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from netverify.audit.finding import Finding, Severity, in_order


def to_junit(
    findings: Sequence[Finding], checks: Mapping[str, str], host: str, fail_on: Severity = Severity.INFO
) -> str:
    """A test suite named after the host.

    `checks` are all checks that ran, id -> title. A check with findings of at least `fail_on` fails; one that
    could not be answered is an error; findings below the threshold are told in its output.
    """
    found = in_order(list(findings))
    titles = {**checks, **{finding.id: finding.title for finding in found if finding.id not in checks}}
    suite = ET.Element("testsuite", name=_legal(f"netverify audit {host}"), tests=str(len(titles)))
    failures = errors = 0
    for identity, title in titles.items():
        own = [finding for finding in found if finding.id == identity]
        case = ET.SubElement(
            suite, "testcase", classname="netverify.audit", name=_legal(f"{identity}: {title}")
        )
        unknown = [finding for finding in own if finding.unknown]
        bad = [finding for finding in own if not finding.unknown and finding.severity >= fail_on]
        mild = [finding for finding in own if finding not in bad and finding not in unknown]
        if bad:
            failures += 1
            _say(case, "failure", bad)
        elif unknown:
            errors += 1
            _say(case, "error", unknown)
        if mild:
            ET.SubElement(case, "system-out").text = _legal("\n".join(map(_line, mild)))
    suite.set("failures", str(failures))
    suite.set("errors", str(errors))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _say(case: ET.Element, kind: str, findings: Sequence[Finding]) -> None:
    told = ET.SubElement(case, kind, message=_legal(_line(findings[0])), type=findings[0].severity.word)
    told.text = _legal("\n".join(map(_line, findings)))


def _line(finding: Finding) -> str:
    told = f"{finding.severity.word}: {finding.subject}: {finding.title}"
    told += f"; not known: {finding.unknown}" if finding.unknown else ""
    told += "".join(f"; {rule}" for rule in finding.rules)
    return told + "".join(f"; remedy: {command}" for command in finding.remedy)


def _legal(text: str) -> str:
    """The text with what XML 1.0 forbids (section 2.2, Char) written as escape sequences."""
    return "".join(
        c if c in "\t\n" or ("\x20" <= c <= "\ud7ff") or ("\ue000" <= c <= "\ufffd") or c > "\uffff"
        else c.encode("unicode_escape").decode("ascii")
        for c in text
    )  # fmt: skip
