"""Containers that are reached although nobody published anything, and over IPv6 where IPv4 is closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from netverify.audit.case import Case, arrives
from netverify.audit.finding import Finding, Severity
from netverify.audit.kind import FORWARDING, Check, Kind
from netverify.host.containers import HostContainer, HostNetwork
from netverify.model.questions import Answer
from netverify.model.subject import Endpoint
from netverify.reachability.probe import Probe

UNPUBLISHED_REACHABLE = Kind(
    "unpublished-port-reachable",
    "ports of a container that nobody published are reachable from a neighbour",
    Severity.HIGH,
    "Who is on the host's link, with a route to the containers' network by the host, reaches every port. "
    "Until 28.0 Docker relied on the policy DROP of FORWARD alone, which it sets only where it switched "
    "forwarding on itself.",
    FORWARDING,
    ("moby#14041", "moby#48724"),
)
IPV6_OPEN = Kind(
    "ipv6-open-where-ipv4-closed",
    "a container is reachable over IPv6 where IPv4 is closed",
    Severity.HIGH,
    "The two IP versions have rules of their own. Docker writes none for IPv6 where ip6tables is off, which "
    "is the default before 27.0, and containers have addresses that need no translation.",
    FORWARDING,
)

USUAL_PORT = 9  # discard (RFC 863): what nobody publishes
_OPEN_ON_PURPOSE = ("routed", "nat-unprotected")  # gateway modes of moby 27.0 and 28.0


def unpublished_reachable(case: Case, kind: Kind) -> Iterator[Finding]:
    """From each neighbour to a port of each container that is not published.

    What is open over IPv6 alone is the other check's.
    """
    for network in case.bridges.values():
        for neighbour in case.neighbours:
            for version in (4, 6):
                found = [
                    (container, now[version])
                    for container in case.members(network)
                    for now in (_both(case, container, network, neighbour),)
                    if version in now and not (version == 6 and _is_open_over_ipv6_alone(now))
                ]
                yield from _reached(case, kind, network, neighbour, found, _closing)


def ipv6_open(case: Case, kind: Kind) -> Iterator[Finding]:
    """From everybody outside: the same question in both IP versions."""
    for network in case.bridges.values():
        for outside in case.outside:
            found = [
                (container, now[6])
                for container in case.members(network)
                for now in (_both(case, container, network, outside),)
                if _is_open_over_ipv6_alone(now)
            ]
            yield from _reached(case, kind, network, outside, found, _closing_ipv6)


def _both(case: Case, container: HostContainer, network: HostNetwork, outside: Endpoint) -> dict[int, Answer]:
    """A TCP connection to a port that nobody published, in each IP version that both have.

    A network whose gateway mode opens it on purpose is not asked about.
    """
    key = (container.name, network.name, outside.name)
    if key in case.memory:
        return case.memory[key]
    found = case.memory[key] = {}
    for version in (4, 6):
        address = case.address(container, network.name, version)
        mode = network.option(f"com.docker.network.bridge.gateway_mode_ipv{version}")
        if address is None or outside.address(version) is None or mode in _OPEN_ON_PURPOSE:
            continue
        found[version] = case.ask(outside.name, address, Probe("tcp", _unpublished(container), version))
    return found


def _is_open_over_ipv6_alone(answers: Mapping[int, Answer]) -> bool:
    if set(answers) != {4, 6} or any(answer.lacks for answer in answers.values()):
        return False
    return arrives(answers[6]) and not arrives(answers[4])


def _reached(
    case: Case,
    kind: Kind,
    network: HostNetwork,
    outside: Endpoint,
    asked: list[tuple[HostContainer, Answer]],
    closing: Callable[[Case, Endpoint, HostNetwork, int], tuple[str, ...]],
) -> Iterator[Finding]:
    """One finding for all containers of a network that somebody reaches."""
    found = [(container, answer) for container, answer in asked if arrives(answer)]
    if found:
        version = found[0][1].question.probe.version
        rules = dict.fromkeys(rule for _, answer in found for rule in case.deciding(answer))
        yield kind.found(
            f"{network.name} over IPv{version} from {outside.name}",
            cells=[case.cell(answer, container.name) for container, answer in found],
            rules=rules,
            evidence=case.evidence(found[0][1]),
            remedy=closing(case, outside, network, version),
        )


def _closing(case: Case, outside: Endpoint, network: HostNetwork, version: int) -> tuple[str, ...]:
    device = next(each.device for each in case.subject.strangers if each.name == outside.node)
    program = "iptables" if version == 4 else "ip6tables"
    direct = "-m conntrack --ctstate NEW ! --ctstatus DNAT"
    return (
        f"{program} -I DOCKER-USER -i {device} -o {network.bridge} {direct} -j DROP",
        f"# or, where the host is no router for others: {program} -P FORWARD DROP",
    )


def _closing_ipv6(_case: Case, _outside: Endpoint, network: HostNetwork, _version: int) -> tuple[str, ...]:
    return (
        f"ip6tables -I FORWARD -o {network.bridge} -m conntrack --ctstate NEW ! --ctstatus DNAT -j DROP",
        '# or, from 20.10, in /etc/docker/daemon.json: "ip6tables": true, "experimental": true',
    )


def _unpublished(container: HostContainer) -> int:
    """A TCP port that is not published: one that the image exposes, if there is one, else any."""
    published = {port.container_port for port in container.publications if port.protocol == "tcp"}
    exposed = [number for protocol, number in container.exposed if protocol == "tcp"]
    candidates: Iterator[int] = chain(exposed, (USUAL_PORT,), range(1, 65536))
    return next(number for number in candidates if number not in published)


CHECKS = (Check(UNPUBLISHED_REACHABLE, unpublished_reachable), Check(IPV6_OPEN, ipv6_open))
