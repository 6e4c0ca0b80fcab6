"""Processes beside our own: at rest when all their threads sleep and nothing wakes them."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from termios import FIONREAD

import pytest

from netverify.errors import KernelError
from netverify.kernel import bystanders
from netverify.kernel.barrier import Barrier
from netverify.kernel.bystanders import Bystanders
from netverify.kernel.namespace import Visitor

READY = "import os; os.write(1, b'!')\n"
ECHO = """
while os.read(0, 1):
    for _ in range(200_000):
        pass
    os.write(1, b"x")
"""
BUSY = "while True: pass"


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        ["python3", "-c", READY + program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    try:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"!"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def barrier() -> Iterator[Barrier]:
    with Visitor() as visitor, Barrier(visitor) as made:
        yield made


def test_nobody_is_at_rest(barrier: Barrier) -> None:
    Bystanders(()).settle(barrier)


def test_what_a_process_was_asked_has_been_answered(barrier: Barrier) -> None:
    """Each time it works for a while; whoever did not wait would read nothing."""
    with running(ECHO) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        settle = Bystanders((process.pid,)).settle
        for _ in range(5):
            process.stdin.write(b"?")
            process.stdin.flush()
            settle(barrier)
            (waiting,) = struct.unpack("i", ioctl(process.stdout, FIONREAD, bytes(4)))
            assert waiting == 1
            process.stdout.read(1)


def test_one_that_never_rests_is_an_error(barrier: Barrier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bystanders, "PATIENCE", 0.3)
    with running(BUSY) as process, pytest.raises(KernelError, match=f"{process.pid} do not come to rest"):
        Bystanders((process.pid,)).settle(barrier)


def test_one_that_has_ended_is_at_rest(barrier: Barrier) -> None:
    with running("") as process:
        process.wait()
    Bystanders((process.pid,)).settle(barrier)
