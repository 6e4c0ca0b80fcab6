"""A pytest run that is watched from outside: started, met at its end, or killed."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from netverify.kernel import sandbox
from tests.outside.pause import SOCKET

ROOT = Path(__file__).parents[2]
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.outside.pause")
PATIENCE = 60.0  # seconds for a run that takes two or three


@dataclass(frozen=True)
class Run:
    """A run, where it prints, and the socket on which it says that it has done everything."""

    process: subprocess.Popen[bytes]
    printed: Path
    observer: socket.socket
    began: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_done(self) -> float:
        """Wait until it waits for us, and return how long it took; a run that ends or hangs is a failure."""
        with select.epoll() as poll:
            poll.register(self.observer, select.EPOLLIN)
            assert poll.poll(PATIENCE), f"pytest hangs:\n{self.printed.read_text()}"
        assert self.observer.recv(16) == b"done", self.printed.read_text()
        return time.monotonic() - self.began

    def read(self, pipe: Path, length: int) -> str:
        """Read so many bytes that the run writes into a named pipe; a run that ends or hangs is a failure."""
        said = b""
        # Open for writing too: between two writers a reader alone would find the pipe's end.
        with pipe.open("rb+", buffering=0) as file, select.epoll() as poll:
            poll.register(file, select.EPOLLIN)
            poll.register(self.observer, select.EPOLLIN)
            while len(said) < length:
                ready = [fd for fd, _ in poll.poll(PATIENCE)]
                assert ready == [file.fileno()], f"{said!r}\n{self.printed.read_text()}"
                said += file.read(length - len(said))
        return said.decode()

    def end(self) -> int:
        """Let it end, and return its exit code."""
        self.observer.send(b"!")
        return self.process.wait(PATIENCE)

    def stop_after(self, moment: float) -> bool:
        """Stop it (SIGSTOP) so many seconds after it began; False where it has done everything by then."""
        with select.epoll() as poll:
            poll.register(self.observer, select.EPOLLIN)
            if poll.poll(max(0.0, self.began + moment - time.monotonic())):
                return False
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return True

    def kill(self) -> None:
        """SIGKILL for the first process alone: what it started is not told."""
        self.process.kill()
        assert self.process.wait(PATIENCE) == -signal.SIGKILL, self.printed.read_text()


@contextmanager
def run(command: Sequence[str], printed: Path) -> Iterator[Run]:
    """Start a run; one that is still there at the end of the `with` block is killed."""
    ours, theirs = socket.socketpair()
    environment = {name: value for name, value in os.environ.items() if name != sandbox._PARENT}
    with ours, printed.open("wb") as output:
        with theirs:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environment, SOCKET: str(theirs.fileno()), "CI": "true"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            yield Run(process, printed, ours, time.monotonic())
        finally:
            process.kill()
            process.wait(PATIENCE)
