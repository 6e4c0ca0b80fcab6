"""Services for people who look into a held lab: each says who answered, and which source address it saw.

Every service that the topology names listens (TCP and UDP), and every userland proxy of TCP passes on what it
is sent. One event loop in one thread drives all sockets, each of which was opened inside its namespace.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import cast

from netverify.kernel.engines.engine import Relay, endpoint
from netverify.kernel.lab import Lab

CHUNK = 65536  # bytes


Offer = tuple[str, str, int]
"""A namespace, a protocol and a port."""


def serve(lab: Lab, until: Iterable[signal.Signals], more: Iterable[Offer] = ()) -> None:
    """Serve until one of the signals `until` arrives; they may be blocked by then, and are unblocked here.

    `more` are services that the lab's topology does not name; where a proxy has the port already, it stays.
    """
    asyncio.run(_serve(lab, tuple(until), tuple(_offers(lab, more))))


def _offers(lab: Lab, more: Iterable[Offer]) -> Iterator[Offer]:
    """What is to be served, each once in a namespace."""
    nodes = lab.topology.nodes()
    named = [(node.name, *listening) for node in nodes for listening in lab.topology.listens_of(node.name)]
    taken = {(relay.namespace.name, protocol, relay.port) for protocol, relay in lab.relays}
    seen: set[Offer] = set()
    for node, protocol, port in (*named, *(offer for offer in more if offer not in taken)):
        offer = (lab.namespace(node).name, protocol, port)
        if offer not in seen:
            seen.add(offer)
            yield node, protocol, port


async def _serve(lab: Lab, until: tuple[signal.Signals, ...], offers: tuple[Offer, ...]) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in until:
        loop.add_signal_handler(number, ended.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, until)
    async with AsyncExitStack() as stack:
        for node, protocol, port in offers:
            name = f"{node} {protocol}/{port}"
            if protocol == "tcp":
                server = await asyncio.start_server(
                    partial(_greet, name), sock=_bound(lab, node, protocol, None, port)
                )
                await stack.enter_async_context(server)
            elif protocol == "udp":
                transport, _ = await loop.create_datagram_endpoint(
                    partial(_Echo, name), sock=_bound(lab, node, protocol, None, port)
                )
                stack.callback(transport.close)
        for protocol, relay in lab.relays:
            if protocol == "tcp" and relay.version == 4:
                sock = _bound(lab, relay.namespace.name, protocol, relay.address, relay.port)
                server = await asyncio.start_server(partial(_pass_on, lab, relay), sock=sock)
                await stack.enter_async_context(server)
        await ended.wait()


def _bound(lab: Lab, node: str, protocol: str, address: object, port: int) -> socket.socket:
    def work() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("" if address is None else str(address), port))
        sock.setblocking(False)
        return sock

    return lab.visit(node, work)


async def _greet(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say who answered and whom it saw, then close."""
    del reader
    writer.write(_greeting(name, writer.get_extra_info("peername")))
    await _finish(writer)


def _greeting(name: str, peer: tuple[str, int]) -> bytes:
    return f"{name} sees you as {endpoint(peer[0], peer[1])}\n".encode()


class _Echo(asyncio.DatagramProtocol):
    """The same over UDP, for every datagram, which is sent back behind the greeting."""

    def __init__(self, name: str) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember what to answer through."""
        self.transport = cast("asyncio.DatagramTransport", transport)  # asyncio promises it for this endpoint

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer."""
        self.transport.sendto(_greeting(self.name, addr) + data, addr)


async def _pass_on(
    lab: Lab, relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A userland proxy: a connection of its own to the container, and bytes carried both ways."""
    sock = lab.visitor.visit(relay.namespace, partial(socket.socket, socket.AF_INET, socket.SOCK_STREAM))
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (str(relay.upstream), relay.upstream_port))
    except OSError:
        sock.close()
        await _finish(writer)
        return
    upstream_reader, upstream_writer = await asyncio.open_connection(sock=sock)
    await asyncio.gather(_carry(reader, upstream_writer), _carry(upstream_reader, writer))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):  # either side may reset at any time; then there is nothing left to carry
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    await _finish(writer)


async def _finish(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):  # the other side was faster
        await writer.wait_closed()
