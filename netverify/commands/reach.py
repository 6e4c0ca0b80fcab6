"""`netverify reach`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from netverify.commands import arguments

if TYPE_CHECKING:
    from netverify.model.matrix import Reach
    from netverify.model.subject import Subject
    from netverify.model.twinned import Twinned

EPILOG = f"""\
{arguments.WHERE}
examples
  netverify reach fixtures/topologies/docker-three-bridges.yaml --tcp 80
  netverify reach host.json --tcp 5432 --from web --from internet --to db
  netverify reach rules.txt --any
  netverify reach --live --udp 53 --format json
  netverify reach host.json --tcp 80 --twin

exit codes
  0  every pair was answered
{arguments.COMMON_CODES}"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = arguments.declare(
        commands,
        "reach",
        summary="who reaches whom: all pairs for a service, or for any packet at all; nothing is sent",
        description="Asks the model about all pairs for one service, or with --any for any packet at all.",
        epilog=EPILOG,
        usage="(WHERE | --live) [options]",
    )
    command.add_argument("words", nargs="*", metavar="WHERE", help="see below")
    arguments.add_where(command)
    arguments.add_service(command)
    command.add_argument("--any", action="store_true", help="whether some packet can pass, and such a packet")
    command.add_argument("--spoofed", action="store_true", help="with --any: also with forged sources")
    arguments.add_ends(command)
    command.add_argument(
        "--twin", action="store_true", help="also send real packets, in a twin of the host (`netverify twin`)"
    )
    arguments.add_format(command)
    command.set_defaults(run=run, command=command)


def run(parsed: argparse.Namespace) -> int:
    """Ask, and tell."""
    (where,) = arguments.split_where(parsed, parsed.words, ("WHERE",))
    subject = arguments.subject(parsed, where)
    if parsed.any:
        if parsed.twin:
            parsed.command.error("--twin sends packets of one service, and --any is about all")
        return _anything(parsed, subject)
    if parsed.spoofed:
        parsed.command.error("--spoofed is about --any packet")
    from netverify.model.matrix import reach
    from netverify.report import reach as matrix_report

    versions = subject.versions()
    probe = arguments.probe(parsed, versions[0] if len(versions) == 1 else None)
    asked = reach(subject, probe, parsed.sources, parsed.targets)
    found = _twinned(asked) if parsed.twin else None
    as_json = parsed.format == "json"
    print(matrix_report.render_json(asked, found) if as_json else matrix_report.render(asked, found))
    if found is not None and not found.is_complete:
        return 3
    return 3 if asked.lacks else 0


def _twinned(asked: Reach) -> Twinned:
    from netverify.kernel import sandbox
    from netverify.kernel.twin_host import twin_of

    sandbox.enter()
    with twin_of(asked.subject) as twin:
        return twin.confirm(asked)


def _anything(parsed: argparse.Namespace, subject: Subject) -> int:
    from netverify.model.anything import Packets, passing
    from netverify.report import anything as report

    protocol = "tcp" if parsed.tcp else "udp" if parsed.udp else "icmp" if parsed.icmp else ""
    packets = Packets(protocol, parsed.tcp or parsed.udp, parsed.spoofed)
    versions = (6,) if parsed.ipv6 else subject.versions()
    found = [passing(subject, version, packets, parsed.sources, parsed.targets) for version in versions]
    print(report.render_json(found, packets) if parsed.format == "json" else report.render(found, packets))
    return 3 if any(each.lacks for each in found) else 0
