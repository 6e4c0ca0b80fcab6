"""Pairs that cannot differ: what came of one pair, told of others that are like it in all that was asked.

A host with hundreds of containers has hundreds of thousands of pairs, and few kinds of them. Two containers
are *of one kind* when they are wired, routed and addressed alike, so that exchanging them changes nothing but
their own addresses and the names of their ports; that is found by comparing what is known of them (`kinds`).
What is left to tell them apart are rules that ask for an address or a port by name (`asked`). So an exchange
that was followed once is kept with what such tests said of its packets, in every chain that they entered
(`_Story`). It is told again of a pair of the same kinds for which all these tests say the same: then every
step of the way is the same.

Nothing is told again where an address or port was rewritten, where a proxy stood between, where a test reads
several such fields at once, or in IPv6, whose neighbours are asked for by addresses made of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from netverify.dataplane.packet import Address, Packet, address
from netverify.dataplane.trace import Event, Trace
from netverify.dataplane.world import Exchange
from netverify.model.asked import Asked, Findings
from netverify.model.kinds import Kinds
from netverify.model.questions import Answer, Deciding, deciding
from netverify.model.subject import Endpoint, Subject

_REWRITTEN = ("source", "destination", "sport", "dport")
_WORD = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a pair: what a cell says, the rule behind it, and the namespaces that were passed."""

    answer: Answer
    seen: str | None
    receiver: str | None
    detail: str
    rule: Deciding | None
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Story:
    """An exchange that was followed, between `ends`; `pinned` are the ends of whom its words speak."""

    told: Told
    ends: tuple[str, str]
    pinned: tuple[bool, bool]
    findings: Findings
    seen: tuple[int, int] | None


class Alike:
    """Remembers what came of pairs, and tells it of others for which it must be the same."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._kinds = Kinds(subject)
        self._asked = Asked(subject.world, self._kinds)
        self._stories: dict[object, list[_Story]] = {}
        self._last: dict[object, _Story] = {}

    def recall(self, sender: Endpoint, receiver: Endpoint, target: Address) -> Told | None:
        """What must come of a pair by what is known of others; None where it has to be followed."""
        key = self._key(sender, receiver, target)
        if key is None:
            return None
        ends = sender.node, receiver.node
        last = self._last.get((key, receiver.node))
        if last is not None and self._fits(last, ends):
            return self._told(last, ends)
        for story in self._stories.get(key, ()):
            if self._fits(story, ends):
                self._last[key, receiver.node] = story
                return self._told(story, ends)
        return None

    def learn(self, sender: Endpoint, receiver: Endpoint, target: Address, answer: Answer) -> Told:
        """Keep what came of a pair that was followed, where it can be told of others."""
        told = _told_of(answer)
        key = self._key(sender, receiver, target)
        ends = sender.node, receiver.node
        if key is None or (answer.exchange is not None and _is_entangled(answer.exchange)):
            return told
        findings = self._asked.by(answer.traces(), ends)
        if findings is not None:
            words = set(_WORD.findall(told.detail))
            pinned = tuple(bool(words & self._kinds.of(end).words) for end in ends)
            seen = None
            if told.seen is not None and answer.exchange is not None:
                seen = self._kinds.slot(ends, answer.exchange.request.final.source)
            story = _Story(told, ends, (pinned[0], pinned[1]), findings, seen)
            self._stories.setdefault(key, []).append(story)
            self._last[key, receiver.node] = story
        return told

    # --- telling --------------------------------------------------------------------------------------------

    def _key(self, sender: Endpoint, receiver: Endpoint, target: Address) -> object | None:
        if target.version != 4 or sender.node == receiver.node or not self._kinds.possible:
            return None
        theirs = self._kinds.of(receiver.node)
        number = int(target)
        place = theirs.values.index(number) if number in theirs.values else number
        return self._kinds.of(sender.node).kind, theirs.kind, place

    def _fits(self, story: _Story, ends: tuple[str, str]) -> bool:
        for side in (0, 1):
            if story.pinned[side] and story.ends[side] != ends[side]:
                return False
        return self._asked.agree(story.findings, ends)

    def _told(self, story: _Story, ends: tuple[str, str]) -> Told:
        if story.ends == ends:
            return story.told
        told, names = story.told, dict(zip(story.ends, ends, strict=True))
        seen = told.seen
        if story.seen is not None:
            side, slot = story.seen
            value = self._kinds.of(ends[side]).values[slot]
            seen = str(address(4, value)) if isinstance(value, int) else seen
        rule = told.rule
        if rule is not None and rule.host in names:
            rule = replace(rule, host=names[rule.host])
        receiver = None if told.receiver is None else names.get(told.receiver, told.receiver)
        nodes = tuple([names.get(node, node) for node in told.nodes])
        return Told(told.answer, seen, receiver, told.detail, rule, nodes)


def _told_of(answer: Answer) -> Told:
    exchange = answer.exchange
    nodes = (step.host for trace in answer.traces() for step in trace.steps)
    sender = answer.subject.endpoint(answer.question.source).node
    passed = tuple(dict.fromkeys((sender, *nodes)))
    if exchange is None:
        return Told(answer, None, None, "", None, passed)
    request = exchange.request
    seen = str(request.final.source_address) if request.verdict == "delivered" else None
    return Told(answer, seen, exchange.receiver, exchange.decided.reason, deciding(exchange), passed)


def _is_entangled(exchange: Exchange) -> bool:
    """Whether more happened than packets going their way as they were sent."""
    traces = [exchange.request] + ([exchange.answer] if exchange.answer is not None else [])
    return exchange.beyond is not None or any(_is_rewritten(trace) for trace in traces)


def _is_rewritten(trace: Trace) -> bool:
    changed: Iterable[tuple[Packet, Packet]] = (
        (step.packet, step.after)
        for step in trace.steps
        if isinstance(step, Event) and step.after is not None
    )
    return any(getattr(old, name) != getattr(new, name) for old, new in changed for name in _REWRITTEN)
