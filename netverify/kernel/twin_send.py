"""One packet in a twin, as an attacker would send it: with any source, out of any device, by any gateway.

Whether it arrives is seen by raw sockets, one in each namespace: they get a copy of what is delivered, after
INPUT and before anybody's socket (raw(7)), so that nobody has to listen. What the receiver's kernel answers
(an echo reply, a reset) is seen in the same way where the packet came from.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from netverify.dataplane.packet import ICMP, ICMPV6, Address, Packet
from netverify.errors import InputError
from netverify.kernel import neighbours
from netverify.kernel.barrier import Barrier
from netverify.kernel.engines.engine import endpoint, fresh_port
from netverify.kernel.judge import taps, wire
from netverify.kernel.lab import Lab
from netverify.kernel.twin_neighbours import heard_on, mac_of
from netverify.model.subject import Subject
from netverify.reachability.probe import Probe

ETHERTYPES: Mapping[int, int] = {4: 0x0800, 6: 0x86DD}


@dataclass(frozen=True)
class Landed:
    """What became of one packet.

    `receivers` are the namespaces to whose sockets it was delivered, `seen_source` the source address (and
    port) that the first of them saw, `answered` whether an echo reply or a TCP segment came back to the
    sender. Where nothing was delivered, `why` says what is known of it; something may have dropped it.
    """

    packet: Packet
    receivers: tuple[str, ...] = ()
    seen_source: str | None = None
    answered: bool = False
    why: str = ""

    @property
    def arrived(self) -> bool:
        """Whether somebody got it."""
        return bool(self.receivers)


@dataclass(frozen=True)
class Shot:
    """How a packet is sent: by whom, and where its sender does not leave that to its kernel.

    `source` is the sender's address, `sport` its port. `device` is one of the sender's, by its name in the
    sender's namespace; `gateway` whose Ethernet address the frame is for. Either goes past the sender's own
    routing and rules; with neither, its kernel routes the packet.
    """

    node: str
    source: Address | None = None
    sport: int | None = None
    device: str | None = None
    gateway: Address | None = None


def send_one(lab: Lab, subject: Subject, shot: Shot, address: Address, probe: Probe) -> Landed:
    """Send one packet and see who gets it. Raises InputError where it cannot be sent as it was asked for."""
    packet = _packet(subject, shot, address, probe)
    number = int.from_bytes(os.urandom(4), "big")
    data = wire.encode(packet, number)
    with ExitStack() as stack:
        taken = _receivers(lab, subject, packet, stack)
        barrier = stack.enter_context(Barrier(lab.visitor))
        neighbours.forget(lab.channels)
        refused = _put(lab, subject, shot, packet, data)
        barrier.wait()
        neighbours.settle(lab.visitor, lab.channels)
        barrier.wait_everywhere()
        return _read(taken, shot.node, packet, number, refused)


def _packet(subject: Subject, shot: Shot, address: Address, probe: Probe) -> Packet:
    fields: dict[str, int] = {} if probe.port is None else {"dport": probe.port}
    fields["sport"] = fresh_port() if shot.sport is None else shot.sport
    if shot.source is not None:
        packet: Packet | None = Packet.of(shot.source, address, probe.protocol, **fields)
    else:
        packet = subject.world.packet(shot.node, shot.gateway or address, probe.protocol, **fields)
        packet = None if packet is None else replace(packet, destination=int(address))
    if packet is None:
        raise InputError(f"{shot.node} has no address to send to {address} from; give it a source")
    return replace(packet, length=max(packet.length, wire.smallest(packet)))


Taken = dict[str, tuple[socket.socket, int]]


def _receivers(lab: Lab, subject: Subject, packet: Packet, stack: ExitStack) -> Taken:
    """A raw socket in each namespace, with its protocol."""
    nodes = list(subject.world.stacks)
    work = partial(taps.receiver, packet.version, packet.protocol)
    opened = lab.visitor.visit_all((lab.namespace(node), work) for node in nodes)
    for sock in opened:
        stack.callback(sock.close)
    return {node: (sock, packet.protocol) for node, sock in zip(nodes, opened, strict=True)}


def _put(lab: Lab, subject: Subject, shot: Shot, packet: Packet, data: bytes) -> str:
    """Send it; returns why it could not leave, nothing where it did."""
    if shot.device is None and shot.gateway is None:
        sock = lab.visitor.visit(lab.namespace(shot.node), partial(taps.sender, packet.version))
        with sock:
            try:
                sock.sendto(data, (str(packet.destination_address), 0))
            except OSError as error:
                return f"the sender's kernel does not send it: {error.strerror}"
        return ""
    device, towards = _way(subject, shot, packet)
    target = mac_of(lab, subject.world, shot.node, device, towards)
    if target is None:
        return f"nobody on {device} of {shot.node} has {towards}"
    with lab.visitor.visit(lab.namespace(shot.node), partial(_frames, device)) as sock:
        own = sock.getsockname()[4]
        sock.send(target + own + ETHERTYPES[packet.version].to_bytes(2, "big") + data)
    return ""


def _way(subject: Subject, shot: Shot, packet: Packet) -> tuple[str, Address]:
    """The device, and the next hop on it."""
    stack = subject.world.stacks[shot.node]
    target = shot.gateway or packet.destination_address
    decision = stack.routing.lookup(target.version, int(target))
    device = shot.device or decision.device
    if not stack.view.has_link(device) or device == "lo":
        there = ", ".join(link.name for link in stack.view.links)
        raise InputError(f"{shot.node} has no device {device!r} to send by (there are: {there})")
    if shot.gateway is not None:
        return device, shot.gateway
    on_link = target in heard_on(subject.world, shot.node, device)
    by_route = decision.next_hop if decision.device == device else None
    return device, target if on_link or by_route is None else by_route


def _frames(device: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    sock.bind((device, 0))
    return sock


def _read(taken: Taken, sender: str, sent: Packet, number: int, refused: str) -> Landed:
    receivers: list[tuple[str, Packet]] = []
    answered = False
    for node, (sock, protocol) in taken.items():
        for packet, carried in taps.delivered(sock, sent.version, protocol):
            if _is_answer(packet, sent, carried, number) and node == sender:
                answered = True
            elif carried == number and packet.icmp_type == sent.icmp_type:
                receivers.append((node, packet))
    if not receivers:
        return Landed(sent, answered=answered, why=refused or "nobody got it")
    _node, first = receivers[0]
    source = str(first.source_address)
    ported = sent.protocol not in (ICMP, ICMPV6)
    seen = endpoint(source, first.sport) if ported else source
    return Landed(sent, tuple(dict.fromkeys(node for node, _ in receivers)), seen, answered)


def _is_answer(packet: Packet, sent: Packet, carried: int | None, number: int) -> bool:
    """Whether a packet answers ours: an echo reply has our number, a TCP segment our ports the other way."""
    if packet.destination != sent.source or packet.source != sent.destination:
        return False
    if sent.protocol in (ICMP, ICMPV6):
        return carried == number and packet.icmp_type != sent.icmp_type
    return carried is None and (packet.sport, packet.dport) == (sent.dport, sent.sport)
