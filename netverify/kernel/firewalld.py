"""A stand-in for firewalld, on a bus of its own: it tells a Docker engine that it has emptied iptables.

An engine that finds firewalld on the system's D-Bus has it run each iptables command, and writes its rules
again when firewalld says that it was reloaded. Here one socket is bus and firewalld at once, and knows what
engines ask (moby libnetwork/iptables/firewalld.go): nothing of zones but that Docker's are there.

The messages are those of the D-Bus specification, "Message Protocol", with the few types that are needed.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from netverify.errors import KernelError

_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY, _SENDER, _SIGNATURE = 1, 2, 3, 4, 5, 7, 8
_NAME, _OBJECT = "org.fedoraproject.FirewallD1", "/org/fedoraproject/FirewallD1"
_TABLES = ("raw", "mangle", "nat", "filter")
_PROGRAMS = {"ipv4": "iptables", "ipv6": "ip6tables"}

Run = Callable[..., str]
Value = str | int | list[str]


@dataclass(frozen=True)
class Message:
    """One message that came in: its kind, serial number, fields by their codes, and body."""

    kind: int
    serial: int
    fields: dict[int, Value]
    body: tuple[Value, ...]


class Firewalld:
    """Listens at a path until it is closed; a context manager.

    `run` runs a program, given word by word, where the engine is; it returns what the program printed, and
    raises KernelError where that fails.
    """

    def __init__(self, path: Path, run: Run) -> None:
        self._run = run
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._server.bind(str(path))
        self._door = threading.Thread(target=self._accept, daemon=True)
        self._rooms: list[threading.Thread] = []
        self._clients: list[socket.socket] = []
        self._waiting: list[socket.socket] = []  # who asked to be told of a reload
        self._lock = threading.Lock()
        self._serial = 0
        self._asked = monotonic()

    def __enter__(self) -> Firewalld:
        self._server.listen()
        self._door.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError):
            self._server.shutdown(
                socket.SHUT_RDWR
            )  # so that nobody comes in any more (a close wakes no accept)
        self._door.join()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for room in self._rooms:
            room.join()
        for sock in (self._server, *self._clients):
            sock.close()

    def reload(self, quiet: float) -> None:
        """Empty every table of both families, and say so; return after `quiet` seconds without a question."""
        for program in _PROGRAMS.values():
            for table in _TABLES:
                for flag in ("-F", "-X"):
                    self._run(program, "-w", "-t", table, flag)
        self._asked = monotonic()
        for client in self._waiting:
            with suppress(BrokenPipeError):  # older engines ask over several connections, and close some
                self._send(client, _SIGNAL, {_PATH: _OBJECT, _INTERFACE: _NAME, _MEMBER: "Reloaded"})
        poll = threading.Event()
        while monotonic() - self._asked < quiet:
            poll.wait(quiet / 10)

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._server.accept()
            except OSError:
                return
            self._clients.append(client)
            self._rooms.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._rooms[-1].start()

    def _serve(self, client: socket.socket) -> None:
        try:
            data = _authenticated(client)
            while True:
                while (found := _parsed(data)) is not None:
                    message, data = found
                    if message.kind == _CALL:
                        self._answer(client, message)
                if not (more := client.recv(65536)):
                    return
                data += more
        except OSError:
            return  # the engine has gone

    def _answer(self, client: socket.socket, call: Message) -> None:
        self._asked = monotonic()
        member = str(call.fields.get(_MEMBER, ""))
        reply: dict[int, Value] = {_REPLY: call.serial}
        if member == "AddMatch" and "Reloaded" in str(call.body[0]):
            self._waiting.append(client)
        if member == "passthrough":
            family, words = call.body
            try:
                said = self._run(_PROGRAMS[str(family)], *(words if isinstance(words, list) else ()))
            except KernelError as error:
                failed: dict[int, Value] = {**reply, _ERROR_NAME: f"{_NAME}.Exception"}
                self._send(client, _ERROR, failed, f"COMMAND_FAILED: {error}")
            else:
                self._send(client, _RETURN, reply, said)
        elif member in _ANSWERS:
            self._send(client, _RETURN, reply, *_ANSWERS[member])
        else:
            self._send(
                client, _ERROR, {**reply, _ERROR_NAME: "org.freedesktop.DBus.Error.UnknownMethod"}, member
            )

    def _send(self, client: socket.socket, kind: int, fields: dict[int, Value], *body: Value) -> None:
        with self._lock:
            self._serial += 1
            client.sendall(_written(kind, self._serial, {**fields, _SENDER: _NAME}, body))


_ANSWERS: dict[str, tuple[Value, ...]] = {
    "Hello": (":1.1",),
    "AddMatch": (),
    "RemoveMatch": (),
    "getDefaultZone": ("public",),
    "getZones": (["docker", "public"],),
    "getPolicies": (["docker-forwarding"],),
    "getInterfaces": ([],),
    "addInterface": ("docker",),
    "removeInterface": ("docker",),
    "changeZoneOfInterface": ("docker",),
}


def _authenticated(client: socket.socket) -> bytes:
    """The conversation before the first message ("Authentication Protocol"): anybody may come in."""
    data = b""
    while True:
        line, newline, rest = data.lstrip(b"\0").partition(b"\r\n")
        if not newline:
            more = client.recv(4096)
            if not more:
                raise ConnectionResetError
            data += more
            continue
        data = rest
        if line == b"BEGIN":
            return data
        if line.startswith(b"AUTH EXTERNAL"):
            client.sendall(b"OK " + b"0" * 32 + b"\r\n")
        else:
            client.sendall(b"REJECTED EXTERNAL\r\n" if line == b"AUTH" else b"ERROR\r\n")


def _parsed(data: bytes) -> tuple[Message, bytes] | None:
    """The first message, and what comes after it; None while it is not whole."""
    if len(data) < 16:
        return None
    size, serial, fields_size = struct.unpack_from("<III", data, 4)
    start = (16 + fields_size + 7) & ~7
    if len(data) < start + size:
        return None
    fields: dict[int, Value] = {}
    position = 16
    while position < 16 + fields_size:
        position = (position + 7) & ~7
        code, signature = data[position], chr(data[position + 2])  # each field's type is one letter
        fields[code], position = _read(data, position + 4, signature)
    body, position = [], start
    for signature in _types(str(fields.get(_SIGNATURE, ""))):
        try:
            value, position = _read(data, position, signature)
        except KeyError:
            break  # what nothing here looks at: dictionaries of settings
        body.append(value)
    return Message(data[1], serial, fields, tuple(body)), data[start + size :]


def _types(signature: str) -> Iterator[str]:
    position = 0
    while position < len(signature):
        size = 2 if signature[position] == "a" else 1
        yield signature[position : position + size]
        position += size


def _read(data: bytes, position: int, signature: str) -> tuple[Value, int]:
    """A value of one of the types that are known, and where the next begins."""
    if signature == "g":
        size = data[position]
        return data[position + 1 : position + 1 + size].decode(), position + size + 2
    position = (position + 3) & ~3
    (number,) = struct.unpack_from("<I", data, position)
    if signature == "u":
        return number, position + 4
    if signature in ("s", "o"):
        return data[position + 4 : position + 4 + number].decode(), position + number + 5
    if signature != "as":
        raise KeyError(signature)
    words: list[str] = []
    end, position = position + 4 + number, position + 4
    while position < end:
        word, position = _read(data, position, "s")
        words.append(str(word))
    return words, position


def _written(kind: int, serial: int, fields: dict[int, Value], body: Sequence[Value]) -> bytes:
    if body:
        fields = {**fields, _SIGNATURE: "".join("as" if isinstance(value, list) else "s" for value in body)}
    header = bytearray()
    for code, value in fields.items():
        header += bytes(-len(header) % 8)
        signature = {_PATH: "o", _REPLY: "u", _SIGNATURE: "g"}.get(code, "s")
        header += bytes((code, 1)) + signature.encode() + b"\0"
        _put(header, value, signature)
    content = bytearray()
    for value in body:
        _put(content, value, "as" if isinstance(value, list) else "s")
    start = struct.pack("<4BIII", ord("l"), kind, 0, 1, len(content), serial, len(header))
    return start + bytes(header) + bytes(-len(header) % 8) + bytes(content)


def _put(into: bytearray, value: Value, signature: str) -> None:
    if isinstance(value, list):
        words = bytearray()
        for word in value:
            _put(words, word, "s")
        into += bytes(-len(into) % 4) + struct.pack("<I", len(words)) + words
    elif signature == "u":
        into += bytes(-len(into) % 4) + struct.pack("<I", value)
    elif signature == "g":
        text = str(value).encode()
        into += bytes((len(text),)) + text + b"\0"
    else:
        text = str(value).encode()
        into += bytes(-len(into) % 4) + struct.pack("<I", len(text)) + text + b"\0"
