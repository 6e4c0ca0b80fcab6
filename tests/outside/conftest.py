"""For the tests that look from outside: where they stand, and what they look with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from netverify.kernel import syscalls
from tests.outside.observer import Observer
from tests.outside.processes import orphans_are_ours
from tests.outside.tripwires import Tripwires


@pytest.fixture(scope="session")
def root_of_something() -> None:
    """The right to have namespaces of our own: an ordinary user gets it in a new user namespace.

    The network and the mounts that this process sees stay the machine's.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


@pytest.fixture(scope="module")
def tripwires(root_of_something: None) -> Iterator[Tripwires]:
    with Tripwires() as wires:
        yield wires


@pytest.fixture(scope="module")
def observer(tripwires: Tripwires, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observer]:
    with orphans_are_ours():
        watching = Observer(tripwires, tmp_path_factory.mktemp("runs"))
        yield watching
        watching.clear_away()
