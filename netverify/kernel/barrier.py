"""How to know, without waiting, that nothing is in flight any more.

Theory. A packet that is sent into a veth pair is put on the *backlog of the CPU that runs the sender*
(`veth_xmit` -> `netif_rx` -> `enqueue_to_backlog`), a first-in-first-out queue that this CPU works off in
softirq context. Whatever a packet meets there, bridge, routing, netfilter, local delivery, the kernel's own
reply, happens in that same softirq and ends in one of four ways: it is delivered to a socket, it is dropped,
it waits for a neighbour to be resolved, or it is put at the *end* of the same backlog by the next veth hop.

So if one thread, pinned to one CPU, sends probes and then a marker frame over a private veth pair, then when
the marker comes out, every probe has moved by at least one hop, or has ended. After `ROUNDS` markers, each
sent when the one before had come out, every probe that could still move has made `ROUNDS` hops. A route has
fewer hops than a packet has TTL (64), and request and answer are two routes: 128 markers, a millisecond in
all, are enough even for a routing loop.

What the theory leaves out is watched elsewhere. Packets that wait for a neighbour: `settle` waits for the
neighbour's fate as an event. Devices that defer work to another CPU (macvlan's broadcasts; RPS, when somebody
turned it on): these show as packets missing from the conservation sum, thus as ERROR, never as isolation.
"""

from __future__ import annotations

import atexit
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from netverify.errors import KernelError
from netverify.kernel import carrier
from netverify.kernel.channel import Channel
from netverify.kernel.namespace import Visitor
from netverify.kernel.netlink import VethEnd, add_veth, set_link

ROUNDS = 128
ETHERTYPE = 0x88B5  # IEEE 802: for local experiments
PATIENCE = 10.0  # seconds; a marker that takes longer means that this CPU serves no softirqs at all

_HEADER = b"\xff" * 6 + b"\x02" + b"\0" * 5 + ETHERTYPE.to_bytes(2, "big")


class Barrier:
    """Sends markers; pins the calling thread to one CPU while it is entered."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor

    def __enter__(self) -> Self:
        self._lane = _lane(self._visitor)
        self._cpus = os.sched_getaffinity(0)
        self.cpu = _present_cpu(self._cpus)
        self._pin({self.cpu})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pin(self._cpus)

    def _pin(self, cpus: set[int]) -> None:
        """Pin both threads that send: sched_setaffinity(0) is about the calling thread alone."""
        os.sched_setaffinity(0, cpus)
        self._visitor.call(lambda: os.sched_setaffinity(0, cpus))

    def wait_everywhere(self) -> None:
        """Like `wait`, on every CPU in turn: for packets that were released by somebody else's softirq."""
        for cpu in sorted(self._cpus - {self.cpu}):
            os.sched_setaffinity(0, {cpu})
            self.wait()
        os.sched_setaffinity(0, {self.cpu})
        self.wait()

    def wait(self, rounds: int = ROUNDS) -> None:
        """Return when every packet sent before has been delivered or dropped, or waits for a neighbour.

        Raises KernelError when a marker does not come out: then nothing can be said about any probe.
        """
        try:
            for _ in range(rounds):
                self._lane.run()
        except TimeoutError as error:
            raise KernelError(
                f"a marker frame did not come out of its veth pair within {PATIENCE:.0f} s: CPU {self.cpu} "
                "does not serve network softirqs, so no probe can be judged"
            ) from error


@dataclass
class _Lane:
    """A private veth pair with a packet socket at each end, and how many markers it has seen."""

    near: socket.socket
    far: socket.socket
    markers: int = 0

    def run(self) -> None:
        """Send a marker and take it out again; one that an interrupted wait left behind is passed over."""
        self.markers += 1
        frame = _HEADER + self.markers.to_bytes(8, "big")
        self.near.send(frame)
        while self.far.recv(64) != frame:
            pass

    def close(self) -> None:
        """Close both sockets; nothing else holds the namespace."""
        self.near.close()
        self.far.close()


# One lane serves the whole process: closing a packet socket waits for the kernel's RCU readers
# (packet_release, net/packet/af_packet.c), some 20 ms that every single question would pay. By process, so
# that a forked child makes its own.
_lanes: dict[int, _Lane] = {}


def _lane(visitor: Visitor) -> _Lane:
    process = os.getpid()
    if process not in _lanes:
        ((namespace, lane),) = visitor.create(["marker"], _open_lane)
        namespace.close()
        atexit.register(lane.close)
        _lanes[process] = lane
    return _lanes[process]


def _open_lane() -> _Lane:
    channel = Channel()
    try:
        near, far = VethEnd("marker0", 2), VethEnd("marker1", 3)
        channel.send("marker", [add_veth(near, far), set_link(3, up=True)])
        carrier.settle_here(channel, [2, 3])
    finally:
        channel.close()
    return _Lane(_packet_socket("marker0"), _packet_socket("marker1"))


def _packet_socket(device: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((device, ETHERTYPE))
    sock.settimeout(PATIENCE)
    return sock


def _present_cpu(cpus: set[int]) -> int:
    """The CPU that this thread is on right now: two workers rarely choose the same one."""
    # Field 39 of /proc/thread-self/stat (proc(5)); the command name before it may hold blanks.
    stat = Path("/proc/thread-self/stat").read_text("ascii", errors="replace")
    current = int(stat.rpartition(")")[2].split()[36])
    return current if current in cpus else min(cpus)
