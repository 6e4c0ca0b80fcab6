"""TCP: a real connection per cell, without waiting for a single one.

connect(2) on a non-blocking socket sends the SYN before it returns; when the barrier has passed, the
handshake is over or will never be. Then the client says which cell it is, the listener says it back, and only
that echo counts as an answer: a userland proxy completes a handshake for a service that it cannot reach.

A raw socket beside each listener sees the SYNs themselves, so that a SYN that arrived while its answer was
lost is told from one that never came. Each connection has a source port of its own, which NAT keeps as long
as it is free (RFC 5382, REQ-1; nf_nat_core.c), so the port names the cell.

ICMP errors are read from the error queue: while connect(2) still holds the socket, the kernel only notes them
there (`tcp_v4_err`, net/ipv4/tcp_ipv4.c).
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from netverify.kernel import files
from netverify.kernel.engines.engine import (
    EE_ORIGIN_LOCAL,
    IP_RECVERR,
    IPV6_RECVERR,
    Engine,
    Listener,
    Relay,
    bind_fresh,
    classify,
    endpoint,
    enlarge,
    error_queue,
)
from netverify.kernel.namespace import Namespace
from netverify.kernel.netlink import Address
from netverify.reachability.probe import Outcome

AT_ONCE = 4000  # connections, where the limit of open files allows; each batch costs a settling of its own
SPAN = 0.25  # seconds after which a batch is ended; what it takes to end one comes on top
FILES_EACH = 4  # the client's, the service's, and a relay's two
BACKLOG = 4096
SYN, ACK = 0x02, 0x10
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLERR
NO_LINGER = struct.pack("ii", 1, 0)  # close with a reset, which leaves no state behind (socket(7))


@dataclass
class _Service:
    """A listening socket, and where nobody passes connections on the raw socket that sees its SYNs."""

    sock: socket.socket
    role: Listener | Relay
    raw: socket.socket | None = None
    accepted: list[tuple[socket.socket, str]] = field(default_factory=list)


class TcpEngine(Engine):
    """Ask by connecting. `send` works in batches of connections, each closed before the next begins."""

    def open(self) -> None:
        """Open the listeners and relays."""
        self._poll = self.stack.enter_context(select.epoll())
        self._doors = self.stack.enter_context(select.epoll())  # the services' sockets
        self._connections: dict[int, socket.socket] = {}
        self._numbers: dict[int, int] = {}  # by the connection's descriptor
        self._ports: dict[int, int] = {}
        self._began = 0.0  # when the first of the open connections was begun
        self._relayed: list[tuple[socket.socket, socket.socket]] = []
        self._services: list[_Service] = []
        texts = {pair.target.address: str(pair.target.address) for pair in self.pairs}
        self._destinations = [
            (texts[pair.target.address], pair.target.port or self.probe.port) for pair in self.pairs
        ]
        for listener in self.listeners:
            version = listener.version or self.probe.version
            self._serve(listener, listener.namespace, None, listener.port or 0, version)
        for relay in self.relays:
            self._serve(relay, relay.namespace, relay.address, relay.port, relay.version)

    def _serve(
        self, role: Listener | Relay, namespace: Namespace, address: object, port: int, version: int
    ) -> None:
        def work() -> tuple[socket.socket, socket.socket | None]:
            sock = _socket(version)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # A proxy on one address of a namespace, and somebody else's service on all its others.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("" if address is None else str(address), port))
            sock.listen(BACKLOG)
            takes = isinstance(role, Listener) or role.upstream is None
            raw = _raw_socket(version) if takes else None
            if raw is not None and address is not None:
                raw.bind((str(address), 0))
            return sock, raw

        sock, raw = self.visitor.visit(namespace, work)
        self.stack.callback(sock.close)
        if raw is not None:
            self.stack.callback(raw.close)
        for door in (sock, raw):
            if door is not None:
                self._doors.register(door, select.EPOLLIN)
        self._services.append(_Service(sock, role, raw))
        self.check_home(sock, namespace)

    def send(self, numbers: Sequence[int]) -> None:
        """Connect for each cell; each source is visited once per batch.

        A batch ends early where it takes long: a SYN that nobody answers is repeated after a second
        (TCP_TIMEOUT_INIT, RFC 6298), and would be counted twice.
        """
        at_once = max(1, min(AT_ONCE, files.room() // FILES_EACH))
        for start in range(0, len(numbers), at_once):
            by_source: dict[int, list[int]] = {}
            for number in numbers[start : start + at_once]:
                by_source.setdefault(self.pairs[number].source.namespace.fd, []).append(number)
            for part in by_source.values():
                if len(self._connections) + len(part) > at_once or self._is_late():
                    self.conclude(list(self._connections))
                if not self._connections:
                    self._began = time.monotonic()
                namespace = self.pairs[part[0]].source.namespace
                self.visitor.visit(namespace, lambda part=part: self._connect(part))  # type: ignore[misc]
                self.check_home(self._connections[part[0]], namespace)

    def _is_late(self) -> bool:
        return bool(self._connections) and time.monotonic() - self._began > SPAN

    def _connect(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            sock, port = _client(self.probe.version)
            self._connections[number] = sock
            self._numbers[sock.fileno()] = number
            self._ports[port] = number
            problem = sock.connect_ex(self._destinations[number])
            self._poll.register(sock, _EVENTS)
            if problem not in (errno.EINPROGRESS, 0) and not self._read_errors(number, sock):
                self.refuse(number, OSError(problem, ""))

    def collect(self) -> bool:
        """Take every connection one step further; whether any moved."""
        moved = self._see_handshakes()
        ready = {fd for fd, _events in self._doors.poll(0, 2 * len(self._services) + 1)}
        for service in self._services:
            if service.raw is not None and service.raw.fileno() in ready:
                self._see_syns(service.raw, service.role)
            if service.sock.fileno() in ready:
                moved |= self._accept(service)
            if service.accepted:
                moved |= self._listen(service)
        return self._pass_on() or moved

    def _see_handshakes(self) -> bool:
        moved = False
        for fd, events in self._poll.poll(0, max(1, len(self._connections))):
            number = self._numbers[fd]
            moved |= self._step(number, self._connections[number], events)
        return moved

    def _step(self, number: int, sock: socket.socket, events: int) -> bool:
        """One connection's progress: an error, a finished handshake, or the echo."""
        record = self.records[number]
        if record.outcome is not None or record.replied or self._read_errors(number, sock):
            return False
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem == errno.ECONNREFUSED:
            record.refused(Outcome.REFUSED, "answered with a reset")
        elif problem:
            self.refuse(number, OSError(problem, ""))
        elif events & select.EPOLLIN:
            echo = _receive(sock)
            if self.number_of(echo) == number:
                record.replied = True
                record.answers += 1
        elif events & select.EPOLLOUT and not events & select.EPOLLHUP and record.detail != "connected":
            record.detail = "connected"  # tells the listener which cell this is, once
            _send(sock, self.payload(number))
        else:
            return False
        return True

    def _read_errors(self, number: int, sock: socket.socket) -> bool:
        record, target = self.records[number], self.pairs[number].target.address
        for entry in error_queue(sock):
            if entry.origin == EE_ORIGIN_LOCAL:
                self.refuse(number, OSError(entry.number, ""))
            else:
                record.refused(*classify(target.version, entry.kind, entry.code, entry.offender, target))
        return record.outcome is not None

    def _see_syns(self, raw: socket.socket, role: Listener | Relay) -> None:
        while True:
            try:
                packet, peer = raw.recvfrom(2048)
            except BlockingIOError:
                return
            version = role.version or self.probe.version
            segment = packet[(packet[0] & 0xF) * 4 :] if version == 4 else packet
            sport, dport = struct.unpack_from("!HH", segment)
            if dport == role.port and segment[13] & (SYN | ACK) == SYN:
                number = self._ports.get(sport)
                if number is not None and self.records[number].receiver is None:
                    seen = endpoint(peer[0].partition("%")[0], sport)
                    self.records[number].arrived(role.namespace.name, seen)

    def _accept(self, service: _Service) -> bool:
        moved = False
        while True:
            try:
                connection, peer = service.sock.accept()
            except BlockingIOError:
                return moved
            moved = True
            connection.setblocking(False)
            service.accepted.append((connection, endpoint(peer[0], peer[1])))
            if isinstance(service.role, Relay) and service.role.upstream is not None:
                self._relayed.append((connection, self._upstream(service.role, service.role.upstream)))

    def _upstream(self, relay: Relay, address: Address) -> socket.socket:
        """The proxy's own connection to the container, from the host."""

        def work() -> socket.socket:
            sock, _port = _client(address.version)
            sock.connect_ex((str(address), relay.upstream_port))
            return sock

        return self.visitor.visit(relay.namespace, work)

    def _listen(self, service: _Service) -> bool:
        """Read which cell each accepted connection is, and say it back."""
        moved = False
        if isinstance(service.role, Listener):
            for connection, peer in service.accepted:
                payload = _receive(connection)
                number = self.number_of(payload)
                if number is not None:
                    moved = True
                    self.records[number].arrived(service.role.namespace.name, peer)
                    _send(connection, payload)
        return moved

    def _pass_on(self) -> bool:
        """Carry bytes through the proxies, both ways."""
        moved = False
        for client, upstream in self._relayed:
            for reader, writer in ((client, upstream), (upstream, client)):
                if data := self._peek_ready(reader, writer):
                    moved = True
                    _send(writer, data)
        return moved

    @staticmethod
    def _peek_ready(reader: socket.socket, writer: socket.socket) -> bytes:
        """What waits to be carried, once the other side stands; nothing is taken before that."""
        with select.epoll() as poll:
            poll.register(writer, select.EPOLLOUT)
            ready = [events for _fd, events in poll.poll(0)]
        if not ready or ready[0] & (select.EPOLLERR | select.EPOLLHUP):
            return b""
        return _receive(reader)

    def conclude(self, numbers: Sequence[int]) -> None:
        """Read what came of the open connections, then close them with a reset."""
        super().conclude([number for number in numbers if number in self._connections])
        for number, sock in self._connections.items():
            record = self.records[number]
            if record.detail == "connected":
                # Somebody completed the handshake and never answered: no listener of ours (a proxy, say).
                record.detail = (
                    "" if record.replied or record.receiver else "connected, but no service answered"
                )
            _reset(sock)
        for service in self._services:
            for connection, _peer in service.accepted:
                _reset(connection)
            service.accepted.clear()
        for _client_side, upstream in self._relayed:
            _reset(upstream)
        self._relayed.clear()
        self._connections.clear()
        self._numbers.clear()
        self._ports.clear()

    def close(self) -> None:
        """Close everything."""
        for sock in self._connections.values():
            sock.close()
        for service in self._services:
            for connection, _peer in service.accepted:
                connection.close()
        for _client_side, upstream in self._relayed:
            upstream.close()
        super().close()


def _socket(version: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if version == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _client(version: int) -> tuple[socket.socket, int]:
    """A socket that is ready to connect, and its source port."""
    sock = _socket(version)
    if version == 4:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    return sock, bind_fresh(sock)


def _raw_socket(version: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    raw = socket.socket(family, kind, socket.IPPROTO_TCP)
    enlarge(raw)
    return raw


def _send(sock: socket.socket, data: bytes) -> None:
    """Send on a connection; that it broke meanwhile shows when it is read."""
    with suppress(OSError):
        sock.send(data)


def _receive(sock: socket.socket) -> bytes:
    """What waits in a connection; nothing, where it was reset or has no data."""
    try:
        return sock.recv(256)
    except (BlockingIOError, ConnectionError):
        return b""


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    sock.close()
