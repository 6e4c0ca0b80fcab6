"""The grid's questions, put to the kernel with packets and to the model without any."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from netverify.dataplane.discovery import SOLICITATION
from netverify.dataplane.packet import ICMPV6, Packet
from netverify.dataplane.view import DEFAULT, LOCAL, MAIN, Route, RoutingRule
from netverify.dataplane.world import World
from netverify.kernel.lab import Lab
from netverify.kernel.questions import ask_pairs
from netverify.model.prediction import as_cell, exchange, predicted_world
from netverify.reachability.probe import Cell, Outcome, Probe
from netverify.reachability.symbols import Symbol, symbol_of
from netverify.topology.model import Topology
from suites.docker.grid import QUESTIONS, Question

STRANGE = 99  # a routing table


@dataclass(frozen=True)
class Answer:
    """What became of a question: the table's symbol, who received it, and the source address he saw."""

    symbol: str
    receiver: str | None
    source: str | None

    @classmethod
    def of(cls, found: Cell) -> Answer:
        """A cell's answer, without the sender's port, which is another every time."""
        seen = found.seen_source if found.outcome is Outcome.DELIVERED else None
        if seen is not None and (seen.startswith("[") or seen.count(":") == 1):
            seen = seen.rpartition(":")[0].strip("[]")
        return cls(str(symbol_of(found)), found.receiver, seen)


def observed(lab: Lab, topology: Topology) -> dict[Question, Answer]:
    """Build the lab and ask it everything, one protocol and port after the other."""
    lab.up(topology)
    _mislead(lab)
    by_probe: dict[Probe, list[Question]] = defaultdict(list)
    for question in QUESTIONS:
        by_probe[question.probe].append(question)
    found = {}
    for probe, group in by_probe.items():
        cells = ask_pairs(lab, probe, [(question.source, question.target) for question in group])
        found |= {question: Answer.of(one) for question, one in zip(group, cells, strict=True)}
    return found


def predicted(topology: Topology) -> dict[Question, Answer]:
    """What the model says to the same."""
    topology = topology.resolved()
    world = _misled(predicted_world(topology, {}, {}))
    return {question: _predicted(topology, world, question) for question in QUESTIONS}


def _predicted(topology: Topology, world: World, question: Question) -> Answer:
    found = exchange(topology, world, question.probe, question.source, question.target)
    answer = Answer.of(as_cell(question.source, question.target, found))
    if answer.symbol != Symbol.FILTERED or found is None or found.request.packet.version == 4:
        return answer
    # The model speaks of neighbours that are known for good. The lab's are not: a rule that drops the
    # question for one, ICMPv6 that passes the bridge like any packet, leaves him unreachable (RFC 4861).
    asked = found.request.packet
    solicitation = Packet.of(
        asked.source_address, asked.destination_address, ICMPV6, icmp_type=SOLICITATION, ttl=255
    )
    sender = topology.namespace_of(question.source)
    if _on_link(world, sender, asked) and world.trace(solicitation, sender).verdict == "dropped":
        return Answer(Symbol.UNREACHABLE, None, None)
    return answer


def _on_link(world: World, sender: str, packet: Packet) -> bool:
    addresses = [one for link in world.stacks[sender].view.links for one in link.addresses]
    return any(packet.destination_address in address.network for address in addresses)


def _mislead(lab: Lab) -> None:
    """The neighbour sends what is for 127.0.0.1 to the host (moby#45610), not to himself."""
    commands = (
        "ip rule add pref 10 lookup local",
        "ip rule del pref 0",
        f"ip rule add pref 5 to 127.0.0.1 lookup {STRANGE}",
        f"ip route add 127.0.0.1 via 198.51.100.10 src 198.51.100.20 table {STRANGE}",
    )
    lab.run("neighbour", ["sh", "-ec", "; ".join(commands)])


def _misled(world: World) -> World:
    """The same in the model."""
    loop, host, own = (ip_address(text) for text in ("127.0.0.1", "198.51.100.10", "198.51.100.20"))
    way = Route(ip_network(loop), host, "eth0", own, table=STRANGE)
    rules = (
        RoutingRule(5, STRANGE, destination=ip_network(loop)),
        RoutingRule(10, LOCAL),
        RoutingRule(32766, MAIN),
        RoutingRule(32767, DEFAULT),
    )
    views = [stack.view for stack in world.stacks.values()]
    views = [
        replace(view, routes=(*view.routes, way), routing_rules=rules) if view.name == "neighbour" else view
        for view in views
    ]
    return World(views, world.wires)
