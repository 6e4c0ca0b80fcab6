"""All packets between a host's parties: what a policy is checked against, and drafted from.

This needs the package oxidd, so it is imported only by who asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from netverify.audit.case import Case
from netverify.audit.finding import CellReference, Evidence, Finding, RuleReference, Severity
from netverify.audit.kind import FORWARDING, Kind
from netverify.audit.policy import ANY, Clause, Policy, PolicyRule, Rest, Service, Verb
from netverify.dataplane.condition import ALWAYS, AnyOf, Condition, Not, Within, all_of, equals
from netverify.dataplane.diagrams import Set
from netverify.dataplane.packet import ICMP, ICMPV6, SCTP, TCP, UDP, Packet
from netverify.dataplane.pairs import Pair, Reach, pairs
from netverify.dataplane.world import Exchange
from netverify.model.narration import exchange_lines
from netverify.model.subject import Endpoint

VIOLATED = Kind(
    "policy-violated",
    "a packet passes that the policy denies",
    Severity.HIGH,
    "The policy says who is meant to reach whom. What else passes was not meant to.",
    FORWARDING,
)
NOT_WORKING = Kind(
    "policy-not-met",
    "what the policy allows does not work",
    Severity.LOW,
    "The policy says that it is meant to: either the host blocks it, or the policy is out of date.",
    FORWARDING,
)
NOBODY = Kind(
    "policy-names-nobody",
    "the policy speaks of somebody who is not there",
    Severity.LOW,
    "A misspelt name allows and denies nothing, so that the rule does not do what it says.",
    FORWARDING,
)
KINDS: Final = (VIOLATED, NOT_WORKING, NOBODY)

_PROTOCOLS: Final = {"tcp": (TCP,), "udp": (UDP,), "sctp": (SCTP,), "icmp": (ICMP, ICMPV6)}
Span = tuple[int, int]
"""Ports from the first to the second."""
EVERY_PORT: Final[Span] = (0, 65535)
MOST_RANGES: Final = 16
"""Port ranges of a protocol that a draft names one by one; of more it names the protocol."""


@dataclass(frozen=True)
class Between:
    """One ordered pair of parties, and the packets that get from the first to the second, if any do."""

    source: Endpoint
    target: Endpoint
    pair: Pair | None


def violations(case: Case, policy: Policy) -> Iterator[Finding]:
    """Where the host and its policy differ, of all packets that the parties can send in their own name.

    A service is what the sender asks for: for a published port, the port of the host.
    """
    lost = case.missing(FORWARDING)
    if lost:
        yield VIOLATED.unknown(case.snapshot.name, "not collected: " + "; ".join(lost))
        return
    for name in policy.strangers(endpoint.name for endpoint in _parties(case)):
        yield NOBODY.found(name)
    unmet: dict[tuple[str, str, Clause, Service], list[Span]] = {}
    for version in case.subject.versions():
        found = _asked(case, version)
        for between in _pairs(case, found, version):
            share = _share_a_network(case, between)
            clauses = policy.clauses(between.source.name, between.target.name, share_a_network=share)
            for clause, about in _apart(found, clauses):
                if clause.allowed:
                    for service in clause.services or ():
                        key = (between.source.name, between.target.name, clause, service)
                        here = list(_unanswered(found, between, service, about))
                        unmet[key] = here if key not in unmet else list(_common(unmet[key], here))
                elif between.pair is not None:
                    yield from _passing(case, found, between, clause, between.pair.possible & about)
    for (source, target, clause, service), spans in unmet.items():
        if spans:
            yield _not_working(source, target, clause, service, spans)


def draft(case: Case) -> Policy:
    """A policy that says what passes today, and denies the rest."""
    services: dict[tuple[str, str], dict[str, list[Span]]] = {}
    for version in case.subject.versions():
        found = _asked(case, version)
        for between in _pairs(case, found, version):
            if between.pair is not None:
                known = services.setdefault((between.source.name, between.target.name), {})
                for protocol, span in _services(found, between.pair.possible):
                    known.setdefault(protocol, []).append(span)
    rules = [
        PolicyRule(source, target, tuple(named), Verb.ALLOW)
        for (source, target), spans in services.items()
        if (named := _named(spans))
    ]
    return Policy(tuple(rules), Rest.ALL)


# --- judging ------------------------------------------------------------------------------------------------


def _apart(found: Reach, clauses: Sequence[Clause]) -> Iterator[tuple[Clause, Set]]:
    """Each clause with the packets that it decides: those of its services that no earlier one is about."""
    sets = found.sets
    left = sets.everything
    for clause in clauses:
        about = left if clause.services is None else left & sets.satisfying(_condition(clause.services))
        left &= ~about
        yield clause, about


def _passing(case: Case, found: Reach, between: Between, clause: Clause, packets: Set) -> Iterator[Finding]:
    packet = found.sets.example(packets)
    if packet is None:
        return
    said = "everything else is denied" if clause.rule is None else str(clause.rule)
    line = f" (line {clause.rule.line})" if clause.rule is not None and clause.rule.line else ""
    spans: dict[str, list[Span]] = {}
    for protocol, span in _services(found, packets):
        spans.setdefault(protocol, []).append(span)
    services = " ".join(map(str, _named(spans))) or "another protocol"
    evidence, rules = _shown(case, found, between, packet, packets)
    yield VIOLATED.found(
        f"{between.source.name} -> {between.target.name} over IPv{found.sets.version}",
        title=f"{services} passes, and the policy says: {said}{line}",
        cells=[CellReference(between.source.name, between.target.name, services)],
        evidence=evidence,
        rules=rules,
    )


def _unanswered(found: Reach, between: Between, service: Service, about: Set) -> Iterator[Span]:
    """The ports of a service on which nobody is answered; of one without ports, all or none."""
    sets = found.sets
    wanted = about & sets.satisfying(_of_service(service))
    if sets.is_empty(wanted):
        return  # an earlier clause denies all of it
    answered = sets.nothing if between.pair is None else between.pair.answered & wanted
    if service.protocol in ("icmp", ANY):
        if sets.is_empty(answered):
            yield EVERY_PORT
        return
    others = [field for field in sets.fields if field not in ("protocol", "dport")]
    heard = answered.exists(sets.cube(*others))
    from_one = sets.satisfying(Within("dport", ((1, 65535),)))
    yield from (span for _, span in _services(found, wanted & from_one & ~heard))


def _common(left: Sequence[Span], right: Sequence[Span]) -> Iterator[Span]:
    """What is in both: a policy is met in one IP version or in the other."""
    for low, high in left:
        for start, end in right:
            if max(low, start) <= min(high, end):
                yield max(low, start), min(high, end)


def _not_working(
    source: str, target: str, clause: Clause, service: Service, spans: Sequence[Span]
) -> Finding:
    """That a service gets no answer; in a range of ports, each one is meant to work."""
    shown = service.protocol
    if service.ports is not None:
        shown += "/" + ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in spans)
    line = f" (line {clause.rule.line})" if clause.rule is not None and clause.rule.line else ""
    return NOT_WORKING.found(
        f"{source} -> {target} {service}",
        title=f"{shown} gets no answer, and the policy says: {clause.rule}{line}",
        cells=[CellReference(source, target, str(service))],
    )


def _shown(
    case: Case, found: Reach, between: Between, packet: Packet, packets: Set
) -> tuple[Evidence, tuple[RuleReference, ...]]:
    """An example's way, and the rule that lets it pass."""
    sets, world = found.sets, found.world
    assumed = sets.assumptions(packets & sets.singleton(packet))
    world.forget()
    trace = world.trace(packet, between.source.node, assume=assumed)
    world.forget()
    exchange = Exchange(trace, None, "delivered", replied=False, receiver=between.target.node)
    return Evidence(str(packet), tuple(exchange_lines(exchange))), case.letting_pass(trace)


