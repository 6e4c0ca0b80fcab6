"""The `netverify` command: its frame. The commands are in `netverify.commands`.

Exit codes: 0 done, 1 the command's own "no" (something is missing, does not arrive, was opened, was found),
2 bad input or usage, 3 the kernel refused, or nobody could look. Everything is imported where it is used:
`netverify --help` answers without loading scapy or pytest.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from netverify import __version__
from netverify.commands import audit, collect, diff, doctor, lab, lint, reach, trace, twin
from netverify.errors import InputError, NetverifyError

COMMANDS = (doctor, lab, trace, reach, diff, lint, collect, audit, twin)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        parsed = _parser().parse_args(arguments)
        code: int = parsed.run(parsed)
        sys.stdout.flush()  # here, where a reader that is gone can be noticed, and not as Python ends
    except NetverifyError as error:
        print(f"netverify: {_harmless(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 3
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="netverify",
        description="Proves what container networks really do on Linux.",
        epilog="`netverify COMMAND --help` has examples and exit codes.",
    )
    parser.add_argument("--version", action="version", version=f"netverify {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _harmless(text: str) -> str:
    """What a terminal would obey is shown instead: messages quote files that nobody vouches for."""
    from netverify.reachability.text import printable

    return "\n".join(map(printable, text.split("\n")))
