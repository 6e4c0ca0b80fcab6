"""`netverify doctor`."""

from __future__ import annotations

import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = commands.add_parser("doctor", help="say what this machine can do, and what follows from it")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Examine this machine."""
    from netverify.kernel import capabilities
    from netverify.report import doctor

    found = capabilities.detect()
    print(doctor.render_json(found) if parsed.json else doctor.render(found))
    return doctor.exit_code(found)
