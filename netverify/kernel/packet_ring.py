"""The memory that a packet socket shares with the kernel: a ring of fixed-size slots, TPACKET_V2.

A capture must hold a whole experiment, and a socket's receive buffer cannot: only the real root may raise it
over net.core.rmem_max (about 500 small packets by default), and a sandboxed ordinary user is not the real
root. The ring is allocated apart from that limit (Documentation/networking/packet_mmap.rst), it is read
without a system call, and each slot carries the time in nanoseconds. Version 2 rather than 3, because version
3 hands packets over in blocks that close only when full or after a timeout, and nothing here waits for time
to pass.

Ownership of a slot is one word: the kernel fills a slot whose status is 0 and then sets TP_STATUS_USER; we
copy it out and write 0. When the next slot is still ours, the kernel drops the packet and counts it
(PACKET_STATISTICS).
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# include/uapi/linux/if_packet.h
SOL_PACKET = 263
PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION, TPACKET_V2 = 5, 6, 10, 1
TP_STATUS_KERNEL, TP_STATUS_USER = 0, 1
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6

_HEADER = struct.Struct("@IIIHHIIHH4x")  # struct tpacket2_hdr
_LINK = struct.Struct("@HHiHBB8s")  # struct sockaddr_ll, right behind it
_STATUS = struct.Struct("@I")  # native, so that it is stored whole and not byte by byte
_STATISTICS = struct.Struct("@II")  # struct tpacket_stats

_OVERHEAD = 96  # bytes of a slot before the packet: both structures and the MAC header, aligned
_SMALLEST_SLOT = 2048
_BLOCK = 64 * 1024  # bytes that the kernel allocates in one piece; holds whole slots
_ETH_P_8021Q = 0x8100


@dataclass(frozen=True)
class Slot:
    """One packet as the kernel put it into the ring; `length` counts what `data` may lack at its end."""

    time_ns: int
    packet_type: int
    length: int
    data: bytes


class PacketRing:
    """A receive ring of at least `capacity` packets, of each at least the first `snap_length` bytes.

    Raises OSError where the kernel has not got the memory.
    """

    def __init__(self, sock: socket.socket, capacity: int, snap_length: int) -> None:
        self._size = max(_SMALLEST_SLOT, 1 << (snap_length + _OVERHEAD - 1).bit_length())
        block = max(_BLOCK, self._size)
        per_block = block // self._size
        blocks = -(-capacity // per_block)
        self.capacity = blocks * per_block
        sock.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
        sock.setsockopt(
            SOL_PACKET, PACKET_RX_RING, struct.pack("@IIII", block, blocks, self._size, self.capacity)
        )
        self._socket = sock
        self._memory = mmap.mmap(sock.fileno(), block * blocks)
        self._next = 0

    def read(self) -> Iterator[Slot]:
        """Take out every packet that is there; each slot goes back to the kernel as it is read."""
        while True:
            start = self._next * self._size
            status, length, kept, mac, _, seconds, nanoseconds, tci, tpid = _HEADER.unpack_from(
                self._memory, start
            )
            if not status & TP_STATUS_USER:
                return
            packet_type = _LINK.unpack_from(self._memory, start + _HEADER.size)[4]
            data = self._memory[start + mac : start + mac + kept]
            _STATUS.pack_into(self._memory, start, TP_STATUS_KERNEL)
            self._next = (self._next + 1) % self.capacity
            if status & TP_STATUS_VLAN_VALID:
                # The device took the 802.1Q tag out of the frame (vlan offload); on the wire it stands here.
                kind = tpid if status & TP_STATUS_VLAN_TPID_VALID else _ETH_P_8021Q
                data = data[:12] + struct.pack("!HH", kind, tci) + data[12:]
                length += 4
            yield Slot(seconds * 1_000_000_000 + nanoseconds, packet_type, length, data)

    def dropped(self) -> int:
        """How many packets found no free slot since this was last asked (the kernel resets its count)."""
        _received, dropped = _STATISTICS.unpack(
            self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, _STATISTICS.size)
        )
        return int(dropped)

    def close(self) -> None:
        """Unmap the ring; the kernel frees it with the socket."""
        self._memory.close()
