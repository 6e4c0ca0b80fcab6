"""Sniffers: every packet that passed one interface, from the moment the capture stood ready.

Where the tap stands
--------------------
A packet socket sees a packet at the edge of a device (packet(7); net/core/dev.c):

- what a device *receives* is tapped before IP sees it: before PREROUTING, so before DNAT, and before the
  addresses of a reply are translated back;
- what a device *sends* is tapped in dev_hard_start_xmit(): after POSTROUTING, so after SNAT and MASQUERADE.

A bridge is a device too: a frame from a container is *received* by br-x and then routed, a packet to a
container is *sent* by br-x. Between two bridges with MASQUERADE the first one therefore shows the container's
address and the second one the host's.

With br_netfilter (net.bridge.bridge-nf-call-iptables=1, which Docker sets) the frame meets iptables'
PREROUTING already on the bridge's port, before the bridge device receives it
(net/bridge/br_netfilter_hooks.c). Then a capture on the bridge shows a received packet after DNAT, and a
reply with its addresses translated back; a capture on the port (the host's end of the veth pair) still shows
it untouched.

A bridge device sees only what is for the host or comes from it; frames from port to port pass it by. A
`promiscuous` capture sees those as well, as tcpdump does by default; it is off by default here because it
makes the kernel handle every frame once more, and a measurement should not change what it measures.

Readiness
---------
The socket is opened without a protocol, so that it receives nothing; filter and ring are attached; only then
is it bound to ETH_P_ALL. No unwanted packet can slip in before the filter, and none is missed after bind(2)
returned, which is when `__enter__` returns. `bound_at` says when that was.

Reading
-------
There is no thread: the ring is read by `caught()` and at exit, and `wait()` sleeps in poll(2) until what it
is asked for is there. Who has an answer in hand knows that request and answer have passed every tap on their
way. Who concludes from silence must first let everything in flight end (netverify.kernel.barrier): over veth
a packet is mostly processed to its end before send() returns, but a busy CPU may leave the rest to ksoftirqd.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from netverify.errors import InputError, KernelError, MissingCapability
from netverify.kernel import bpf as filters
from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.packet_ring import SOL_PACKET, PacketRing
from netverify.reachability.flow import Direction

if TYPE_CHECKING:  # scapy takes a fifth of a second to import: only where a packet is decoded
    from scapy.layers.l2 import Ether

ETH_P_ALL = 0x0003  # include/uapi/linux/if_ether.h
PACKET_OUTGOING = 4  # include/uapi/linux/if_packet.h
PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 1, 1
# Devices whose packets begin with an Ethernet header (include/uapi/linux/if_arp.h).
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772

DEFAULT_CAPACITY = 2048
DEFAULT_SNAP_LENGTH = 1900


class CaptureError(KernelError):
    """A capture could not start, or what it holds is not all that passed."""


class CaptureOverflowError(CaptureError):
    """More packets passed than the capture had room for; `dropped` are missing from it."""

    def __init__(self, message: str, dropped: int) -> None:
        super().__init__(message)
        self.dropped = dropped


class CaptureTooLateError(CaptureError):
    """The capture was bound only after the moment that it is asked about: its silence proves nothing."""


@dataclass(frozen=True)
class Frame:
    """One packet as it passed the device, Ethernet header first.

    `length` is what was on the wire, in bytes; `data` may be shorter (`truncated`) where the capture's
    `snap_length` was. Between veth ends checksums are commonly not filled in yet: the kernel knows that the
    packet never left the machine.
    """

    time_ns: int  # nanoseconds since the epoch
    direction: Direction
    data: bytes
    length: int

    @property
    def truncated(self) -> bool:
        """Whether the end of the packet is missing."""
        return len(self.data) < self.length

    @cached_property
    def decoded(self) -> Ether:
        """The packet taken apart by scapy: IPv4, IPv6, ARP, ICMP, TCP, UDP, VXLAN."""
        # Importing a layer is how scapy learns to decode it.
        import scapy.layers.inet
        import scapy.layers.inet6
        import scapy.layers.vxlan  # noqa: F401
        from scapy.layers.l2 import Ether

        return Ether(self.data)

    def __str__(self) -> str:
        return f"{self.direction.value}: {self.decoded.summary()}"


class Capture:
    """Every packet that passes `interface` of `namespace` while the `with` block runs.

    `bpf` is a filter in tcpdump's language (pcap-filter(7)); with none everything is kept. The capture has
    room for `capacity` packets between two readings, each cut at no less than `snap_length` bytes.

    Raises InputError for a filter that libpcap refuses, MissingCapability where the machine has no packet
    sockets (or no libpcap, and there is a filter), CaptureError where the interface is missing, down, or not
    Ethernet; at exit and from `caught()`, CaptureOverflowError when packets were dropped, and CaptureError
    when the interface went down or away, for then the capture has a gap. What was caught is still in
    `frames`.
    """

    def __init__(
        self,
        visitor: Visitor,
        namespace: Namespace,
        interface: str,
        bpf: str = "",
        *,
        capacity: int = DEFAULT_CAPACITY,
        snap_length: int = DEFAULT_SNAP_LENGTH,
        promiscuous: bool = False,
    ) -> None:
        if capacity < 1 or not 64 <= snap_length <= 0xFFFF:
            raise InputError(
                f"capture on {interface}: room for {capacity} packets of {snap_length} bytes; expected at "
                "least one packet, and a snap length from 64 to 65535"
            )
        self._visitor = visitor
        self.namespace = namespace
        self.interface = interface
        self.bpf = bpf
        self._capacity = capacity
        self._snap_length = snap_length
        self._promiscuous = promiscuous
        self._resources = ExitStack()
        self._socket: socket.socket | None = None
        self._ring: PacketRing | None = None
        self._frames: list[Frame] = []
        self._bound_at: int | None = None
        self._closed_at: int | None = None
        self._dropped = 0
        self._gap = 0  # errno of what interrupted the capture

    @property
    def name(self) -> str:
        """What this capture is called in messages: namespace and interface."""
        return f"{self.namespace.name}/{self.interface}"

    @property
    def frames(self) -> tuple[Frame, ...]:
        """What has been read so far, oldest first: after exit, all of it."""
        return tuple(self._frames)

    @property
    def bound_at(self) -> int:
        """When it was bound, in nanoseconds since the epoch; every packet from then on is in it."""
        if self._bound_at is None:
            raise CaptureError(f"the capture on {self.name} has never been started: use it in a `with` block")
        return self._bound_at

    def __enter__(self) -> Self:
        if self._bound_at is not None:
            raise CaptureError(f"the capture on {self.name} has run already; make a new one")
        with self._resources:
            self._socket = self._open()
            self._resources.callback(self._socket.close)
            self._ring = self._prepare(self._socket)
            self._resources.callback(self._ring.close)
            self._start(self._socket)
            self._bound_at = time.time_ns()
            self._resources = self._resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._resources:
            self._read()
            self._closed_at = time.time_ns()
            self._socket = self._ring = None
        problem = self._problem()
        if problem is None:
            return
        if error is None:
            raise problem
        error.add_note(str(problem))

    def caught(self) -> tuple[Frame, ...]:
        """What has passed until now, oldest first; raises CaptureError where something is missing from it."""
        if self.bound_at:
            self._read()
        problem = self._problem()
        if problem is not None:
            raise problem
        return self.frames

    def wait(self, wanted: Callable[[tuple[Frame, ...]], bool], timeout: float) -> tuple[Frame, ...]:
        """Wait until what was caught is `wanted`; `timeout` seconds at most, then raises CaptureError."""
        deadline = time.monotonic() + timeout
        while not wanted(frames := self.caught()):
            if self._socket is None:
                raise CaptureError(
                    f"the capture on {self.name} is over, and what was waited for is not in it"
                )
            left = deadline - time.monotonic()
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            if left <= 0 or not poll.poll(left * 1000):
                seen = "".join(f"\n    {frame}" for frame in self.frames[-10:]) or " none"
                raise CaptureError(
                    f"the capture on {self.name} waited {timeout:g} s in vain; caught (the last ten of "
                    f"{len(self.frames)}):{seen}"
                )
        return frames

    def require_since(self, moment_ns: int) -> None:
        """Raise CaptureTooLateError unless it stood at that moment (nanoseconds since the epoch).

        A test that concludes from silence asks this with the time at which it sent.
        """
        late = self.bound_at - moment_ns
        if late > 0:
            raise CaptureTooLateError(
                f"the capture on {self.name} was bound {late / 1e6:.3f} ms too late: what was sent before "
                "is not in it, and that it saw nothing proves nothing. Start it before sending"
            )
        if self._closed_at is not None and moment_ns > self._closed_at:
            raise CaptureTooLateError(
                f"the capture on {self.name} had ended {(moment_ns - self._closed_at) / 1e6:.3f} ms before. "
                "Send inside its `with` block"
            )

    def write(self, path: Path) -> None:
        """Write what has been caught as a pcap file: Ethernet, timestamps in nanoseconds."""
        from scapy.utils import RawPcapWriter

        with RawPcapWriter(str(path), linktype=filters.LINKTYPE_ETHERNET, nano=True) as writer:
            writer.write_header(None)
            for frame in self.frames:
                seconds, nanoseconds = divmod(frame.time_ns, 1_000_000_000)
                writer.write_packet(frame.data, sec=seconds, usec=nanoseconds, wirelen=frame.length)

    def _open(self) -> socket.socket:
        """A packet socket that belongs to the namespace and receives nothing yet."""
        make = partial(socket.socket, socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            return self._visitor.visit(self.namespace, make)
        except OSError as error:
            raise MissingCapability(
                "AF_PACKET",
                f"a packet socket in namespace {self.namespace.name!r} was refused ({error.strerror})",
                "It needs CAP_NET_RAW over that namespace, and a kernel with CONFIG_PACKET.",
            ) from error

    def _prepare(self, sock: socket.socket) -> PacketRing:
        """Settle everything before the first packet: the device, its kind, the filter, the ring."""
        try:
            sock.bind((self.interface, 0))  # protocol 0: bound to the device, still receiving nothing
        except OSError as error:
            there = self._visitor.visit(self.namespace, socket.if_nameindex)
            raise CaptureError(
                f"cannot capture on {self.name}: {error.strerror}. Interfaces there: "
                f"{', '.join(name for _, name in there)}"
            ) from error
        hardware = sock.getsockname()[3]
        if hardware not in (ARPHRD_ETHER, ARPHRD_LOOPBACK):
            raise CaptureError(
                f"cannot capture on {self.name}: its packets have no Ethernet header "
                f"(hardware type {hardware})"
            )
        if self._promiscuous:
            index = self._visitor.visit(self.namespace, partial(socket.if_nametoindex, self.interface))
            request = struct.pack("@iHH8s", index, PACKET_MR_PROMISC, 0, b"")
            sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)
        if self.bpf:
            filters.attach(sock, filters.compile_bpf(self.bpf))
        try:
            return PacketRing(sock, self._capacity, self._snap_length)
        except OSError as error:
            raise CaptureError(
                f"cannot capture on {self.name}: no room for {self._capacity} packets of {self._snap_length} "
                f"bytes ({error.strerror}); ask for less capacity"
            ) from error

    def _start(self, sock: socket.socket) -> None:
        sock.bind((self.interface, ETH_P_ALL))
        refused = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if refused:
            raise CaptureError(
                f"cannot capture on {self.name}: {os.strerror(refused)}. Bring the interface up first"
            )

    def _read(self) -> None:
        if self._ring is None or self._socket is None:
            return
        for slot in self._ring.read():
            direction = Direction.OUT if slot.packet_type == PACKET_OUTGOING else Direction.IN
            self._frames.append(Frame(slot.time_ns, direction, slot.data, slot.length))
        self._dropped += self._ring.dropped()
        self._gap = self._gap or self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _problem(self) -> CaptureError | None:
        if self._dropped:
            return CaptureOverflowError(
                f"the capture on {self.name} lost {self._dropped} packets: it has room for "
                f"{self._capacity} between two readings. Give it a larger capacity or a filter, or call "
                "caught() more often",
                self._dropped,
            )
        if self._gap:
            gone = "went down or away" if self._gap == errno.ENETDOWN else os.strerror(self._gap)
            return CaptureError(
                f"the capture on {self.name} has a gap: the interface {gone} while it ran. End the capture "
                "before that"
            )
        return None
