"""A port that somebody holds: what a running service does to everybody else in its network namespace.

Probes bring listeners of their own for the time of a question. This is for questions about the port itself:
who may have it, and who has it already.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from netverify.errors import InputError, KernelError
from netverify.kernel.namespace import Namespace, Visitor
from netverify.reachability.probe import Probe


class PortTaken(KernelError):
    """Somebody in the same network namespace has the port already."""


@contextmanager
def held(visitor: Visitor, namespace: Namespace, probe: Probe) -> Iterator[None]:
    """Hold the port of a TCP or UDP probe in `namespace`, on every address, while the `with` block runs.

    Raises PortTaken where it is taken (bind(2), EADDRINUSE), and InputError for a probe without a port.
    """
    port = probe.port
    if port is None:
        raise InputError(f"{probe} has no port that somebody could hold")
    try:
        sock = visitor.visit(namespace, lambda: _bound(probe, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(f"{namespace.name}: {probe} is taken, by a service in the same namespace") from error
    with sock:
        yield


def _bound(probe: Probe, port: int) -> socket.socket:
    family = socket.AF_INET if probe.version == 4 else socket.AF_INET6
    stream = probe.protocol == "tcp"
    sock = socket.socket(family, (socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) | socket.SOCK_CLOEXEC)
    try:
        if probe.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", port))
        if stream:
            sock.listen()
    except OSError:
        sock.close()
        raise
    return sock
