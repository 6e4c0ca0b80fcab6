"""What the four probe protocols have in common: sockets inside namespaces, records, ICMP's answers.

An engine knows how to ask one question per cell over one protocol, and how to read what came of it out of
its sockets. It decides nothing about silence: that is `kernel/probe.py`.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fcntl import ioctl

from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.netlink import Address
from netverify.reachability.probe import Outcome, Probe

SIOCGSKNS = 0x894C  # include/uapi/linux/sockios.h
IP_RECVERR, IPV6_RECVERR = 11, 25  # include/uapi/linux/in.h, in6.h
IP_PKTINFO = 8
MSG_ERRQUEUE = socket.MSG_ERRQUEUE
EE_ORIGIN_LOCAL, EE_ORIGIN_ICMP, EE_ORIGIN_ICMP6 = 1, 2, 3  # include/uapi/linux/errqueue.h
RECEIVE_BUFFER = 8 << 20  # bytes
TURNS = 12

PAYLOAD = struct.Struct("!8sII")  # nonce of this engine, number of the cell, round


@dataclass(frozen=True)
class Source:
    """Where a probe starts."""

    name: str
    namespace: Namespace


@dataclass(frozen=True)
class Target:
    """What a probe is sent to. `port` replaces the probe's own port (a published one, say).

    `owner` is the namespace that has this address and should hold a listener; None where that is for NAT to
    decide.
    """

    name: str
    address: Address
    port: int | None = None
    owner: str | None = None


@dataclass(frozen=True)
class Listener:
    """Where a service listens: in which namespace, on which port (None for ICMP, which has none).

    `version` is that of IP, None for the probe's. Another one is heard behind a userland proxy alone.
    """

    namespace: Namespace
    port: int | None
    version: int | None = None


@dataclass(frozen=True)
class Relay:
    """A userland proxy: it listens in `namespace`, and opens a connection of its own to `upstream`.

    Docker runs one for each published port (docker-proxy). `address` is what it is bound to, None for all.
    Without an `upstream` it only holds the port (what dockerd does when the proxy is off): nobody answers.
    Bound to all addresses, over UDP it `answers_as_asked`, from the address that a client asked first, or
    else from the one that the kernel picks for the way back.
    """

    namespace: Namespace
    address: Address | None
    port: int
    upstream: Address | None
    upstream_port: int
    version: int = 4
    answers_as_asked: bool = True


@dataclass(frozen=True)
class Pair:
    """One cell to ask."""

    source: Source
    target: Target


class Record:
    """What is known about one cell in one round; filled in by the engine as packets come in."""

    __slots__ = ("answers", "detail", "errno", "outcome", "receiver", "replied", "seen")

    def __init__(self) -> None:
        self.receiver: str | None = None
        self.seen: str | None = None
        self.replied = False
        self.outcome: Outcome | None = None
        self.detail = ""
        self.answers = 0
        self.errno: int | None = None  # of this host's own send call, where it failed

    def arrived(self, receiver: str, seen: str) -> None:
        """The request is in the hands of a listener."""
        self.receiver, self.seen = receiver, seen

    def answered(self, by: str, asked: str) -> None:
        """An answer is back; clients discard one that comes from an address that they did not ask."""
        if by == asked:
            self.replied = True
            self.answers += 1
        else:
            self.detail = f"answered from {by}, and {asked} was asked: clients discard that"

    def refused(self, outcome: Outcome, detail: str) -> None:
        """Somebody, this host included, answered with an error."""
        self.outcome, self.detail = outcome, detail

    @property
    def silent(self) -> bool:
        """Nobody has said anything: neither arrival, nor answer, nor error."""
        return self.receiver is None and not self.replied and self.outcome is None

    @property
    def unanswered(self) -> bool:
        """The request arrived, its answer did not."""
        return self.receiver is not None and not self.replied and self.outcome is None


class Engine(ABC):
    """One protocol's sockets for one set of pairs; a context manager that owns them."""

    def __init__(
        self,
        visitor: Visitor,
        probe: Probe,
        pairs: Sequence[Pair],
        listeners: Sequence[Listener],
        relays: Sequence[Relay],
        settle: Callable[[], None],
        resolve: Callable[[], None],
        nonce: bytes,
    ) -> None:
        self.visitor, self.probe, self.pairs, self.listeners = visitor, probe, pairs, listeners
        self.relays = relays
        self.settle = settle  # returns when nothing is in flight any more
        self.resolve = resolve  # returns when no neighbour is asked for, and no CPU is at work on a packet
        self.nonce = nonce  # 8 bytes that every payload begins with
        self.round = 0
        self.records = [Record() for _ in pairs]
        self.stack = ExitStack()
        self.concluding: Sequence[int] = ()  # the cells whose round is being ended
        self.broken: dict[str, str] = {}  # namespace -> why its sockets cannot be trusted

    @abstractmethod
    def open(self) -> None:
        """Open every socket, each inside its namespace."""

    @abstractmethod
    def send(self, numbers: Sequence[int]) -> None:
        """Send the request of each cell; a refusal by this very host goes into the record at once."""

    @abstractmethod
    def collect(self) -> bool:
        """Read everything that has come in so far; whether there was anything."""

    def finish(self) -> None:
        """Let everything in flight end, and read it, until reading brings nothing new.

        What `collect` itself sends (answers, relayed requests) is in flight in turn. A request and its answer
        through one relay need four turns; the bound is there to end a loop between two relays.
        """
        for _ in range(TURNS):
            self.settle()
            if not self.collect():
                return

    def conclude(self, numbers: Sequence[int]) -> None:
        """End a round: nothing of `numbers` is in flight or waiting for a neighbour, and all is read."""
        self.concluding = numbers
        self.finish()
        if any(self.records[number].silent for number in numbers):
            self.resolve()
            self.finish()

    def silence(self, number: int) -> tuple[Outcome, str] | None:
        """What a silence means, where this protocol can tell by itself; None: drops must account for it."""
        del number
        return None

    def close(self) -> None:
        """Close every socket."""
        self.stack.close()

    def renew(self, numbers: Sequence[int]) -> None:
        """Begin a new round for some cells: their records are empty again, late packets count no more."""
        self.round += 1
        for number in numbers:
            self.records[number] = Record()

    def payload(self, number: int) -> bytes:
        """What a request carries, so that whoever gets it, or quotes it, tells us which cell it was."""
        return PAYLOAD.pack(self.nonce, number, self.round)

    def record_of(self, payload: bytes) -> Record | None:
        """The record that a payload belongs to; None for somebody else's packet or an earlier round's."""
        number = self.number_of(payload)
        return None if number is None else self.records[number]

    def number_of(self, payload: bytes) -> int | None:
        """The cell that a payload belongs to; None for somebody else's packet or an earlier round's."""
        if len(payload) < PAYLOAD.size:
            return None
        nonce, number, turn = PAYLOAD.unpack_from(payload)
        if nonce != self.nonce or turn != self.round or number >= len(self.records):
            return None
        return int(number)

    def check_home(self, sock: socket.socket, namespace: Namespace) -> None:
        """Note a socket that is not in the namespace that it should be in."""
        if namespace_of(sock) != namespace.inode:
            self.broken[namespace.name] = (
                f"a probe socket of {namespace.name!r} is elsewhere, in namespace {namespace_of(sock)}"
            )

    def refuse(self, number: int, error: OSError) -> None:
        """This host's own send call failed for a cell.

        EPERM is left a silence: netfilter says so when a rule of the sender's drops, and so do others (a full
        connection table, a security module), so that the counters have to prove it.
        """
        record = self.records[number]
        record.errno = error.errno
        if error.errno != errno.EPERM:
            record.refused(*self.local_refusal(error))

    def local_refusal(self, error: OSError) -> tuple[Outcome, str]:
        """What it means when this host's own send call fails."""
        return LOCAL_ERRORS.get(
            error.errno or 0, (Outcome.ERROR, f"send failed: {errno.errorcode.get(error.errno or 0, '?')}")
        )


