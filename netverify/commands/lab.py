"""`netverify lab`."""

from __future__ import annotations

import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "lab", help="build a lab from a topology file and hold it until interrupted"
    )
    command.add_argument(
        "file", metavar="FILE.yaml", help="a topology, such as those in fixtures/topologies/"
    )
    command.add_argument(
        "--backend", choices=("legacy", "nft"), help="iptables backend (default: this machine's)"
    )
    command.add_argument("--no-hold", action="store_true", help="build it, draw it, and take it down again")
    command.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Build it, and hold it."""
    from netverify.topology.load import load

    topology = load(parsed.file)
    from netverify.kernel import hold, sandbox

    sandbox.enter()
    hold.hold(topology, parsed.backend, keep=not parsed.no_hold, say=print)
    return 0
