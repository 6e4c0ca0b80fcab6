"""UDP: one sending socket per source, one listening socket per service, all read without blocking.

The listener answers from the very address that was asked (IP_PKTINFO), as a connected service would, so that
connection tracking and the sender see a reply and not a new flow. The sender's socket reports ICMP errors
with the packet that caused them (IP_RECVERR, ip(7)). A relay passes datagrams on from a socket of its own per
client, as docker-proxy does.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from netverify.kernel.engines.engine import (
    EE_ORIGIN_LOCAL,
    IP_PKTINFO,
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
from netverify.reachability.probe import Outcome

COLLECT_EVERY = 256  # requests; far below what a receive buffer holds

Reader = Callable[[socket.socket], None]
Peer = Any  # what recvfrom(2) calls an address: (host, port) or (host, port, flow, scope)


class UdpEngine(Engine):
    """Ask by datagram."""

    def open(self) -> None:
        """Open the senders, listeners and relays."""
        self._poll = self.stack.enter_context(select.epoll())
        self._readers: dict[int, tuple[socket.socket, Reader]] = {}
        self._senders: dict[str, socket.socket] = {}
        self._upstreams: dict[tuple[Relay, Peer], socket.socket] = {}
        version = self.probe.version
        self._destinations = [
            (str(pair.target.address), pair.target.port or self.probe.port or 0) for pair in self.pairs
        ]
        # The listeners first: a sender takes any port that is free.
        for listener in self.listeners:
            sock = self._bound(listener.namespace, None, listener.port or 0, listener.version or version)
            self._adopt(sock, self._listener_reader(listener), listener.namespace)
        for relay in self.relays:
            sock = self._bound(relay.namespace, relay.address, relay.port, relay.version)
            self._adopt(sock, self._relay_reader(relay), relay.namespace)
        self._open_senders(range(len(self.pairs)))

    def _open_senders(self, numbers: Sequence[int]) -> None:
        """A new sending socket, from a fresh port, for each source of these pairs."""
        version = self.probe.version
        sources = list({self.pairs[n].source.name: self.pairs[n].source for n in numbers}.values())
        opened = self.visitor.visit_all((source.namespace, lambda: _sender(version)) for source in sources)
        for source, sock in zip(sources, opened, strict=True):
            self._senders[source.name] = sock
            self._adopt(sock, self._read_answers, source.namespace)

    def renew(self, numbers: Sequence[int]) -> None:
        """Begin a new round; from new ports where connection tracking saw packets of the last one pass."""
        passed = any(self.records[number].receiver is not None for number in numbers)
        super().renew(numbers)
        if passed:
            self._open_senders(numbers)

    def _bound(self, namespace: Namespace, address: object, port: int, version: int) -> socket.socket:
        def work() -> socket.socket:
            sock = _socket(version)
            # A proxy on one address of a namespace, and somebody else's service on all its others.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if version == 4:
                sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.bind(("" if address is None else str(address), port))
            return sock

        return self.visitor.visit(namespace, work)

    def _adopt(self, sock: socket.socket, reader: Reader, namespace: Namespace) -> None:
        self.stack.callback(sock.close)
        self._poll.register(sock, select.EPOLLIN | select.EPOLLERR)
        self._readers[sock.fileno()] = (sock, reader)
        self.check_home(sock, namespace)

    def send(self, numbers: Sequence[int]) -> None:
        """Send each request; reads what came in every `COLLECT_EVERY` requests."""
        for count, number in enumerate(numbers, 1):
            self._send(number)
            if count % COLLECT_EVERY == 0:
                self.collect()

    def _send(self, number: int) -> None:
        sock, payload = self._senders[self.pairs[number].source.name], self.payload(number)
        # An ICMP error about an earlier packet makes the next send fail without sending (ip(7)): take it off
        # the queue and send. An error with an empty queue is this packet's own.
        while True:
            try:
                sock.sendto(payload, self._destinations[number])
            except OSError as error:
                if self._read_errors(sock):
                    continue
                self.refuse(number, error)
            return

    def collect(self) -> bool:
        """Read arrivals (and answer them), answers, and ICMP errors until nothing is left."""
        found = False
        while ready := self._poll.poll(0, 4096):
            found = True
            for fd, events in ready:
                sock, reader = self._readers[fd]
                if events & select.EPOLLERR:
                    self._read_errors(sock)
                reader(sock)
        return found

    def _listener_reader(self, listener: Listener) -> Reader:
        def read(sock: socket.socket) -> None:
            for payload, ancillary, peer in _datagrams(sock):
                record = self.record_of(payload)
                if record is None:
                    continue
                record.arrived(listener.namespace.name, endpoint(peer[0], peer[1]))
                try:
                    sock.sendmsg([payload], [_reply_from(ancillary)], 0, peer)
                except OSError as error:
                    # The request did arrive; that its answer cannot leave is the cell's one-way story.
                    record.detail = f"the answer could not be sent: {self.local_refusal(error)[1]}"

        return read

    def _relay_reader(self, relay: Relay) -> Reader:
        def read(sock: socket.socket) -> None:
            for payload, ancillary, peer in _datagrams(sock):
                if relay.upstream is None:
                    record = self.record_of(payload)
                    if record is not None:  # it took the request, and will never answer
                        record.arrived(relay.namespace.name, endpoint(peer[0], peer[1]))
                    continue
                if (upstream := self._upstreams.get((relay, peer))) is None:
                    reply_from = [_reply_from(ancillary)] if relay.answers_as_asked else []
                    upstream = self._open_upstream(relay, sock, peer, reply_from)
                try:
                    upstream.sendto(payload, (str(relay.upstream), relay.upstream_port))
                except OSError as error:
                    number = self.number_of(payload)
                    if number is not None:
                        outcome, said = self.local_refusal(error)
                        self.records[number].refused(
                            outcome, f"the userland proxy could not pass it on: {said}"
                        )

        return read

    def _open_upstream(
        self, relay: Relay, downstream: socket.socket, peer: Peer, reply_from: list[tuple[int, int, bytes]]
    ) -> socket.socket:
        version = 4 if relay.upstream is None else relay.upstream.version
        sock = self.visitor.visit(relay.namespace, lambda: _sender(version))

        def read(upstream: socket.socket) -> None:
            for payload, _ancillary, _peer in _datagrams(upstream):
                with suppress(OSError):  # the host's own rules drop it: the cell stays without its answer
                    downstream.sendmsg([payload], reply_from, 0, peer)

        self._upstreams[relay, peer] = sock
        self._adopt(sock, read, relay.namespace)
        return sock

    def _read_answers(self, sock: socket.socket) -> None:
        for payload, _ancillary, peer in _datagrams(sock):
            number = self.number_of(payload)
            if number is not None:
                asked = endpoint(*self._destinations[number])
                self.records[number].answered(endpoint(peer[0], peer[1]), asked)

    def _read_errors(self, sock: socket.socket) -> bool:
        queue = error_queue(sock)
        for entry in queue:
            number = self.number_of(entry.payload)
            if number is None:
                continue
            target = self.pairs[number].target.address
            if entry.origin == EE_ORIGIN_LOCAL:
                meaning = self.local_refusal(OSError(entry.number, ""))
            else:
                meaning = classify(target.version, entry.kind, entry.code, entry.offender, target)
            record = self.records[number]
            if record.receiver is None or meaning[0] is Outcome.ERROR:
                record.refused(*meaning)
        return bool(queue)


def _socket(version: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if version == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    enlarge(sock)
    return sock


def _sender(version: int) -> socket.socket:
    sock = _socket(version)
    if version == 4:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    bind_fresh(sock)
    return sock


def _datagrams(sock: socket.socket) -> Sequence[tuple[bytes, list[tuple[int, int, bytes]], Peer]]:
    """Everything that waits in a socket's receive queue. A pending ICMP error is left to the error queue."""
    found: list[tuple[bytes, list[tuple[int, int, bytes]], Peer]] = []
    while True:
        try:
            payload, ancillary, _flags, peer = sock.recvmsg(256, 64)
        except BlockingIOError:
            return found
        except OSError:
            continue  # reported once by the kernel, with its packet, in the error queue (EPOLLERR follows)
        found.append((payload, ancillary, peer))


def _reply_from(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int, bytes]:
    """The control message that makes an answer leave from the address that the request was sent to."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            # struct in_pktinfo: interface, the local address to use, the header's destination (ip(7)).
            return level, kind, struct.pack("=I4s4s", 0, data[8:12], b"\0\0\0\0")
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            scope = data[16:20] if data[:2] == b"\xfe\x80" else b"\0\0\0\0"
            return level, kind, data[:16] + scope
    raise AssertionError("the kernel left out the packet information that was asked for")