# What sendto(2) and connect(2) say when the packet does not even leave its own namespace (ip(7), udp(7)).
LOCAL_ERRORS: dict[int, tuple[Outcome, str]] = {
    errno.EPERM: (Outcome.FILTERED, "dropped by its own rules (EPERM)"),
    errno.ENETUNREACH: (Outcome.UNREACHABLE, "the sender has no route (ENETUNREACH)"),
    errno.EHOSTUNREACH: (Outcome.UNREACHABLE, "the sender's route says unreachable (EHOSTUNREACH)"),
    errno.EACCES: (Outcome.PROHIBITED, "the sender's route says prohibit (EACCES)"),
    errno.EINVAL: (Outcome.UNREACHABLE, "the sender's route is a blackhole (EINVAL)"),
    errno.ECONNREFUSED: (Outcome.REFUSED, "connection refused"),
    errno.ENOBUFS: (Outcome.ERROR, "no buffer or neighbour entry left (ENOBUFS): see gc_thresh3 in arp(7)"),
    errno.EADDRNOTAVAIL: (Outcome.UNREACHABLE, "the sender has no address to send from (EADDRNOTAVAIL)"),
}


_ports = itertools.cycle(range(10_000, 60_000))


def bind_fresh(sock: socket.socket) -> int:
    """Bind a socket to a fresh port that nobody in its namespace has; returns the port."""
    while True:
        port = fresh_port()
        try:
            sock.bind(("", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port


def fresh_port() -> int:
    """A source port that this process has not used lately.

    Connection tracking remembers a flow by its ports; a fresh one for each question keeps an earlier answer
    from opening the door for a later one. And no two cells of a batch share one, so NAT keeps them all.
    """
    return next(_ports)


def namespace_of(sock: socket.socket) -> int:
    """The inode number of the network namespace that a socket lives in (SIOCGSKNS, Linux 4.10)."""
    fd = ioctl(sock, SIOCGSKNS)
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def endpoint(host: str, port: int) -> str:
    """Address and port as people write them; an IPv6 address in brackets (RFC 3986), without its zone."""
    host = host.partition("%")[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def enlarge(sock: socket.socket) -> None:
    """Give a socket a receive buffer for a whole batch; past the machine's limit where we may (socket(7))."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, 33, RECEIVE_BUFFER)  # SO_RCVBUFFORCE
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def classify(version: int, kind: int, code: int, offender: str, target: Address) -> tuple[Outcome, str]:
    """What an ICMP error means (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3).

    Port unreachable from the target itself is the target's refusal; from anybody else a filter pretends.
    """
    said = f"{offender} answered ICMP{'' if version == 4 else 'v6'} type {kind} code {code}"
    table = _ICMP if version == 4 else _ICMP6
    outcome = table.get((kind, code), Outcome.UNREACHABLE)
    if outcome is Outcome.REFUSED and offender != str(target):
        outcome = Outcome.PROHIBITED
    return outcome, said


_ICMP = {
    (3, 2): Outcome.REFUSED,
    (3, 3): Outcome.REFUSED,
    (3, 9): Outcome.PROHIBITED,
    (3, 10): Outcome.PROHIBITED,
    (3, 13): Outcome.PROHIBITED,
}
_ICMP6 = {
    (1, 1): Outcome.PROHIBITED,
    (1, 4): Outcome.REFUSED,
    (1, 5): Outcome.PROHIBITED,
    (1, 6): Outcome.PROHIBITED,
    (4, 1): Outcome.REFUSED,
}


@dataclass(frozen=True)
class QueuedError:
    """One entry of a socket's error queue (ip(7), IP_RECVERR): which packet, who complained, about what."""

    payload: bytes
    number: int  # errno
    origin: int
    kind: int
    code: int
    offender: str


def error_queue(sock: socket.socket) -> list[QueuedError]:
    """Empty a socket's error queue."""
    found: list[QueuedError] = []
    while True:
        try:
            payload, ancillary, _flags, _name = sock.recvmsg(2048, 512, MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        for level, kind, data in ancillary:
            if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
                number, origin, icmp, code = struct.unpack_from("=IBBB", data)
                found.append(QueuedError(payload, number, origin, icmp, code, _offender(data[16:])))


def _offender(sockaddr: bytes) -> str:
    family = struct.unpack_from("=H", sockaddr)[0] if len(sockaddr) >= 2 else 0
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, sockaddr[4:8])
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, sockaddr[8:24])
    return "this host"
