"""A netlink socket of one namespace, and how to send many requests through it at once.

`Channel.send()` hands the kernel a whole list of requests in one datagram; the kernel works through them in
order before sendto(2) returns, and stops for nothing. Only the last request asks for an acknowledgement,
since a failed one is answered in any case (netlink(7)); errors therefore come first, each naming its request
by sequence number.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence

from netverify.errors import KernelError
from netverify.kernel.netlink import NLM_F_ACK, NLM_F_REQUEST, RTM_GETLINK, RTM_NEWLINK, Request

# include/uapi/linux/netlink.h
NETLINK_ROUTE, NETLINK_SOCK_DIAG = 0, 4
NLMSG_ERROR, NLMSG_DONE = 2, 3
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
NLMSGERR_ATTR_MSG = 1
IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS = 29, 8  # include/uapi/linux/if_link.h, rtnetlink.h

_LARGEST_BATCH = 128 * 1024  # bytes; below the default net.core.wmem_max (212,992), which bounds one datagram
# The kernel may refuse every request of a batch, and drops answers that a socket buffer of the default size
# (net.core.rmem_default, also 212,992 bytes) cannot hold: some 270, each with its reason and bookkeeping.
_MOST_REQUESTS = 128
_QUERIES = 32  # answers that a socket buffer of the default size holds


class NetlinkError(KernelError):
    """The kernel refused a request; `errno` says why, the message says which request, and where."""

    def __init__(self, namespace: str, what: str, number: int, hint: str) -> None:
        reason = os.strerror(number) + (f" ({hint})" if hint else "")
        super().__init__(f"namespace {namespace!r}: {what}: {reason}")
        self.errno = number


class Channel:
    """A netlink socket of one namespace; must be opened by a thread that is inside it.

    `family` says with which part of the kernel it talks (netlink(7)).
    """

    def __init__(self, family: int = NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, namespace: str, requests: Sequence[Request]) -> None:
        """Have the kernel carry out `requests` in order; raises NetlinkError for the first that it refuses.

        The kernel does not stop at a refused request: those after it in the same batch are carried out too.
        """
        for batch in _batches(requests):
            first = self._sequence + 1
            self._sequence += len(batch)
            datagram = bytearray()
            for number, request in enumerate(batch, first):
                start = len(datagram)
                datagram += request.data
                datagram += bytes(-len(datagram) % 4)
                struct.pack_into("=I", datagram, start + 8, number)
            last = start + 6
            flags = struct.unpack_from("=H", datagram, last)[0]
            struct.pack_into("=H", datagram, last, flags | NLM_F_ACK)
            self._socket.send(datagram)
            self._collect(namespace, batch, first)

    def _collect(self, namespace: str, batch: Sequence[Request], first: int) -> None:
        failure: NetlinkError | None = None
        while True:
            for kind, number, body in _messages(self._socket.recv(65536)):
                if kind != NLMSG_ERROR:
                    continue
                code = -struct.unpack_from("=i", body)[0]
                if code and failure is None:
                    failure = NetlinkError(namespace, batch[number - first].what, code, _hint(body))
                if number == self._sequence:
                    if failure is not None:
                        raise failure
                    return

    def refusal(self, request: Request) -> int:
        """Send one request and return the errno that the kernel refuses it with, 0 where it does not."""
        self._sequence += 1
        data = bytearray(request.data)
        struct.pack_into("=I", data, 8, self._sequence)
        self._socket.send(data)
        while True:
            for kind, number, body in _messages(self._socket.recv(65536)):
                if number == self._sequence:
                    return -int(struct.unpack_from("=i", body)[0]) if kind == NLMSG_ERROR else 0

    def link_flags(self, indexes: Sequence[int]) -> list[int]:
        """The flags (IFF_UP and so on, netdevice(7)) of each device, 0 for one that is gone."""
        found: list[int] = []
        for start in range(0, len(indexes), _QUERIES):
            part = indexes[start : start + _QUERIES]
            first = self._sequence + 1
            self._sequence += len(part)
            self._socket.send(
                b"".join(_link_query(number, index) for number, index in enumerate(part, first))
            )
            flags = dict.fromkeys(range(first, first + len(part)), 0)
            waiting = len(part)
            while waiting:
                for kind, number, body in _messages(self._socket.recv(1 << 18)):
                    if number in flags:
                        waiting -= 1
                        if kind == RTM_NEWLINK:
                            flags[number] = struct.unpack_from("=I", body, 8)[0]
            found += flags.values()
        return found

    def dump(self, request: Request) -> Iterator[bytes]:
        """Ask for a whole table by one of `netlink`'s `list_` requests; yields each answer's bytes."""
        self._sequence += 1
        data = bytearray(request.data)
        struct.pack_into("=I", data, 8, self._sequence)
        self._socket.send(data)
        while True:
            for answer, number, body in _messages(self._socket.recv(1 << 18)):
                if number != self._sequence:
                    continue
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise NetlinkError("(dump)", request.what, code, _hint(body))
                yield body


def _link_query(number: int, index: int) -> bytes:
    """RTM_GETLINK for one device, without the statistics that nobody reads here."""
    link = struct.pack("=BxHiII", 0, 0, index, 0, 0)
    mask = struct.pack("=HHI", 8, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    length = 16 + len(link) + len(mask)
    return struct.pack("=IHHII", length, RTM_GETLINK, NLM_F_REQUEST, number, 0) + link + mask


def _batches(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    start = size = 0
    for position, request in enumerate(requests):
        if size and (size + len(request.data) > _LARGEST_BATCH or position - start == _MOST_REQUESTS):
            yield requests[start:position]
            start, size = position, 0
        size += len(request.data) + 3
    if start < len(requests):
        yield requests[start:]


def _messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Split a datagram into (type, sequence number, body)."""
    position = 0
    while position + 16 <= len(datagram):
        length, kind, _flags, number = struct.unpack_from("=IHHI", datagram, position)
        yield kind, number, datagram[position + 16 : position + length]
        position += (length + 3) & ~3


def _hint(body: bytes) -> str:
    """The kernel's own words about an error (NLMSGERR_ATTR_MSG), where it has any."""
    position = 4 + 16  # the error code, then the header of the refused request (NETLINK_CAP_ACK)
    while position + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, position)
        if length < 4:
            return ""
        if kind & 0x3FFF == NLMSGERR_ATTR_MSG:
            return body[position + 4 : position + length].rstrip(b"\0").decode(errors="replace")
        position += (length + 3) & ~3
    return ""
