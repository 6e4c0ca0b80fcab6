"""`netverify audit`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from netverify.commands import arguments

if TYPE_CHECKING:
    from netverify.audit.case import Case
    from netverify.audit.finding import Finding, Severity
    from netverify.audit.run import Audit

SEVERITIES: Final = ("info", "low", "medium", "high", "critical")
FORMATS: Final = ("text", "json", "sarif", "html", "junit")

EPILOG = """\
WHERE is a snapshot that `netverify collect` wrote (host.json, a folder or a tar); --live is this host as it
is now, in this namespace, and only reads (needs root). Nothing is ever changed on the host.

examples
  sudo netverify audit --live
  netverify audit host.json --format sarif -o host.sarif --fail-on high
  netverify audit host.json --accept accepted.yaml --policy intended.yaml
  netverify audit host.json --write-policy intended.yaml
  sudo netverify audit host.json --twin
  netverify audit --list

exit codes
  0  nothing was found that is as bad as --fail-on or worse
  1  findings
  2  bad input or usage
  3  could not look: there is no finding, and something was not collected that a finding may depend on
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = arguments.declare(
        commands,
        "audit",
        summary="what a Docker host exposes and should not: findings, with rule, packet and remedy",
        description="Looks for holes in the isolation of a Docker host's containers.",
        epilog=EPILOG,
        usage="(WHERE | --live | --list) [options]",
    )
    command.add_argument("words", nargs="*", metavar="WHERE", help="see below")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--live", action="store_true", help="look at this host as it is now")
    which.add_argument("--list", action="store_true", help="only say what is looked for")
    command.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    command.add_argument(
        "--traces", action="store_true", help="in the text, the ways of packets step by step"
    )
    command.add_argument("-o", "--output", metavar="FILE", default="-", help="default: standard output")
    command.add_argument("--fail-on", choices=SEVERITIES, default="low", help="default: low")
    command.add_argument("--accept", metavar="FILE", help="findings that somebody has accepted, with reasons")
    command.add_argument(
        "--policy", metavar="FILE", help="who is meant to reach whom; checked for all packets"
    )
    command.add_argument(
        "--write-policy", metavar="FILE", help="write a policy of what passes today, and end"
    )
    command.add_argument("--twin", action="store_true", help="confirm findings with real packets, in a twin")
    command.set_defaults(run=run, command=command)


def run(parsed: argparse.Namespace) -> int:
    """Look, and tell."""
    from netverify.audit import acceptance, policy
    from netverify.audit.checks import CHECKS
    from netverify.audit.finding import Severity
    from netverify.audit.run import audit
    from netverify.model import sources
    from netverify.report import audit as report

    if parsed.list:
        if parsed.words:
            parsed.command.error("--list looks at no host")
        print(report.listed(check.kind for check in CHECKS))
        return 0
    (where,) = arguments.split_where(parsed, parsed.words, ("WHERE",))
    entries = acceptance.load(parsed.accept) if parsed.accept else ()
    intended = policy.load(parsed.policy) if parsed.policy else None
    case = _case(where)
    if parsed.twin:
        from netverify.kernel import sandbox

        sandbox.enter()  # the packet sets of some checks start threads, and then it is too late
    if parsed.write_policy:
        from netverify.audit.passages import draft

        sources.write(policy.dumps(draft(case)), parsed.write_policy)
        return 0
    found = audit(case)
    kinds = [check.kind for check in CHECKS]
    if intended is not None:
        from netverify.audit.passages import KINDS, violations

        found = found.also(violations(case, intended))
        kinds += KINDS
    if parsed.twin:
        found = _confirmed(case, found)
    told = report.Told(
        found.host,
        where or "this host",
        acceptance.sort(found.findings, entries, datetime.now(UTC).date()),
        {kind.id: kind.title for kind in kinds},
        Severity.named(parsed.fail_on),
        found.notes,
        parsed.traces,
    )
    sources.write(report.render(told, parsed.format), parsed.output)
    return exit_code(told.sorted.open, told.fail_on)


def _confirmed(case: Case, found: Audit) -> Audit:
    """The findings with what a twin said of them; what it could not be built with is said on stderr."""
    from netverify.kernel.confirm import confirm, refuted
    from netverify.reachability.text import printable

    asked = confirm(case.subject, found.findings)
    for lack in asked.lacking:
        print(f"netverify: not twinned: {printable(lack)}", file=sys.stderr)
    for finding in refuted(asked.findings):
        about = printable(f"{finding.id}: {finding.subject}")
        print(f"netverify: model and twin differ, which is a fault of netverify: {about}", file=sys.stderr)
    return replace(found, findings=asked.findings)


def exit_code(findings: tuple[Finding, ...], fail_on: Severity) -> int:
    """1 with findings as bad as that, 3 where some question has no answer, else 0."""
    if any(finding.severity >= fail_on and not finding.unknown for finding in findings):
        return 1
    return 3 if any(finding.unknown for finding in findings) else 0


def _case(where: str | None) -> Case:
    """The host of a snapshot, or this one."""
    from netverify.audit.case import Case
    from netverify.host import read_snapshot
    from netverify.model import sources

    if where is None:
        from netverify.kernel import collect

        parts = collect.collect()
    else:
        parts = sources.parts(where)
    return Case.of(read_snapshot(parts), parts.source)
