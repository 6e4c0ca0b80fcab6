"""The `netverify` command: arguments and exit codes, no logic.

Exit codes: 0 done, 1 something is missing here, 2 bad input or usage, 3 the kernel refused.
Everything is imported where it is used: `netverify --help` answers without loading scapy or pytest.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from netverify import __version__
from netverify.errors import InputError, NetverifyError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()  # here, where a reader that is gone can be noticed, and not as Python ends
    except NetverifyError as error:
        print(f"netverify: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 3
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="netverify", description="Proves what container networks really do on Linux."
    )
    parser.add_argument("--version", action="version", version=f"netverify {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="say what this machine can do, and what follows from it")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.set_defaults(run=_doctor)

    lab = commands.add_parser("lab", help="build a lab from a topology file and hold it until interrupted")
    lab.add_argument("file", metavar="FILE.yaml", help="a topology, such as those in fixtures/topologies/")
    lab.add_argument(
        "--backend", choices=("legacy", "nft"), help="iptables backend (default: this machine's)"
    )
    lab.add_argument("--no-hold", action="store_true", help="build it, draw it, and take it down again")
    lab.set_defaults(run=_lab)
    return parser


def _doctor(parsed: argparse.Namespace) -> int:
    from netverify.kernel import capabilities
    from netverify.report import doctor

    found = capabilities.detect()
    print(doctor.render_json(found) if parsed.json else doctor.render(found))
    return doctor.exit_code(found)


def _lab(parsed: argparse.Namespace) -> int:
    from netverify.topology.load import load

    topology = load(parsed.file)
    from netverify.kernel import hold, sandbox

    sandbox.enter()
    hold.hold(topology, parsed.backend, keep=not parsed.no_hold, say=print)
    return 0
