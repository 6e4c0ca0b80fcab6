"""Holding a lab for a person who wants to look inside."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from netverify.kernel import services
from netverify.kernel.firewall import Backend
from netverify.kernel.lab import Lab
from netverify.kernel.twin_host import Twin
from netverify.reachability.text import printable
from netverify.report.drawing import draw
from netverify.topology.model import Topology

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def block_endings() -> None:
    """Put Ctrl-C and its like off until somebody waits for it, so that an early one ends in good order."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def hold_twin(twin: Twin, say: Callable[[str], None]) -> None:
    """Print the way into each namespace of a twin, serve what its host serves, and wait for Ctrl-C."""
    subject, lab = twin.subject, twin.lab
    say("\nA shell inside:")
    named = {endpoint.node: endpoint.name for endpoint in reversed(subject.endpoints)}
    for node in subject.world.stacks:
        if node in named:
            say(f"  {printable(named[node]):<20} {lab.shell_command(node)}")
    say("\nHeld until Ctrl-C.")
    sys.stdout.flush()
    services.serve(lab, ENDING, subject.offers)
    say("Gone.")


def hold(topology: Topology, backend: str | None, *, keep: bool, say: Callable[[str], None]) -> None:
    """Build `topology`, print it and the way into each namespace, and wait for Ctrl-C (unless not `keep`)."""
    block_endings()
    with Lab(None if backend is None else Backend(backend)) as lab:
        lab.up(topology)
        say(draw(lab.topology))
        say("\nA shell inside:")
        for name in lab.channels:
            if not name.startswith("("):
                say(f"  {name:<20} {lab.shell_command(name)}")
        if not keep:
            return
        say("\nHeld until Ctrl-C.")
        sys.stdout.flush()
        services.serve(lab, ENDING)
    say("Gone.")
