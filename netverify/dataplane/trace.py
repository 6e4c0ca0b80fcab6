"""The story of a packet: every step of its way, as data, as text like a packet tracer's, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.packet import Packet, State, address
from netverify.dataplane.program import CompiledChain, CompiledRule, Place
from netverify.dataplane.targets import Reject
from netverify.ruleset.nft import NftPlace


@dataclass(frozen=True, slots=True)
class RuleStep:
    """A rule was asked. `failed` is the number of the test that the packet did not pass, -1 if it matched.

    `translates` says that it was asked for a translation: it stands in a chain of nat, or is called from one.

    A rule of nftables may be several steps: its first tests, and then each thing that it does in turn.
    """

    host: str
    hook: str
    rule: CompiledRule
    failed: int
    packet: Packet
    translates: bool = False

    @property
    def matched(self) -> bool:
        """Whether the rule, or this step of it, matched."""
        return self.failed < 0

    @property
    def counted(self) -> bool:
        """Whether the rule's counter moved; a rule of nftables may have none, or have it at another step."""
        return self.matched and self.rule.counts

    @property
    def place(self) -> Place:
        """Where the rule stands."""
        return self.rule.place

    @property
    def text(self) -> str:
        """The rule, and what came of it."""
        said = f"{self.place}  {self.rule.words or self.rule.rule}"
        if self.matched and self.rule.part:
            return f"{said}  {'passed its first tests' if self.rule.tests else 'asked'}"
        if self.matched:
            warning = f"; not modelled: {self.rule.not_modelled}" if self.rule.not_modelled else ""
            return f"{said}  MATCHED{warning}"
        return f"{said}  no: {self.rule.tests[self.failed].text}"


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """The end of one of the kernel's own chains was reached."""

    host: str
    hook: str
    chain: CompiledChain
    packet: Packet
    translates: bool = False

    @property
    def matched(self) -> bool:
        """A policy always applies."""
        return True

    @property
    def counted(self) -> bool:
        """Policies of iptables count what they decide; those of nftables do not."""
        return not isinstance(self.place, NftPlace)

    @property
    def place(self) -> Place:
        """Where the policy counts."""
        return self.chain.policy_place

    @property
    def text(self) -> str:
        """The policy in words."""
        return f"{self.place}  policy {self.chain.policy.value}"


@dataclass(frozen=True, slots=True)
class Event:
    """Anything else: routing, connection tracking, translation, bridging, arrival. `after` if it changed."""

    host: str
    hook: str
    what: str
    text: str
    packet: Packet
    after: Packet | None = None


Step = RuleStep | PolicyStep | Event


@dataclass
class Recorder:
    """Takes down the steps of one packet while it travels."""

    steps: list[Step] = field(default_factory=list)
    assumed: dict[str, bool] = field(default_factory=dict)

    def event(
        self, host: str, hook: str, what: str, text: str, packet: Packet, after: Packet | None = None
    ) -> None:
        """Take down something that is no rule."""
        self.steps.append(Event(host, hook, what, text, packet, after))


@dataclass(frozen=True)
class Trace:
    """A packet's way and end.

    `verdict` is "delivered", "dropped", "rejected", "unreachable" or "sent" (it left the host and nobody
    followed it); `place` the rule or policy that decided, with its `host`, where one did. `assumed` lists the
    unknowns that were asked, with the value that was taken for them.
    """

    packet: Packet
    final: Packet
    verdict: str
    reason: str
    host: str
    place: Place | None = None
    steps: tuple[Step, ...] = ()
    assumed: tuple[tuple[str, bool], ...] = ()
    answer: Reject | None = None  # what the sender is told
    locally: bool = False  # by an error of its own socket
    discovery: Trace | None = None  # what was lost of the question for its next hop's Ethernet address

    def hits(self) -> dict[tuple[str, Place], int]:
        """How far each rule's and policy's packet counter moves, by host and place."""
        counted: dict[tuple[str, Place], int] = {}
        for step in self.steps:
            if isinstance(step, RuleStep | PolicyStep) and step.counted:
                counted[step.host, step.place] = counted.get((step.host, step.place), 0) + 1
        return counted

    def render(self, *, every_rule: bool = False) -> str:
        """The trace as lines for a terminal; rules that did not match only with `every_rule`."""
        lines = [f"Packet: {self.packet}"]
        at = ("", "")
        for step in self.steps:
            if isinstance(step, RuleStep) and not step.matched and not every_rule:
                continue
            if (step.host, step.hook) != at:
                at = step.host, step.hook
                devices = _devices(step.packet)
                lines.append("")
                lines.append(f"{step.host}  {step.hook or 'host'}" + (f"  ({devices})" if devices else ""))
            lines += (f"    {line}" for line in _lines(step))
        lines += ["", f"Verdict: {self.verdict.upper()} at {self.host}: {self.reason}"]
        lines += (f"    assumed {'yes' if value else 'no'}: {name}" for name, value in self.assumed)
        return "\n".join(lines)

    def as_json(self) -> str:
        """The trace as a JSON document."""
        return json.dumps(self.facts(), indent=2)

    def facts(self) -> dict[str, Any]:
        """The trace for JSON."""
        return {
            "packet": packet_facts(self.packet),
            "verdict": self.verdict,
            "reason": self.reason,
            "host": self.host,
            "deciding": None if self.place is None else str(self.place),
            "assumed": dict(self.assumed),
            "final": packet_facts(self.final),
            "steps": [_step_facts(step) for step in self.steps],
        }


