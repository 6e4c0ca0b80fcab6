"""A run leaves nothing behind, however it ends: seen from the machine's own namespaces.

`make unit` gives these tests a pytest of their own that enters no sandbox (`-o netverify_sandbox=false`). In a
pytest that has entered one they hold as well, for what that one sees as the machine.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netverify.kernel import syscalls
from netverify.kernel.namespace import Visitor
from tests import ordinary_user
from tests.outside import machine
from tests.outside.observer import Look, Observer
from tests.outside.run import PYTEST, ROOT

SUITES = (
    "suites/pod",  # rules
    "suites/namespaces/test_ip_netns.py",  # mounts
    "suites/namespaces/test_process_namespaces.py",  # processes
)
ALONE, WITH_WORKERS = (), ("-n", "2")
KILLS = {ALONE: 10, WITH_WORKERS: 4}  # as root, and as many as an ordinary user
SEED = os.environ.get("NETVERIFY_SEED") or str(random.SystemRandom().randrange(1 << 32))
VANDAL = Path(__file__).parents[1] / "kernel" / "sandbox_child.py"


def as_we_are(*words: str) -> list[str]:
    return list(words)


def as_ordinary_user(*words: str) -> list[str]:
    return ordinary_user.command(*words)


@dataclass(frozen=True)
class Ended:
    """A run that nobody disturbed."""

    command: Sequence[str]
    workers: tuple[str, ...]
    took: float
    look: Look
    exit_code: int
    printed: str
    left: dict[str, object]


@pytest.fixture(
    scope="module",
    params=[(who, workers) for workers in KILLS for who in (as_we_are, as_ordinary_user)],
    ids=lambda param: f"{param[0].__name__}{'_with_workers' if param[1] else ''}",
)
def ended(observer: Observer, request: pytest.FixtureRequest) -> Ended:
    who, workers = request.param
    command = who(*PYTEST, *workers, *SUITES)
    with observer.run(command) as running:
        took = running.wait_until_done()
        look = observer.look(running.pid)
        exit_code = running.end()
    return Ended(command, workers, took, look, exit_code, running.printed.read_text(), observer.left())


def test_run_that_ends_by_itself(ended: Ended) -> None:
    assert ended.exit_code == 0, ended.printed
    assert " passed" in ended.printed
    assert "skipped" not in ended.printed
    assert ended.look == Look(processes=1, networks=1, mounts=1), "at its end nothing but its sandbox was there"
    assert ended.left == {}


def test_killed_run(observer: Observer, ended: Ended) -> None:
    """SIGKILL at random moments, spread over the whole run, from the start of Python to the last teardown."""
    kills, most = KILLS[ended.workers], Look(0, 0, 0)
    for number in range(kills):
        dice = random.Random(f"{SEED} {ended.workers} {number}")
        while True:
            moment = ended.took * (number + dice.random()) / kills
            with observer.run(ended.command) as running:
                if running.stop_after(moment):
                    look = observer.look(running.pid)
                    running.kill()
                    break
        told = f"NETVERIFY_SEED={SEED}, kill {number} after {moment:.3f} of {ended.took:.3f} s: {look}"
        assert observer.left() == {}, told
        most = max(most, look, key=lambda each: each.networks)
    sandboxes = max(1, 1 + len(ended.workers))
    assert most.networks > sandboxes, f"no kill met a lab, but at most {most}"
    assert most.mounts == sandboxes
