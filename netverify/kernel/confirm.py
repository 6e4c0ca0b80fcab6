"""What a twin says of findings: the packet of each one's evidence sent for real, in a rebuilt host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface
from itertools import groupby

from netverify.audit.finding import Confirmation, Finding, Sending
from netverify.dataplane.packet import Address
from netverify.kernel.twin_host import Twin, twin_of
from netverify.model.subject import Subject
from netverify.reachability.probe import Cell, Outcome, Probe


@dataclass(frozen=True)
class Confirmed:
    """The findings with what the twin said; `lacking` is what of the host it could not be built with."""

    findings: tuple[Finding, ...]
    lacking: tuple[str, ...] = ()


def confirm(subject: Subject, findings: Sequence[Finding]) -> Confirmed:
    """Ask a twin of the host about every finding that has a packet to show.

    Must be called in a sandbox. Raises KernelError where the kernel refuses what every kernel should have.
    """
    answers: dict[Sending, Confirmation] = {}
    lacking: dict[str, None] = {}
    asked = {f.evidence.sending for f in findings if f.evidence is not None and not f.unknown}
    sendings = sorted((each for each in asked if each is not None), key=_order)
    for senders, group in groupby(sendings, _sender):
        world = _with_sender(subject, *senders)
        if world is None:
            answers |= dict.fromkeys(group, Confirmation.NOT_TWINNED)
            continue
        with twin_of(world) as twin:
            lacking |= dict.fromkeys(map(str, twin.not_twinned))
            for _service, one in groupby(group, _service_of):
                answers |= _asked(twin, list(one))
    return Confirmed(tuple(_with(finding, answers) for finding in findings), tuple(lacking))


def _sender(sending: Sending) -> tuple[str, str, str]:
    """A sender who differs from how the host's surroundings usually are: who, its address, whom it misleads.

    Such a one has a twin of its own. The names are empty where nobody differs.
    """
    misled = ip_address(sending.address).is_loopback
    forged = sending.source_address or ""
    return (sending.source if misled or forged else "", forged, sending.address if misled else "")


def _service_of(sending: Sending) -> tuple[int, str, int]:
    return sending.version, sending.protocol, sending.port or 0


def _order(sending: Sending) -> tuple[object, ...]:
    return *_sender(sending), *_service_of(sending), sending.source, sending.address


def _with_sender(subject: Subject, name: str, forged: str, loopback: str) -> Subject | None:
    """The host with such a sender; None where the twin cannot have it."""
    if not name:
        return subject
    endpoint = subject.endpoint(name)
    if loopback:
        return subject.misleading(endpoint.node)
    address = ip_address(forged)
    if address in endpoint.addresses:
        return subject
    # Who sends in another's name has that address for as long as it does.
    if subject.is_stranger(endpoint.node):
        return subject.with_address(endpoint.node, address)
    return _sending_from(subject, endpoint.node, address)


def _sending_from(subject: Subject, node: str, address: Address) -> Subject | None:
    """The host with a container that has one more address, and sends everything from it."""
    view = next(view for view in subject.views if view.name == node)
    ways = (r.device for r in view.routes if r.destination.prefixlen == 0 and r.device is not None)
    device = next(ways, None)
    if device is None or node == subject.host:
        return None
    links = (
        replace(link, addresses=(*link.addresses, ip_interface(address))) if link.name == device else link
        for link in view.links
    )
    routes = (
        replace(route, source=address)
        if route.destination.version == address.version and route.kind == "unicast"
        else route
        for route in view.routes
    )
    forger = replace(view, links=tuple(links), routes=tuple(routes))
    views = tuple(forger if each.name == node else each for each in subject.views)
    return replace(subject, views=views)


def _asked(twin: Twin, sendings: Sequence[Sending]) -> dict[Sending, Confirmation]:
    """All of one service, in one question."""
    first = sendings[0]
    probe = Probe(first.protocol, first.port, first.version)
    pairs = [(each.source, each.address, ip_address(each.address)) for each in sendings]
    cells = twin.ask(probe, pairs)
    return {each: _judged(each, cell) for each, cell in zip(sendings, cells, strict=True)}


def _judged(sending: Sending, cell: Cell | None) -> Confirmation:
    """A cell that could not be measured confirms nothing, and refutes nothing."""
    if cell is None or cell.outcome is Outcome.ERROR:
        return Confirmation.NOT_TWINNED
    same = (cell.outcome is Outcome.DELIVERED) == sending.arrives
    return Confirmation.CONFIRMED if same else Confirmation.REFUTED


def _with(finding: Finding, answers: dict[Sending, Confirmation]) -> Finding:
    sending = None if finding.evidence is None else finding.evidence.sending
    return finding if sending not in answers else replace(finding, confirmation=answers[sending])


def refuted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of which model and twin say different things: faults of netverify."""
    return tuple(finding for finding in findings if finding.confirmation is Confirmation.REFUTED)