def packet_facts(packet: Packet) -> dict[str, Any]:
    """A packet for JSON: what is set, addresses as text."""
    facts: dict[str, Any] = {
        "source": str(packet.source_address),
        "destination": str(packet.destination_address),
        "protocol": packet.protocol,
        "text": str(packet),
    }
    names = (
        "sport",
        "dport",
        "in_interface",
        "out_interface",
        "physdev_in",
        "physdev_out",
        "mark",
        "connmark",
    )
    facts |= {name: getattr(packet, name) for name in names if getattr(packet, name)}
    facts["state"] = State(packet.state).name
    return facts


def _devices(packet: Packet) -> str:
    parts = []
    if packet.in_interface:
        parts.append(
            f"in {packet.in_interface}" + (f" port {packet.physdev_in}" if packet.physdev_in else "")
        )
    if packet.out_interface:
        parts.append(
            f"out {packet.out_interface}" + (f" port {packet.physdev_out}" if packet.physdev_out else "")
        )
    return ", ".join(parts)


def _lines(step: Step) -> Iterator[str]:
    if not isinstance(step, Event):
        yield step.text
        return
    yield f"{step.what}: {step.text}"
    if step.after is not None:
        yield from (f"    {line}" for line in changes(step.packet, step.after))


_SHOWN = ("source", "destination", "sport", "dport", "mark", "connmark", "ttl", "tos")


def changes(before: Packet, after: Packet) -> list[str]:
    """What was written into a packet, field by field."""
    found = []
    for name in _SHOWN:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            if name in ("source", "destination"):
                old, new = address(before.version, old), address(after.version, new)
            found.append(f"{name} {old} -> {new}")
    return found


def _step_facts(step: Step) -> dict[str, Any]:
    facts: dict[str, Any] = {"host": step.host, "hook": step.hook}
    if isinstance(step, Event):
        facts |= {"what": step.what, "text": step.text}
        if step.after is not None:
            facts["changes"] = changes(step.packet, step.after)
        return facts
    if isinstance(step.place, NftPlace):
        facts["family"] = step.place.family
    facts |= {"table": step.place.table, "chain": step.place.chain, "number": step.place.number}
    facts["matched"] = step.matched
    if isinstance(step, RuleStep):
        facts["rule"] = str(step.rule.rule)
        if step.rule.words:
            facts["step"] = step.rule.words
        if not step.matched:
            facts["failed"] = step.rule.tests[step.failed].text
    else:
        facts["policy"] = step.chain.policy.value
    return facts


class RuleWriter:
    """Writes down what each rule does to one packet: an evaluator's observer."""

    def __init__(
        self, recorder: Recorder, host: str, hook: str, algebra: OnePacket, *, translates: bool = False
    ) -> None:
        self.recorder, self.host, self.hook, self.algebra = recorder, host, hook, algebra
        self.translates = translates

    def tested(self, rule: CompiledRule, failed: int, _matched: bool, /) -> None:
        """A rule, or a step of one, was asked."""
        packet = self.algebra.packet
        self.recorder.steps.append(RuleStep(self.host, self.hook, rule, failed, packet, self.translates))

    def reached_policy(self, chain: CompiledChain, _packets: bool, /) -> None:
        """The end of one of the kernel's own chains was reached."""
        packet = self.algebra.packet
        self.recorder.steps.append(PolicyStep(self.host, self.hook, chain, packet, self.translates))
