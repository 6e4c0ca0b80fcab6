"""Whether any packet at all can get from one to another, and such a packet: all packets at once.

This needs the package oxidd, so it is imported only by who asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netverify.dataplane.condition import Condition, all_of, equals
from netverify.dataplane.packet import PROTOCOL_NUMBERS
from netverify.dataplane.pairs import Example, pairs
from netverify.dataplane.pairs import Reach as Found
from netverify.model.errors import QuestionError
from netverify.model.questions import Deciding, deciding_step
from netverify.model.subject import Endpoint, Lack, Subject


@dataclass(frozen=True)
class Passage:
    """Some packet gets from one to the other.

    `surely` says that it does so whatever the unknowns say; `answered` that for some packet the answer comes
    back as well. `example` is one with an answer where there is one, and `rule` the last that lets it pass.
    """

    source: str
    target: str
    surely: bool
    answered: bool
    example: Example
    rule: Deciding | None


@dataclass(frozen=True)
class Anything:
    """What can get through in one IP version, between whom; pairs without a passage have none at all.

    Who shares a namespace is not asked about one another: there is no filter between them. `lacks` is what is
    not known of anybody; by what is known, the rest is exact.
    """

    subject: Subject
    version: int
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    passages: tuple[Passage, ...]
    lacks: tuple[Lack, ...] = ()


@dataclass(frozen=True)
class Packets:
    """Which packets are asked about: of one protocol ("" for all) and destination port, forged or not."""

    protocol: str = ""
    port: int | None = None
    spoofed: bool = False

    @property
    def condition(self) -> Condition | None:
        """The same for the dataplane; None where all packets are."""
        if not self.protocol:
            return None
        numbers = (1, 58) if self.protocol == "icmp" else (PROTOCOL_NUMBERS[self.protocol],)
        parts = [equals("protocol", *numbers)]
        if self.port is not None:
            parts.append(equals("dport", self.port))
        return all_of(parts)

    def __str__(self) -> str:
        said = self.protocol + ("" if self.port is None else f"/{self.port}") or "any packet"
        return said + (", with any source address" if self.spoofed else "")


def passing(
    subject: Subject, version: int, packets: Packets, sources: Sequence[str] = (), targets: Sequence[str] = ()
) -> Anything:
    """Every pair, by default of everybody who is shown. Raises QuestionError for an unknown name."""
    shown = [endpoint for endpoint in subject.endpoints if endpoint.shown]
    senders = [subject.endpoint(name) for name in dict.fromkeys(sources)] or shown
    receivers = [subject.endpoint(name) for name in dict.fromkeys(targets)] or shown
    senders = [each for each in senders if each.address(version) is not None]
    receivers = [each for each in receivers if each.address(version) is not None]
    if not senders or not receivers:
        raise QuestionError(f"nobody of those asked for in {subject.title} has an IPv{version} address")
    found = pairs(
        subject.world,
        dict.fromkeys(endpoint.node for endpoint in senders),
        dict.fromkeys(endpoint.node for endpoint in receivers),
        version=version,
        only=packets.condition,
        spoofed=packets.spoofed,
    )
    return Anything(
        subject,
        version,
        tuple(endpoint.name for endpoint in senders),
        tuple(endpoint.name for endpoint in receivers),
        tuple(_passages(found, senders, receivers)),
        subject.lacking((view.name for view in subject.views), version),
    )


def _passages(found: Found, senders: Sequence[Endpoint], receivers: Sequence[Endpoint]) -> Iterator[Passage]:
    for sender in senders:
        for receiver in receivers:
            pair = found.pair(sender.node, receiver.node)
            example = None if pair is None else pair.exchange or pair.example
            if pair is None or example is None or sender.node == receiver.node:
                continue
            answered = pair.exchange is not None
            surely = not found.sets.is_empty(pair.surely_answered if answered else pair.sure)
            rule = deciding_step(example.trace)
            yield Passage(sender.name, receiver.name, surely, answered, example, rule)
