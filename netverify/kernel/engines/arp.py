"""ARP: a who-has for the target's address out of every Ethernet device of the source (RFC 826).

The question and the answer are frames on the link, so this shows what is on the same link, and nothing else:
no route, no iptables (arptables is another thing). The receiver's kernel answers; packet sockets (packet(7))
in the receiver's namespace see the question arrive.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence
from fcntl import ioctl

from netverify.kernel.engines.engine import Engine, Pair, enlarge
from netverify.kernel.namespace import Namespace
from netverify.reachability.probe import Outcome

ETH_P_ARP = 0x0806
PATIENCE = 0.1  # seconds
REQUEST, REPLY = 1, 2
ARPHRD_ETHER = 1
_HEADER = struct.Struct("!HHBBH6s4s6s4s")
_BROADCAST = b"\xff" * 6


class ArpEngine(Engine):
    """Ask who has an address.

    An ARP packet has no payload: a question is known by its sender's MAC and the address asked for, so each
    pair of source and target is asked at most once in a round.
    """

    def open(self) -> None:
        """Open a packet socket in each namespace."""
        self._poll = self.stack.enter_context(select.epoll())
        spaces = {pair.source.namespace.fd: pair.source.namespace for pair in self.pairs}
        spaces |= {listener.namespace.fd: listener.namespace for listener in self.listeners}
        self._sockets: dict[int, tuple[socket.socket, Namespace]] = {}
        self._senders: dict[int, tuple[socket.socket, list[tuple[str, bytes, bytes]]]] = {}
        self._asked: dict[tuple[bytes, bytes], int] = {}
        self._heard: dict[int, str] = {}  # who, other than the asker, saw the question on the link
        opened = self.visitor.visit_all((namespace, _open) for namespace in spaces.values())
        for namespace, (sock, devices) in zip(spaces.values(), opened, strict=True):
            self.stack.callback(sock.close)
            self._poll.register(sock, select.EPOLLIN)
            self._sockets[sock.fileno()] = (sock, namespace)
            self._senders[namespace.fd] = (sock, devices)
            self.check_home(sock, namespace)

    def send(self, numbers: Sequence[int]) -> None:
        """Broadcast the question of each cell."""
        for number in numbers:
            pair = self.pairs[number]
            sock, devices = self._senders[pair.source.namespace.fd]
            for device, mac, address in devices:
                self._asked[mac, pair.target.address.packed] = number
                try:
                    sock.sendto(_question(mac, address, pair), (device, ETH_P_ARP, 0, 0, _BROADCAST))
                except OSError as error:
                    self.refuse(number, error)
            self.collect()

    def conclude(self, numbers: Sequence[int]) -> None:
        """Also wait a little for late answers: macvlan hands broadcasts to a kernel thread of its own."""
        super().conclude(numbers)
        deadline = time.monotonic() + PATIENCE
        while any(self.records[number].silent for number in numbers):
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not self._poll.poll(remaining):
                return
            self.collect()

    def silence(self, number: int) -> tuple[Outcome, str] | None:
        """A question that somebody on the link heard was asked; that nobody answered it is an answer."""
        pair = self.pairs[number]
        if not self._senders[pair.source.namespace.fd][1]:
            return Outcome.UNREACHABLE, "the sender has no Ethernet device with an IPv4 address"
        heard = self._heard.get(number)
        if heard is None:
            return None
        return Outcome.UNREACHABLE, f"{heard} heard the question, and nobody answered it"

    def renew(self, numbers: Sequence[int]) -> None:
        """Begin a new round."""
        super().renew(numbers)
        for number in numbers:
            self._heard.pop(number, None)

    def collect(self) -> bool:
        """Read questions and answers."""
        found = False
        while ready := self._poll.poll(0, 4096):
            found = True
            for fd, _events in ready:
                self._read(*self._sockets[fd])
        return found

    def _read(self, sock: socket.socket, namespace: Namespace) -> None:
        while True:
            try:
                frame, address = sock.recvfrom(256)
            except BlockingIOError:
                return
            if address[2] == socket.PACKET_OUTGOING or len(frame) < _HEADER.size:
                continue
            *_, kind, sender, sender_address, asker, target = _HEADER.unpack_from(frame)
            if kind == REQUEST and (number := self._asked.get((sender, target))) is not None:
                self._heard[number] = namespace.name
                if target in {device[2] for device in self._senders[namespace.fd][1]}:
                    self.records[number].arrived(namespace.name, socket.inet_ntoa(sender_address))
            elif kind == REPLY and (number := self._asked.get((asker, sender_address))) is not None:
                record = self.records[number]
                record.replied = True
                record.answers += 1
                record.detail = f"is at {sender.hex(':')}"


def _question(mac: bytes, address: bytes, pair: Pair) -> bytes:
    ethernet, ip = 1, 0x0800
    return _HEADER.pack(ethernet, ip, 6, 4, REQUEST, mac, address, b"\0" * 6, pair.target.address.packed)


def _open() -> tuple[socket.socket, list[tuple[str, bytes, bytes]]]:
    """A packet socket for ARP on all devices, and each Ethernet device with its MAC and IPv4 address."""
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | flags, socket.htons(ETH_P_ARP))
    enlarge(sock)
    devices = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for _index, name in socket.if_nameindex():
            mac = _ioctl(control, 0x8927, name)  # SIOCGIFHWADDR
            address = _ioctl(control, 0x8915, name)  # SIOCGIFADDR
            if mac is None or address is None:
                continue
            if struct.unpack_from("=H", mac)[0] == ARPHRD_ETHER:
                devices.append((name, mac[2:8], address[4:8]))
    return sock, devices


def _ioctl(control: socket.socket, request: int, device: str) -> bytes | None:
    """What the kernel says about a device (netdevice(7)); None where it has no such property."""
    try:
        return ioctl(control, request, struct.pack("16s24x", device.encode()))[16:]
    except OSError:
        return None
