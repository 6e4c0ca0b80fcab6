"""`netverify collect`."""

from __future__ import annotations

import argparse

from netverify.commands import arguments

EPILOG = """\
Nothing is changed, and no environment variable, label or command of a container is kept. What cannot be
collected is noted with its reason; answers that depend on it are unknown.

examples
  sudo netverify collect -o host.json
  netverify collect --dry-run
  netverify collect --from snapshot.tar -o host.json

exit codes
  0  done
  2  bad input or usage
  3  a part on which every answer depends is missing (the file is written, and says which)
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = arguments.declare(
        commands,
        "collect",
        summary="write a snapshot of this host that the other commands can be asked about; only reads",
        description="Writes what this host's tools say of its network into one file. Only reads.",
        epilog=EPILOG,
        usage="[-o host.json] [--dry-run | --from DIR|TAR]",
    )
    where = "where to (default: standard output)"
    command.add_argument("-o", "--output", metavar="FILE", default="-", help=where)
    which = command.add_mutually_exclusive_group()
    which.add_argument("--dry-run", action="store_true", help="only say what would be run")
    which.add_argument("--from", dest="source", metavar="DIR|TAR", help="what was collected by other means")
    command.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Collect, and write."""
    import sys

    from netverify.kernel import collect

    if parsed.dry_run:
        print("\n".join(collect.commands()))
        return 0
    from netverify.model import sources
    from netverify.model.facts import NEEDED

    parts = collect.collect() if parsed.source is None else sources.parts(parsed.source)
    sources.write(parts.as_json(), parsed.output)
    for part, reason in parts.missing.items():
        print(f"netverify: {part} was not collected: {reason}", file=sys.stderr)
    return 3 if any(part in parts.missing for part in NEEDED) else 0
