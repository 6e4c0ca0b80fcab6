"""The kernel's own table of sockets: does our listener really listen where we believe it does?

A listener that the kernel does not list in its namespace under its port cannot have received anything, and
then a silence proves nothing.

UDP sockets are listed in /proc/net/udp (proc(5)), TCP listeners by sock_diag(7), as ss(8) does:
/proc/net/tcp walks through the connections of the whole machine, 3 ms for each namespace that is looked at.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from netverify.kernel.channel import NETLINK_SOCK_DIAG, Channel, NetlinkError
from netverify.kernel.engines.engine import Listener
from netverify.kernel.namespace import Visitor
from netverify.kernel.netlink import TCP_LISTEN, list_listeners
from netverify.reachability.probe import Probe


def listening_ports(protocol: str, version: int) -> set[int]:
    """Ports on which the calling thread's namespace listens, on any address."""
    if protocol == "udp":
        return _in_file("udp", version)
    try:
        return _tcp_listeners(version)
    except NetlinkError as error:
        if error.errno != errno.ENOENT:
            raise
        return _in_file("tcp", version)  # a kernel without CONFIG_INET_DIAG


def _tcp_listeners(version: int) -> set[int]:
    channel = Channel(NETLINK_SOCK_DIAG)
    try:
        # struct inet_diag_msg (include/uapi/linux/inet_diag.h): the port is at byte 4
        return {struct.unpack_from("!H", body, 4)[0] for body in channel.dump(list_listeners(version))}
    finally:
        channel.close()


def _in_file(protocol: str, version: int) -> set[int]:
    name = protocol + ("6" if version == 6 else "")
    ports = set()
    for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]:
        _slot, local, _remote, state, *_ = line.split()
        if protocol == "udp" or int(state, 16) == TCP_LISTEN:
            ports.add(int(local.rpartition(":")[2], 16))
    return ports


def missing_listeners(visitor: Visitor, listeners: Sequence[Listener], probe: Probe) -> Mapping[str, str]:
    """Namespaces in which a listener should be and is not, with what to say about it."""
    if probe.port is None:
        return {}
    found = visitor.visit_all(
        (listener.namespace, partial(listening_ports, probe.protocol, listener.version or probe.version))
        for listener in listeners
    )
    return {
        listener.namespace.name: f"no {probe.protocol} listener on port {listener.port} in "
        f"{listener.namespace.name!r}: our own listener is missing"
        for listener, ports in zip(listeners, found, strict=True)
        if listener.port not in ports
    }