# --- who, and what ------------------------------------------------------------------------------------------


def _parties(case: Case) -> Iterable[Endpoint]:
    return [endpoint for endpoint in case.subject.endpoints if endpoint.shown]


def _asked(case: Case, version: int) -> Reach:
    nodes = dict.fromkeys(e.node for e in _parties(case) if e.address(version) is not None)
    return pairs(case.subject.world, nodes, nodes, version=version)


def _pairs(case: Case, found: Reach, version: int) -> Iterator[Between]:
    """Every two who are not in one namespace: between those who are, nothing filters."""
    known = {(pair.source, pair.receiver): pair for pair in found.pairs}
    parties = [each for each in _parties(case) if each.address(version) is not None]
    for source in parties:
        for target in parties:
            if source.node != target.node:
                yield Between(source, target, known.get((source.node, target.node)))


def _share_a_network(case: Case, between: Between) -> bool:
    """Whether two containers are on one network of the engine; who is none is on no other network."""
    ends = [_networks(case, end) for end in (between.source, between.target)]
    return None in ends or bool(set(ends[0] or ()) & set(ends[1] or ()))


def _networks(case: Case, endpoint: Endpoint) -> tuple[str, ...] | None:
    """The networks of a container; None for who is none."""
    found = (each for each in case.snapshot.containers if each.name == endpoint.node)
    container = next(found, None)
    return None if container is None else tuple(each.network for each in container.attachments)


