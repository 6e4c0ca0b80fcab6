"""All pairs of a subject for one service: a matrix of what the model says, with the rule behind each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netverify.dataplane.packet import Address
from netverify.model.alike import Alike, Told
from netverify.model.errors import QuestionError
from netverify.model.questions import Deciding, Question, send
from netverify.model.subject import Endpoint, Lack, Subject
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Outcome, Probe


@dataclass(frozen=True)
class Pair:
    """One cell: the address that was sent to, what came of it, and the rule that decided, if one did."""

    cell: Cell
    address: Address
    rule: Deciding | None
    lacks: tuple[Lack, ...] = ()


@dataclass(frozen=True)
class Reach:
    """Every pair that was asked, in the order of the matrix."""

    subject: Subject
    matrix: ObservedMatrix
    pairs: tuple[Pair, ...]

    @property
    def lacks(self) -> tuple[Lack, ...]:
        """What is not known and matters for some pair."""
        return tuple(dict.fromkeys(lack for pair in self.pairs for lack in pair.lacks))


def reach(subject: Subject, probe: Probe, sources: Sequence[str] = (), targets: Sequence[str] = ()) -> Reach:
    """Ask every pair; by default of everybody who is shown, to everybody who has an address.

    Raises QuestionError for an unknown name, or where there is nobody to ask.
    """
    senders = [subject.endpoint(name) for name in dict.fromkeys(sources)]
    receivers = [subject.endpoint(name) for name in dict.fromkeys(targets)]
    shown = [endpoint for endpoint in subject.endpoints if endpoint.shown]
    senders = senders or shown
    receivers = [each for each in receivers or shown if each.address(probe.version) is not None]
    if not receivers:
        raise QuestionError(f"nobody of those asked for in {subject.title} has an IPv{probe.version} address")
    alike = Alike(subject)
    known: dict[tuple[str, ...], tuple[Lack, ...]] = {}
    pairs = tuple(
        _pair(subject, probe, sender, receiver, alike, known) for sender in senders for receiver in receivers
    )
    matrix = ObservedMatrix.of(
        probe,
        (pair.cell for pair in pairs),
        rows=[endpoint.name for endpoint in senders],
        columns=[endpoint.name for endpoint in receivers],
    )
    return Reach(subject, matrix, pairs)


def _pair(
    subject: Subject,
    probe: Probe,
    sender: Endpoint,
    receiver: Endpoint,
    alike: Alike,
    known: dict[tuple[str, ...], tuple[Lack, ...]],
) -> Pair:
    address = receiver.address(probe.version)
    if address is None:
        raise QuestionError(f"{receiver.name} has no IPv{probe.version} address")
    told = alike.recall(sender, receiver, address)
    if told is None:
        answer = send(subject, Question(sender.name, receiver.name, probe), sender, address, brief=True)
        told = alike.learn(sender, receiver, address, answer)
    if told.nodes not in known:
        known[told.nodes] = subject.lacking(told.nodes, probe.version)
    lacks = known[told.nodes]
    return Pair(_cell(told, lacks, sender.name, receiver.name), address, told.rule, lacks)


def _cell(told: Told, lacks: tuple[Lack, ...], source: str, target: str) -> Cell:
    """What came of a pair as a cell; what is unknown is an ERROR there, which nobody takes for blocked."""
    if lacks:
        detail = "unknown, for it was not collected: " + "; ".join(map(str, lacks))
        return Cell(source, target, Outcome.ERROR, detail=detail)
    found = told.answer.exchange
    if found is None:
        return Cell(source, target, Outcome.UNREACHABLE, detail=f"the sender has {told.answer.why}")
    outcome = Outcome(found.outcome)
    return Cell(source, target, outcome, told.seen, told.receiver, found.replied, told.detail)
