"""What listens on the host and is reached by containers, which Docker never stops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netverify.audit.case import Case, Voice, arrives
from netverify.audit.finding import CellReference, Finding, Severity
from netverify.audit.kind import FORWARDING as PARTS
from netverify.audit.kind import Check, Kind
from netverify.audit.parties import addressed
from netverify.dataplane.condition import All, Named, equals
from netverify.dataplane.packet import PROTOCOL_NUMBERS, Address
from netverify.host.plain import Listener
from netverify.model.questions import Answer
from netverify.reachability.probe import Probe
from netverify.reachability.text import printable

SERVICE = Kind(
    "host-service-reachable",
    "containers reach a service of the host",
    Severity.INFO,
    "Docker does not filter what containers send to the host: whatever listens on one of its addresses, "
    "other networks' gateways among them, is open to every container. Services that only the host itself "
    "needs belong on 127.0.0.1.",
    (*PARTS, "listen.txt"),
)
_API = {2375: "without any password", 2376: "to whoever has a certificate"}
"""Docker's API over TCP (docs.docker.com, Protect the Docker daemon socket): it makes its user root."""
_MOST, _TRIED = 12, 4


@dataclass(frozen=True)
class Service:
    """Sockets of one program on one port, over both IP versions."""

    protocol: str
    port: int
    program: str

    @property
    def name(self) -> str:
        """As `ss` would be asked for it."""
        by = f" ({printable(self.program)})" if self.program else ""
        return f"{self.protocol}/{self.port}{by}"


def reached(case: Case, kind: Kind) -> Iterator[Finding]:
    """One finding for each service, with the networks whose containers reach it."""
    for service, sockets in _services(case).items():
        open_to = list(_open_to(case, service, sockets))
        answer = next(filter(None, (_asked(case, service, *each) for each in open_to[:_TRIED])), None)
        if answer is None:
            continue
        names = list(dict.fromkeys(case.bridges[bridge].name for bridge, _, _ in open_to))
        cells = [
            CellReference(voice.name, case.subject.host, str(_probe(service, target)))
            for _, voice, target in open_to[:_MOST]
        ]
        severity, what = kind.severity, f"{service.name} of the host"
        if service.protocol == "tcp" and service.port in _API and service.program.startswith("dockerd"):
            severity = Severity.CRITICAL if service.port == 2375 else Severity.LOW
            what = f"Docker's API of the host, {_API[service.port]}"
        yield kind.found(
            service.name,
            title=f"containers of {_counted(names)} reach {what}",
            severity=severity,
            cells=cells,
            rules=case.deciding(answer),
            evidence=case.evidence(answer),
            remedy=_remedy(service),
        )


def _open_to(case: Case, service: Service, sockets: list[Listener]) -> Iterator[tuple[str, Voice, Address]]:
    """The networks of which some packet to the service is accepted, with a container and the address."""
    for bridge in case.bridges:
        for version in (4, 6):
            own, target = case.containers(bridge, version), _target(case, bridge, sockets, version)
            if not own or target is None:
                continue
            forwarding = case.forwarding(version)
            asked = (
                Named("in_interface", bridge),
                addressed("source", own[:1]),
                equals("destination", int(target)),
                equals("protocol", PROTOCOL_NUMBERS[service.protocol]),
                equals("dport", service.port),
                equals("fragment", 0),
            )
            if (forwarding.delivered & forwarding.sets.satisfying(All(asked))).satisfiable():
                yield bridge, own[0], target
                break


def _asked(case: Case, service: Service, _bridge: str, voice: Voice, target: Address) -> Answer | None:
    """A packet of a container to the service, if it gets there."""
    answer = case.ask(voice.name, target, _probe(service, target))
    there = answer.exchange is not None and answer.exchange.receiver == case.subject.host
    return answer if there and arrives(answer) else None


def _probe(service: Service, target: Address) -> Probe:
    return Probe(service.protocol, service.port, target.version)


def _services(case: Case) -> dict[Service, list[Listener]]:
    """What listens beyond the loopback, but for published ports: those are another matter."""
    published = {(p.protocol, p.host_port) for c in case.snapshot.containers for p in c.publications}
    found: dict[Service, list[Listener]] = {}
    for each in case.snapshot.listeners:
        loopback = each.address is not None and each.address.is_loopback
        held = each.program.startswith("docker-proxy") or (
            (each.protocol, each.port) in published and each.program in ("", "dockerd")
        )
        if not loopback and not held and each.protocol in ("tcp", "udp") and each.port:
            found.setdefault(Service(each.protocol, each.port, each.program), []).append(each)
    return found


def _target(case: Case, bridge: str, sockets: list[Listener], version: int) -> Address | None:
    """The address of the host that a container would try: what is listened on, or its network's gateway."""
    for socket in sockets:
        if socket.version not in (None, version) or (socket.address and socket.address.version != version):
            continue
        if socket.address is not None:
            return None if socket.address.is_link_local else socket.address
        own = (each.ip for each in case.host.link(bridge).addresses if each.version == version)
        gateway = next((address for address in own if not address.is_link_local), None)
        if gateway is not None:
            return gateway
    return None


def _counted(names: list[str]) -> str:
    return " and ".join(names) if len(names) < 4 else f"{len(names)} networks"


def _remedy(service: Service) -> tuple[str, ...]:
    match = f"-p {service.protocol} --dport {service.port}"
    return (
        f"# bind {service.name} to 127.0.0.1, or to the address that others need",
        f"iptables -I INPUT -i br-+ {match} -j DROP  # and the same for docker0; likewise with ip6tables",
    )


CHECKS = (Check(SERVICE, reached),)
