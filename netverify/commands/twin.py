"""`netverify twin`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from netverify.commands import arguments

if TYPE_CHECKING:
    from netverify.model.twinned import Twinned

EPILOG = f"""\
{arguments.WHERE}
The host itself is never touched: its twin stands in network namespaces of this process alone.

examples
  netverify twin host.json --tcp 80
  netverify twin host.json --udp 53 --from lan --to web
  netverify twin host.json --hold

exit codes
  0  model and twin agree on every cell that is twinned
  1  they differ somewhere: a fault of netverify
  2  bad input or usage
  3  could not look: no namespaces here, something was not collected, or a cell could not be measured
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = arguments.declare(
        commands,
        "twin",
        summary="rebuild a host in a lab from its snapshot, probe all pairs, compare with the model",
        description="Rebuilds what is known of a host in a lab, sends real packets between all pairs there, "
        "and holds the answers against the model's.",
        epilog=EPILOG,
        usage="(WHERE | --live) [options]",
    )
    command.add_argument("words", nargs="*", metavar="WHERE", help="see below")
    arguments.add_where(command)
    arguments.add_service(command)
    arguments.add_ends(command)
    arguments.add_format(command)
    command.add_argument("--hold", action="store_true", help="keep the twin until Ctrl-C, to look inside")
    command.set_defaults(run=run, command=command)


def run(parsed: argparse.Namespace) -> int:
    """Ask the model, build the twin, ask it too, and tell."""
    (where,) = arguments.split_where(parsed, parsed.words, ("WHERE",))
    subject = arguments.subject(parsed, where)
    from netverify.model.matrix import reach
    from netverify.report import twin as report

    versions = subject.versions()
    probe = arguments.probe(parsed, versions[0] if len(versions) == 1 else None)
    foretold = reach(subject, probe, parsed.sources, parsed.targets)

    from netverify.kernel import hold, sandbox
    from netverify.kernel.twin_host import twin_of

    sandbox.enter()
    if parsed.hold:
        hold.block_endings()
    with twin_of(subject) as twin:
        found = twin.confirm(foretold)
        print(report.render_json(found) if parsed.format == "json" else report.render(found), flush=True)
        if parsed.hold:
            hold.hold_twin(twin, say=print)
    return _code(found)


def _code(found: Twinned) -> int:
    if found.differences:
        return 1
    return 0 if found.is_complete else 3
