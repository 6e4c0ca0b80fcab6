"""The grid's questions, put to the kernel with packets and to the model without any."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from fixtures.misled import mislead, misled
from netverify.dataplane.world import World
from netverify.kernel.lab import Lab
from netverify.kernel.questions import ask_pairs
from netverify.model.prediction import as_cell, exchange
from netverify.model.topologies import world_of
from netverify.reachability.probe import Cell, Outcome, Probe
from netverify.reachability.symbols import symbol_of
from netverify.topology.model import Topology
from suites.docker.grid import QUESTIONS, Question

NEIGHBOUR = ("neighbour", "198.51.100.20")  # who is led astray, and his address

# Whom web's containers ask for in vain, they ask for in every question. Once and 150 ms, where the kernel
# asks three times (arp(7)): on wires that lose nothing the second asking is answered no more than the first.
ASKING = {"mcast_solicit": 1, "retrans_time_ms": 150}


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
    mislead(lab, *NEIGHBOUR)
    for name in ("web1", "web2"):
        for family in ("ipv4", "ipv6"):
            for key, value in ASKING.items():
                lab.sysctl(name, f"net.{family}.neigh.eth0.{key}", value)
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
    world = misled(world_of(topology), *NEIGHBOUR)
    aims = {(one.target, one.probe.version) for one in QUESTIONS}
    addressed = {aim: _addressed(topology, *aim) for aim in aims}
    return {
        one: _predicted(topology, world, one, addressed[one.target, one.probe.version]) for one in QUESTIONS
    }


def _predicted(topology: Topology, world: World, question: Question, target: str) -> Answer:
    found = exchange(topology, world, question.probe, question.source, target)
    return Answer.of(as_cell(question.source, question.target, found))


def _addressed(topology: Topology, target: str, version: int) -> str:
    """The target with its address, which is looked up once here and not for every question."""
    if "@" in target:
        return target
    name, colon, port = target.partition(":")
    address = topology.addresses_of(name, version)[0]
    return f"{name}@{address}{colon}{port}" if version == 4 else f"{name}@[{address}]{colon}{port}"
