"""ICMP and ICMPv6 echo: one raw socket per namespace sees requests come in and answers come back.

The kernel itself answers echo requests; the raw socket in the receiver's namespace gets a copy of each
(raw(7)), which is how the source address that the receiver saw becomes known. ICMP errors come to the
sender's raw socket and quote the request, payload included (RFC 792; Linux quotes up to 576 bytes).
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Sequence

from netverify.kernel.engines.engine import PAYLOAD, Engine, classify, enlarge, fresh_port
from netverify.kernel.namespace import Namespace

ECHO = {4: (8, 0), 6: (128, 129)}  # request, reply
ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
SOL_RAW = 255  # include/linux/socket.h
ICMP_FILTER, ICMPV6_FILTER = 1, 1  # include/uapi/linux/icmp.h, icmpv6.h
COLLECT_EVERY = 256
ECHO_HEADER = struct.Struct("!BBHHH")


class IcmpEngine(Engine):
    """Ask by echo request."""

    def open(self) -> None:
        """Open a raw socket in each namespace that sends or receives."""
        self._poll = self.stack.enter_context(select.epoll())
        spaces: dict[str, Namespace] = {pair.source.name: pair.source.namespace for pair in self.pairs}
        listening = {listener.namespace.fd: listener.namespace for listener in self.listeners}
        by_fd = {namespace.fd: namespace for namespace in spaces.values()} | listening
        namespaces = list(by_fd.values())
        self._identifier = fresh_port()
        self._sockets: dict[int, tuple[socket.socket, Namespace]] = {}
        self._senders: dict[int, socket.socket] = {}
        opened = self.visitor.visit_all((namespace, self._open) for namespace in namespaces)
        for namespace, sock in zip(namespaces, opened, strict=True):
            self.stack.callback(sock.close)
            self._poll.register(sock, select.EPOLLIN)
            self._sockets[sock.fileno()] = (sock, namespace)
            self._senders[namespace.fd] = sock
            self.check_home(sock, namespace)
        self._addresses = [(str(pair.target.address), 0) for pair in self.pairs]

    def _open(self) -> socket.socket:
        flags = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        wanted = (*ECHO[self.probe.version], *ERRORS[self.probe.version])
        if self.probe.version == 4:
            sock = socket.socket(socket.AF_INET, flags, socket.IPPROTO_ICMP)
            mask = 0xFFFF_FFFF & ~sum(1 << kind for kind in wanted)  # a set bit keeps a type out
            sock.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", mask))
        else:
            sock = socket.socket(socket.AF_INET6, flags, socket.IPPROTO_ICMPV6)
            words = [0xFFFF_FFFF] * 8
            for kind in wanted:
                words[kind >> 5] &= ~(1 << (kind & 31))
            sock.setsockopt(socket.IPPROTO_ICMPV6, ICMPV6_FILTER, struct.pack("=8I", *words))
        enlarge(sock)
        return sock

    def renew(self, numbers: Sequence[int]) -> None:
        """Begin a new round, under a new identifier: connection tracking remembers the last one's echoes."""
        super().renew(numbers)
        self._identifier = fresh_port()

    def send(self, numbers: Sequence[int]) -> None:
        """Send an echo request for each cell."""
        for count, number in enumerate(numbers, 1):
            sock = self._senders[self.pairs[number].source.namespace.fd]
            try:
                sock.sendto(self._request(number), self._addresses[number])
            except OSError as error:
                self.refuse(number, error)
            if count % COLLECT_EVERY == 0:
                self.collect()

    def _request(self, number: int) -> bytes:
        payload = self.payload(number)
        kind = ECHO[self.probe.version][0]
        if self.probe.version == 6:  # the kernel fills in the checksum (RFC 3542 section 3.1)
            return ECHO_HEADER.pack(kind, 0, 0, self._identifier, number & 0xFFFF) + payload
        message = ECHO_HEADER.pack(kind, 0, 0, self._identifier, number & 0xFFFF) + payload
        return message[:2] + struct.pack("!H", checksum(message)) + message[4:]

    def collect(self) -> bool:
        """Read requests, answers and errors until nothing is left."""
        found = False
        while ready := self._poll.poll(0, 4096):
            found = True
            for fd, _events in ready:
                self._read(*self._sockets[fd])
        return found

    def _read(self, sock: socket.socket, namespace: Namespace) -> None:
        request, reply = ECHO[self.probe.version]
        while True:
            try:
                packet, peer = sock.recvfrom(2048)
            except BlockingIOError:
                return
            message = packet[(packet[0] & 0xF) * 4 :] if self.probe.version == 4 else packet
            kind, code = message[0], message[1]
            if kind in (request, reply):
                number = self.number_of(message[8:])
                if number is None:
                    continue
                record = self.records[number]
                if kind == request:
                    record.arrived(namespace.name, peer[0].partition("%")[0])
                elif namespace.fd == self.pairs[number].source.namespace.fd:
                    record.answered(peer[0].partition("%")[0], self._addresses[number][0])
            else:
                self._complain(kind, code, message[8:], peer[0].partition("%")[0])

    def _complain(self, kind: int, code: int, quoted: bytes, offender: str) -> None:
        position = quoted.find(self.nonce)
        number = self.number_of(quoted[position : position + PAYLOAD.size]) if position >= 0 else None
        if number is None:
            return
        record = self.records[number]
        if record.receiver is None:
            version = self.probe.version
            record.refused(*classify(version, kind, code, offender, self.pairs[number].target.address))


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