def _condition(services: Iterable[Service]) -> Condition:
    return AnyOf(tuple(map(_of_service, services)))


def _of_service(service: Service) -> Condition:
    if service.protocol == ANY:
        return ALWAYS
    protocol = equals("protocol", *_PROTOCOLS[service.protocol])
    return protocol if service.ports is None else all_of([protocol, Within("dport", (service.ports,))])


def _services(found: Reach, packets: Set) -> Iterator[tuple[str, Span]]:
    """Protocols that have a name in policies, and ranges of ports, of some packets; `any` for the others."""
    named = [number for numbers in _PROTOCOLS.values() for number in numbers]
    if not found.sets.is_empty(packets & found.sets.satisfying(Not(equals("protocol", *named)))):
        yield ANY, EVERY_PORT
    for protocol, numbers in _PROTOCOLS.items():
        own = packets & found.sets.satisfying(equals("protocol", *numbers))
        if found.sets.is_empty(own):
            continue
        if protocol == "icmp":
            yield protocol, EVERY_PORT
            continue
        for box in found.sets.boxes(own, ("dport",)):
            yield from ((protocol, span) for span in dict(box.fields).get("dport", (EVERY_PORT,)))


def _named(spans: dict[str, list[Span]]) -> list[Service]:
    """The services of a policy for these; `any` where all protocols pass, whole."""
    joined = {protocol: list(_joined(sorted(ranges))) for protocol, ranges in spans.items()}
    whole = {protocol for protocol, ranges in joined.items() if _is_whole(protocol, ranges)}
    if {ANY, *_PROTOCOLS} <= whole:
        return [Service(ANY)]
    return [
        service
        for protocol, ranges in joined.items()
        for service in (
            [Service(protocol)]
            if protocol in whole
            else [Service(protocol, (max(low, 1), high)) for low, high in ranges if high]
        )
        if protocol != ANY
    ]


def _is_whole(protocol: str, ranges: list[Span]) -> bool:
    low, high = ranges[0]
    return protocol in ("icmp", ANY) or len(ranges) > MOST_RANGES or (low <= 1 and high == 65535)


def _joined(ranges: list[Span]) -> Iterator[tuple[int, int]]:
    low, high = ranges[0]
    for start, end in ranges[1:]:
        if start > high + 1:
            yield low, high
            low, high = start, end
        else:
            high = max(high, end)
    yield low, high
