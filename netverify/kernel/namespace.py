"""Network namespaces held by file descriptors, and a helper thread that visits them.

A namespace lives as long as somebody is in it or holds a descriptor of it (namespaces(7)). Ours have no name
under /run/netns: the descriptor in this process is all that keeps them, so the kernel frees them when the
process ends, however it ends.

The main thread never moves. A `Visitor` is one helper thread that enters a namespace, does one thing there
(opens a socket, writes a sysctl, starts a program) and hands the result back; what it opened belongs to that
namespace for good.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from fcntl import ioctl
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from netverify.errors import KernelError
from netverify.kernel import syscalls

T = TypeVar("T")

NS_GET_NSTYPE = 0xB703  # include/uapi/linux/nsfs.h


@dataclass(frozen=True)
class Namespace:
    """A network namespace: `fd` holds it, `name` is what people call it in this lab."""

    name: str
    fd: int

    @property
    def inode(self) -> int:
        """The number by which `lsns` and `ip netns identify` know it."""
        return os.fstat(self.fd).st_ino

    @property
    def path(self) -> str:
        """A path that opens it from any process that may look at ours."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Let go of it; the kernel frees it unless a process or socket is still inside."""
        os.close(self.fd)


@runtime_checkable
class Closable(Protocol):
    """Something that a namespace was furnished with, and that would keep it alive (a socket)."""

    def close(self) -> None:
        """Let go of it."""


class Visitor:
    """A helper thread that enters namespaces on behalf of the main thread.

    Used as a context manager; leaving it ends the thread. Exceptions of a visit are raised in the caller.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="netverify-visitor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, future = job
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - nothing is swallowed: it is raised in the caller
                future.set_exception(error)

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the helper thread, wherever that thread stands, and return its result."""
        future: Future[T] = Future()
        self._jobs.put((work, future))
        return future.result()

    def visit(self, namespace: Namespace, work: Callable[[], T]) -> T:
        """Run `work` inside `namespace`."""
        return self.call(lambda: _inside(namespace, work))

    def visit_all(self, visits: Iterable[tuple[Namespace, Callable[[], T]]]) -> list[T]:
        """Run each piece of work inside its namespace, all in one trip of the helper thread."""
        return self.call(lambda: [_inside(namespace, work) for namespace, work in visits])

    def create(self, names: Iterable[str], furnish: Callable[[], T]) -> list[tuple[Namespace, T]]:
        """Make one namespace for each name, and run `furnish` inside each as soon as it exists.

        Either all are made or none is kept: what `furnish` returned is closed if it can be. Raises
        KernelError when the kernel refuses one.
        """
        return self.call(lambda: _create(list(names), furnish))


def _inside(namespace: Namespace, work: Callable[[], T]) -> T:
    try:
        syscalls.setns(namespace.fd, syscalls.CLONE_NEWNET)
    except OSError as error:
        raise KernelError(f"cannot enter namespace {namespace.name!r}: {error.strerror}") from error
    return work()


def _create(names: list[str], furnish: Callable[[], T]) -> list[tuple[Namespace, T]]:
    made: list[tuple[Namespace, T]] = []
    with ExitStack() as undo:
        for name in names:
            try:
                syscalls.unshare(syscalls.CLONE_NEWNET)
                fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise KernelError(
                    f"cannot make a network namespace for {name!r} ({len(made)} made before it): "
                    f"{error.strerror}. Limits: user.max_net_namespaces (sysctl), open files (ulimit -n)"
                ) from error
            namespace = Namespace(name, fd)
            undo.callback(namespace.close)
            furniture = furnish()
            if isinstance(furniture, Closable):
                undo.callback(furniture.close)
            made.append((namespace, furniture))
        undo.pop_all()
    return made


def open_namespace(path: str, name: str) -> Namespace:
    """Hold a namespace that somebody else made, by a path such as /proc/PID/ns/net or /run/netns/NAME.

    Raises KernelError where the path is no network namespace that we may open.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"cannot open the namespace of {name!r} at {path}: {error.strerror}") from error
    if _kind(fd) != syscalls.CLONE_NEWNET:
        os.close(fd)
        raise KernelError(f"cannot open the namespace of {name!r} at {path}: it is no network namespace")
    return Namespace(name, fd)


def _kind(fd: int) -> int:
    """What kind of namespace a descriptor holds (ioctl_ns(2): the CLONE_ flag that makes one), 0 for none."""
    try:
        return ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        return 0
