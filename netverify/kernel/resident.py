"""A process that lives in a namespace, as every container has one.

A lab holds its namespaces by descriptors, with nobody inside. Some experiments need somebody there: a
container is found through the process in it (/proc/PID/ns/net), and its namespace lives as long as that does.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from netverify.errors import KernelError
from netverify.kernel.namespace import Namespace, Visitor

# It ends by itself when our end of its input closes, and that happens even if we are killed.
_IDLE = ("cat",)


class Resident:
    """An idle process in a namespace while the `with` block runs; `prefix` starts it in another way.

    `prefix` is a command that turns into the one that follows it: ("unshare", "--net") gives the process a
    new namespace of its own. When `__enter__` returns, the process is where it belongs. Raises KernelError
    with the program's own words where it does not come up.
    """

    def __init__(self, visitor: Visitor, namespace: Namespace, prefix: Sequence[str] = ()) -> None:
        self._visitor, self._namespace = visitor, namespace
        self._command = [*prefix, *_IDLE]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        process = self._visitor.visit(
            self._namespace,
            lambda: subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            ),
        )
        self._process = process
        # What comes back is said by the last program of the command: all before it is done.
        try:
            said = _exchange(process, b"\n")
        except BaseException:
            self._end(process)
            raise
        if said != b"\n":
            words = self._end(process)
            raise KernelError(f"{self._namespace.name}: {shlex.join(self._command)}: did not start: {words}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._end(self._process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> str:
        """Close its input, wait for its end, and return what it had to complain about."""
        with process:
            if process.stdin is not None:
                process.stdin.close()
            complaint = process.stderr.read() if process.stderr is not None else b""
        return complaint.decode(errors="replace").strip() or f"exit code {process.returncode}"

    @property
    def pid(self) -> int:
        """Its process number, as `docker inspect --format '{{.State.Pid}}'` would tell a container's."""
        if self._process is None:
            raise KernelError(f"{shlex.join(self._command)} has not been started: use it in a `with` block")
        return self._process.pid

    @property
    def path(self) -> str:
        """The path under which the kernel shows its network namespace (namespaces(7))."""
        return f"/proc/{self.pid}/ns/net"


def _exchange(process: subprocess.Popen[bytes], word: bytes) -> bytes:
    """Say something to the process and return its first answer; nothing where it has ended."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("the pipes that were asked for are missing")
    try:
        process.stdin.write(word)
    except BrokenPipeError:
        return b""
    return process.stdout.read(len(word)) or b""
