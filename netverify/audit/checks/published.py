"""Published ports: open although the host's own firewall seems to close them, and open to more than asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from netverify.audit.case import Case, arrives
from netverify.audit.finding import Finding, Severity
from netverify.audit.kind import FORWARDING, Check, Kind
from netverify.dataplane.packet import Address
from netverify.dataplane.view import HostView
from netverify.docker.nft import TABLE
from netverify.host.containers import HostContainer, Publication
from netverify.model.questions import Answer
from netverify.model.subject import Endpoint, Subject
from netverify.reachability.probe import Probe
from netverify.ruleset import NftRuleset, Ruleset

BEYOND_FIREWALL = Kind(
    "published-beyond-firewall",
    "a published port is open although the host's own firewall closes it",
    Severity.HIGH,
    "Docker leads packets for a published port to the container before the rules of INPUT see them, where "
    "ufw, firewalld and most administrators filter. Who closed the port there believes it closed.",
    FORWARDING,
    ("moby#4737",),
)
LOOPBACK_REACHABLE = Kind(
    "loopback-publication-reachable",
    "a port published on 127.0.0.1 is reachable from a neighbour",
    Severity.HIGH,
    "Who is on the same link can send packets for 127.0.0.1, or for the container's own address, to the "
    "host. Before 28.0 Docker did not stop either, although the port was published to the host alone.",
    FORWARDING,
    ("moby#45610",),
)
ADDRESS_REACHABLE = Kind(
    "publication-reachable-directly",
    "a port published on one address of the host is reachable on the container's own",
    Severity.MEDIUM,
    "A neighbour with a route to the containers' network by this host goes around the address that the port "
    "was published on. Before 28.0 Docker did not stop that.",
    FORWARDING,
    ("moby#45610",),
)


def beyond_firewall(case: Case, kind: Kind) -> Iterator[Finding]:
    """Ports on which the host itself would not answer the same people."""
    if not _filters_input(case.host):
        return
    plain = replace(case, subject=_untranslated(case.subject))
    for container, port in _publications(case):
        if port.host_address is not None and port.host_address.is_loopback:
            continue
        for outside in case.outside:
            found = _closed_but_open(case, plain, outside, port)
            if found is None:
                continue
            answer, closing = found
            rules = (*case.deciding(answer), *plain.deciding(closing))
            yield kind.found(
                f"{container.name} {port.protocol}/{port.host_port} from {outside.name}",
                cells=[case.cell(answer, container.name)],
                rules=rules,
                evidence=case.evidence(answer),
                remedy=_deny(outside, port, answer, case),
            )


def _closed_but_open(
    case: Case, plain: Case, outside: Endpoint, port: Publication
) -> tuple[Answer, Answer] | None:
    """The packet that gets to the container, and the same as the host itself would meet it."""
    for address in _host_addresses(case, outside, port):
        probe = Probe(port.protocol, port.host_port, address.version)
        answer = case.ask(outside.name, address, probe)
        if not arrives(answer):
            continue
        closing = plain.ask(outside.name, address, probe)
        if closing.exchange is not None and closing.exchange.request.verdict != "delivered":
            return answer, closing
    return None


def _deny(outside: Endpoint, port: Publication, answer: Answer, case: Case) -> tuple[str, ...]:
    """Rules of DOCKER-USER see packets after translation: the port that was asked for is the original one."""
    stranger = next((each for each in case.subject.strangers if each.name == outside.node), None)
    device = "" if stranger is None else f"-i {stranger.device} "
    program = "iptables" if answer.address.version == 4 else "ip6tables"
    match = f"-p {port.protocol} -m conntrack --ctorigdstport {port.host_port} --ctdir ORIGINAL"
    return (
        f"{program} -I DOCKER-USER {device}{match} -j DROP",
        f"# or publish it on an address that may be asked: -p ADDRESS:{port.host_port}:{port.container_port}",
    )


def loopback_reachable(case: Case, kind: Kind) -> Iterator[Finding]:
    """From each neighbour: to 127.0.0.1 by the host, and to the container's own address."""
    for container, port in _publications(case):
        if port.host_address is None or not port.host_address.is_loopback:
            continue
        for neighbour in case.neighbours:
            for answer in _ways_to_loopback(case, container, port, neighbour):
                if not arrives(answer):
                    continue
                yield kind.found(
                    f"{container.name} {port.protocol}/{port.host_port} at {answer.address} "
                    f"from {neighbour.name}",
                    cells=[case.cell(answer, container.name)],
                    rules=case.deciding(answer),
                    evidence=case.evidence(answer),
                    remedy=_guard(case, answer, port, neighbour),
                )


