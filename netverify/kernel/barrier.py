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

import os
import socket
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

_FRAME = b"\xff" * 6 + b"\x02" + b"\0" * 5 + ETHERTYPE.to_bytes(2, "big") + b"netverify marker"


class Barrier:
    """A private veth pair on which markers run; pins the calling thread to one CPU while it is entered."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor

    def __enter__(self) -> Self:
        self._cpus = os.sched_getaffinity(0)
        self.cpu = _present_cpu(self._cpus)
        self._pin({self.cpu})
        ((self._namespace, (self._near, self._far)),) = self._visitor.create(["marker"], _open_lane)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._near.close()
        self._far.close()
        self._namespace.close()
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
                self._near.send(_FRAME)
                self._far.recv(64)
        except TimeoutError as error:
            raise KernelError(
                f"a marker frame did not come out of its veth pair within {PATIENCE:.0f} s: CPU {self.cpu} "
                "does not serve network softirqs, so no probe can be judged"
            ) from error


def _open_lane() -> tuple[socket.socket, socket.socket]:
    channel = Channel()
    try:
        near, far = VethEnd("marker0", 2), VethEnd("marker1", 3)
        channel.send("marker", [add_veth(near, far), set_link(3, up=True)])
        carrier.settle_here(channel, [2, 3])
    finally:
        channel.close()
    ends = []
    for name in ("marker0", "marker1"):
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        end.bind((name, ETHERTYPE))
        end.settimeout(PATIENCE)
        ends.append(end)
    return ends[0], ends[1]


def _present_cpu(cpus: set[int]) -> int:
    """The CPU that this thread is on right now: two workers rarely choose the same one."""
    # Field 39 of /proc/thread-self/stat (proc(5)); the command name before it may hold blanks.
    stat = Path("/proc/thread-self/stat").read_text("ascii", errors="replace")
    current = int(stat.rpartition(")")[2].split()[36])
    return current if current in cpus else min(cpus)
