"""The kernel's own table of sockets: does our listener really listen where we believe it does?

/proc/net/{tcp,udp} (proc(5)) of a namespace lists every socket by inode number, and so does fstat(2) of our
descriptor. A listener that the kernel does not list in its namespace under its port cannot have received
anything, and then a silence proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from netverify.kernel.engine import Listener
from netverify.kernel.namespace import Visitor
from netverify.reachability.probe import Probe

TCP_LISTEN = "0A"


def listening_ports(protocol: str, version: int) -> set[int]:
    """Ports on which the calling thread's namespace listens, on any address."""
    name = protocol + ("6" if version == 6 else "")
    ports = set()
    for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]:
        _slot, local, _remote, state, *_ = line.split()
        if protocol == "udp" or state == TCP_LISTEN:
            ports.add(int(local.rpartition(":")[2], 16))
    return ports


def missing_listeners(visitor: Visitor, listeners: Sequence[Listener], probe: Probe) -> Mapping[str, str]:
    """Namespaces in which a listener should be and is not, with what to say about it."""
    if probe.port is None:
        return {}
    found = visitor.visit_all(
        (listener.namespace, lambda: listening_ports(probe.protocol, probe.version)) for listener in listeners
    )
    return {
        listener.namespace.name: f"no {probe.protocol} listener on port {listener.port} in "
        f"{listener.namespace.name!r}: our own listener is missing"
        for listener, ports in zip(listeners, found, strict=True)
        if listener.port not in ports
    }
