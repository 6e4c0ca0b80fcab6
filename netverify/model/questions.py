"""Asking about one packet: who sends what to whom, and what comes of it and of the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import ip_address

from netverify.dataplane.explore import Exploration, explore
from netverify.dataplane.packet import Address, Packet
from netverify.dataplane.program import table_of
from netverify.dataplane.targets import Nat
from netverify.dataplane.trace import PolicyStep, RuleStep, Trace
from netverify.dataplane.view import LEGACY
from netverify.dataplane.world import Exchange
from netverify.model.errors import QuestionError
from netverify.model.naming import place_words, split_target
from netverify.model.subject import Endpoint, Lack, Subject
from netverify.reachability.probe import Probe
from netverify.reachability.text import printable

ARRIVES, UNANSWERED, BLOCKED, UNSENT, UNKNOWN = "arrives", "unanswered", "blocked", "unsent", "unknown"
"""What can come of a question: both ways work; the answer is lost; the request is; there is no way to send
it; or something is not known on which the answer depends."""


class Everybody:
    """Who listens: everybody, on every port. The questions are about the network, not about programs."""

    def __contains__(self, _listener: object) -> bool:
        return True


@dataclass(frozen=True)
class Question:
    """One packet: `source` is an endpoint's name, `target` one too, or an address, either with `:PORT`.

    `probe` has protocol, port and IP version. `sport` and `source_address` are the sender's choice of port
    and address, where it is not left to its kernel.
    """

    source: str
    target: str
    probe: Probe
    sport: int | None = None
    source_address: Address | None = None


@dataclass(frozen=True)
class Answer:
    """What comes of a question; where nothing can be sent, no packet and no exchange, but `why`."""

    question: Question
    subject: Subject
    address: Address
    packet: Packet | None
    exchange: Exchange | None
    why: str = ""

    @cached_property
    def lacks(self) -> tuple[Lack, ...]:
        """What is not known and matters for this answer."""
        nodes = [self.subject.endpoint(self.question.source).node]
        nodes += (step.host for trace in self.traces() for step in trace.steps)
        return self.subject.lacking(nodes, self.question.probe.version)

    @property
    def verdict(self) -> str:
        """One of ARRIVES, UNANSWERED, BLOCKED, UNSENT, UNKNOWN."""
        return UNKNOWN if self.lacks else self.by_what_is_known

    @property
    def by_what_is_known(self) -> str:
        """The verdict if nothing else mattered than what is known."""
        if self.exchange is None:
            return UNSENT
        if self.exchange.outcome != "delivered":
            return BLOCKED
        return ARRIVES if self.exchange.replied else UNANSWERED

    @property
    def assumed(self) -> tuple[tuple[str, bool], ...]:
        """The unknowns that were asked for, with the values that were taken."""
        return tuple(dict(pair for trace in self.traces() for pair in trace.assumed).items())

    def traces(self) -> Iterator[Trace]:
        """Request and answer, and those of a proxy in between."""
        found = self.exchange
        while found is not None:
            yield found.request
            if found.answer is not None:
                yield found.answer
            found = found.beyond


@dataclass(frozen=True)
class Deciding:
    """The rule or policy that lets a packet pass or ends it: where, and its text ("" for a policy)."""

    host: str
    place: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.host}: {self.place}" + (f": {self.text}" if self.text else "")


def ask(subject: Subject, question: Question) -> Answer:
    """Send the packet through the model, and what comes back. Raises QuestionError."""
    source = subject.endpoint(question.source)
    name, address, port = read_target(subject, question.target)
    probe = question.probe
    if port is not None:
        if probe.port is None:
            shown = printable(question.target)
            raise QuestionError(f"target '{shown}' has a port, and {probe.protocol} has none")
        probe = replace(probe, port=port)
        question = replace(question, probe=probe)
    if address is None:
        target = subject.endpoint(name)
        address = target.address(probe.version)
        if address is None:
            raise QuestionError(_no_address(target, probe.version))
    elif address.version != probe.version:
        raise QuestionError(f"{address} is no address of IPv{probe.version}: ask for IPv{address.version}")
    subject = subject.reaching(address)
    sender = question.source_address
    if sender is not None:
        if sender.version != address.version:
            raise QuestionError(f"{sender} -> {address}: two addresses of different families")
        if subject.is_stranger(source.node) and subject.owner(sender) is None:
            subject = subject.with_address(source.node, sender)
    return send(subject, question, source, address)


def alternatives(answer: Answer) -> Exploration[Answer]:
    """What else can come of it, by the values of the unknowns that were asked for (`explore`)."""
    source = answer.subject.endpoint(answer.question.source)

    def run(assume: Mapping[str, bool]) -> Answer:
        return send(answer.subject, answer.question, source, answer.address, assume=assume)

    return explore(run, lambda other: other.assumed, lambda other: other.by_what_is_known)


def send(
    subject: Subject,
    question: Question,
    source: Endpoint,
    address: Address,
    *,
    assume: Mapping[str, bool] | None = None,
    brief: bool = False,
) -> Answer:
    """Ask when names and addresses are settled; `assume` gives values to unknowns.

    A `brief` answer does not tell of the rules of long chains that did not match.
    """
    world, probe = subject.world, question.probe
    world.forget()
    world.inquiry.brief = brief
    ports: dict[str, int] = {} if probe.port is None else {"dport": probe.port}
    if question.sport is not None:
        ports["sport"] = question.sport
    if question.source_address is not None:
        packet: Packet | None = Packet.of(question.source_address, address, probe.protocol, **ports)
    elif world.stacks[source.node].routing.lookup(address.version, int(address)).kind == "none":
        return Answer(question, subject, address, None, None, "no route")
    else:
        packet = world.packet(source.node, address, probe.protocol, **ports)
    if packet is None:
        why = f"no IPv{address.version} address to send from"
        return Answer(question, subject, address, None, None, why)
    found = world.ask(packet, source.node, listening=Everybody(), assume=assume)
    return Answer(question, subject, address, packet, found)


def version_of(subject: Subject, source: str, target: str) -> int | None:
    """The IP version that a question must be about: a bare address's, or the only one that both ends have."""
    name, address, _port = read_target(subject, target)
    if address is not None:
        return address.version
    ends = subject.endpoint(source), subject.endpoint(name)
    common = [version for version in (4, 6) if all(end.address(version) is not None for end in ends)]
    return common[0] if len(common) == 1 else None


