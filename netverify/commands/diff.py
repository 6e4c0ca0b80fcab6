"""`netverify diff`."""

from __future__ import annotations

import argparse

from netverify.commands import arguments

EPILOG = f"""\
{arguments.WHERE}
OLD and NEW are one of these each. Where one is a bare ruleset and the other is not, the rules are taken to be
for the other's host.

examples
  netverify diff before.txt after.txt
  netverify diff host-monday.json host-today.json
  netverify diff before.txt --live

exit codes
  0  nothing passes now that did not before
  1  something was opened
{arguments.COMMON_CODES}"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = arguments.declare(
        commands,
        "diff",
        summary="the packets whose fate changes from one ruleset to another, newly open ones first",
        description="Compares two rulesets for all packets: whose fate is another one, with examples.",
        epilog=EPILOG,
        usage="OLD (NEW | --live) [options]",
    )
    command.add_argument("words", nargs="+", metavar="OLD NEW", help="see below")
    arguments.add_where(command)
    arguments.add_format(command)
    command.set_defaults(run=run, command=command)


def run(parsed: argparse.Namespace) -> int:
    """Compare, and tell."""
    if len(parsed.words) != (1 if parsed.live else 2):
        parsed.command.error("expected OLD and NEW, or OLD --live")
    from netverify.model import sources
    from netverify.model.bare import GivenLink
    from netverify.model.changes import differences
    from netverify.report import changes as report

    new = arguments.subject(parsed, None) if parsed.live else sources.read(parsed.words[1])
    old, new = sources.aligned(sources.read(parsed.words[0]), new, list(map(GivenLink.parse, parsed.link)))
    found = differences(old, new)
    print(report.render_json(found) if parsed.format == "json" else report.render(found))
    return report.exit_code(found)
