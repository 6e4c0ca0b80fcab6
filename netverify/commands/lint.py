"""`netverify lint`."""

from __future__ import annotations

import argparse

from netverify.commands import arguments

EPILOG = f"""\
{arguments.WHERE}
examples
  netverify lint rules.txt
  netverify lint host.json --format json
  netverify lint --live

exit codes
  0  nothing found
  1  something found
{arguments.COMMON_CODES}"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = arguments.declare(
        commands,
        "lint",
        summary="rules that do nothing, or not what they say: shadowed, impossible, unreached",
        description="Finds rules that never match, jumps to nothing, and rules that come too late.",
        epilog=EPILOG,
        usage="(WHERE | --live) [options]",
    )
    command.add_argument("words", nargs="*", metavar="WHERE", help="see below")
    arguments.add_where(command)
    arguments.add_format(command)
    command.set_defaults(run=run, command=command)


def run(parsed: argparse.Namespace) -> int:
    """Look, and tell."""
    (where,) = arguments.split_where(parsed, parsed.words, ("WHERE",))
    from netverify.model.changes import lint
    from netverify.report import lint as report

    subject = arguments.subject(parsed, where)
    found = lint(subject)
    print(report.render_json(subject, found) if parsed.format == "json" else report.render(subject, found))
    return report.exit_code(found)