def read_address(text: str) -> Address:
    """A person's address. Raises QuestionError."""
    found = _as_address(text)
    if found is None:
        raise QuestionError(f"'{printable(text)}' is not an IP address")
    return found


def read_target(subject: Subject, text: str) -> tuple[str, Address | None, int | None]:
    """NAME, ADDRESS and PORT of a target; NAME is empty for a bare address. Raises InputError."""
    if any(endpoint.name == text for endpoint in subject.endpoints):
        return text, None, None
    bare = _as_address(text)
    if bare is not None:
        return "", bare, None
    if "@" not in text:
        host, colon, port = text.rpartition(":")
        alone = _as_address(host.removeprefix("[").removesuffix("]")) if colon else None
        if alone is not None:
            return "", alone, split_target(f"x:{port}")[2]
    return split_target(text)


def _as_address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _no_address(endpoint: Endpoint, version: int) -> str:
    own = ", ".join(map(str, endpoint.addresses))
    has = f"it has {own}" if own else "it has none at all"
    return f"{printable(endpoint.name)} has no IPv{version} address to send to; {has}"


def deciding(exchange: Exchange) -> Deciding | None:
    """The rule behind an outcome: which ends the request or the answer, else the last that lets it pass."""
    decided = exchange.decided
    if decided.place is not None:
        for step in reversed(decided.steps):
            where = (decided.host, decided.place)
            if isinstance(step, RuleStep | PolicyStep) and (step.host, step.place) == where:
                return in_words(step)
    return deciding_step(exchange.request)


def deciding_step(trace: Trace) -> Deciding | None:
    """The last rule or policy of a filter that let a packet pass, in words."""
    step = passing_step(trace)
    return None if step is None else in_words(step)


def passing_step(trace: Trace) -> RuleStep | PolicyStep | None:
    """The last rule or policy of a filter that let a packet pass."""
    for step in reversed(trace.steps):
        if isinstance(step, RuleStep | PolicyStep) and _lets_pass(step):
            return step
    return None


def _lets_pass(step: RuleStep | PolicyStep) -> bool:
    """Whether a step ends the way through a chain that filters."""
    table = table_of(step.place).removeprefix(LEGACY)
    if step.translates or step.hook not in ("INPUT", "FORWARD", "OUTPUT") or table in ("raw", "mangle"):
        return False
    if isinstance(step, PolicyStep):
        return True
    return step.matched and step.rule.ending is not None and not isinstance(step.rule.ending, Nat)


def in_words(step: RuleStep | PolicyStep) -> Deciding:
    """A step of a trace as the rule that it is about."""
    place = place_words(step.place)
    if isinstance(step, PolicyStep):
        return Deciding(step.host, f"{place} {step.chain.policy.value}")
    return Deciding(step.host, place, str(step.rule.rule))