def _ways_to_loopback(
    case: Case, container: HostContainer, port: Publication, neighbour: Endpoint
) -> Iterator[Answer]:
    asked = port.host_address
    if asked is not None and asked.version == 4 and any(own.version == 4 for own in neighbour.addresses):
        yield case.misleading(neighbour).ask(neighbour.name, asked, Probe(port.protocol, port.host_port))
    yield from _directly(case, container, port, neighbour)


def _guard(case: Case, answer: Answer, port: Publication, neighbour: Endpoint) -> tuple[str, ...]:
    """What Docker writes itself since 28.0 (moby PR 49325)."""
    device = next(each.device for each in case.subject.strangers if each.name == neighbour.node)
    program = "iptables" if answer.address.version == 4 else "ip6tables"
    match = f"-p {port.protocol} -d {answer.address} -i {device}"
    return (
        f"{program} -t raw -I PREROUTING {match} -j DROP",
        "# or upgrade Docker to 28.0.1 or later, which does it itself",
    )


def address_reachable(case: Case, kind: Kind) -> Iterator[Finding]:
    """From each neighbour, to the container's own address."""
    for container, port in _publications(case):
        if port.host_address is None or port.host_address.is_loopback:
            continue
        for neighbour in case.neighbours:
            for answer in _directly(case, container, port, neighbour):
                if arrives(answer):
                    yield kind.found(
                        f"{container.name} {port.protocol}/{port.container_port} at {answer.address} "
                        f"from {neighbour.name}",
                        cells=[case.cell(answer, container.name)],
                        rules=case.deciding(answer),
                        evidence=case.evidence(answer),
                        remedy=_guard(case, answer, port, neighbour),
                    )


def _directly(
    case: Case, container: HostContainer, port: Publication, neighbour: Endpoint
) -> Iterator[Answer]:
    """To the port inside, at each address of the container of the IP version that it is published in."""
    wanted = None if port.host_address is None else port.host_address.version
    for attachment in container.attachments:
        for own in attachment.addresses:
            if own.version == wanted and any(each.version == wanted for each in neighbour.addresses):
                probe = Probe(port.protocol, port.container_port, own.version)
                yield case.ask(neighbour.name, own.ip, probe)


def _publications(case: Case) -> Iterator[tuple[HostContainer, Publication]]:
    """Those over a protocol that can be asked about."""
    for container in case.snapshot.containers:
        for port in container.publications:
            if port.protocol in ("tcp", "udp") and port.host_port:
                yield container, port


def _host_addresses(case: Case, outside: Endpoint, port: Publication) -> Iterator[Address]:
    """The addresses of the host at which somebody would look for a published port: those of his link."""
    if port.host_address is not None:
        if any(own.version == port.host_address.version for own in outside.addresses):
            yield port.host_address
        return
    stranger = next((each for each in case.subject.strangers if each.name == outside.node), None)
    if stranger is None:
        return
    for version in (4, 6):
        own = (a.ip for a in case.host.link(stranger.device).addresses if a.version == version)
        found = next((address for address in own if not address.is_link_local), None)
        if found is not None and any(each.version == version for each in outside.addresses):
            yield found


def _filters_input(view: HostView) -> bool:
    """Whether anything can stop a packet for the host itself: else every port of it is open anyhow."""
    if any(
        chain.hook is not None and chain.hook.hook == "input" for t in view.nft.tables for chain in t.chains
    ):
        return True
    chains = (
        table.chain("INPUT")
        for rules in (view.ipv4, view.ipv6, *view.legacy)
        for table in rules.tables
        if table.name != "nat" and table.has_chain("INPUT")
    )
    return any(chain.rules or chain.policy != "ACCEPT" for chain in chains)


def _untranslated(subject: Subject) -> Subject:
    """The host without any translation and without proxies: who asks for a published port asks the host."""
    views = (_plain(view) if view.name == subject.host else view for view in subject.views)
    return replace(subject, views=tuple(views))


def _plain(view: HostView) -> HostView:
    return replace(
        view,
        services=(),
        ipv4=_without_nat(view.ipv4),
        ipv6=_without_nat(view.ipv6),
        legacy=tuple(map(_without_nat, view.legacy)),
        nft=NftRuleset(tuple(table for table in view.nft.tables if table.name != TABLE)),
    )


def _without_nat(ruleset: Ruleset) -> Ruleset:
    return replace(ruleset, tables=tuple(table for table in ruleset.tables if table.name != "nat"))


CHECKS = (
    Check(BEYOND_FIREWALL, beyond_firewall),
    Check(LOOPBACK_REACHABLE, loopback_reachable),
    Check(ADDRESS_REACHABLE, address_reachable),
)
