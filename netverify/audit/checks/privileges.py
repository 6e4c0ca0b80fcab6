"""Containers to which no rule of a network applies, because of what they were given."""

from __future__ import annotations

from collections.abc import Iterator

from netverify.audit.case import Case
from netverify.audit.finding import Finding, Severity
from netverify.audit.kind import Check, Kind
from netverify.host.containers import HostContainer

_CONTAINERS = ("docker-containers.json", "docker-networks.json")

HOST_NETWORK = Kind(
    "container-on-host-network",
    "a container shares the host's network",
    Severity.LOW,
    "It listens on the host's own addresses and reaches every network of the host: none of the rules that "
    "keep networks apart is about it.",
    _CONTAINERS,
)
PRIVILEGED = Kind(
    "privileged-container",
    "a privileged container is on a network",
    Severity.HIGH,
    "With all capabilities and all devices of the host it can change the host's rules as well as its own "
    "network: isolation does not bind it.",
    _CONTAINERS,
)
NET_ADMIN = Kind(
    "container-administers-network",
    "a container may change its own addresses and routes",
    Severity.MEDIUM,
    "With NET_ADMIN it can take the address of another container of its network, and answer in its place.",
    _CONTAINERS,
)
NET_RAW = Kind(
    "container-forges-packets",
    "a container of an internal network was given the right to forge packets",
    Severity.LOW,
    "With NET_RAW it can send ARP and packets with sources of others of its network. Docker gives it to "
    "every container unless told otherwise; this one was given it by name.",
    _CONTAINERS,
)


def host_network(case: Case, kind: Kind) -> Iterator[Finding]:
    """Containers with the mode host, and those that join one of them."""
    for container in case.snapshot.containers:
        if case.subject.endpoint(container.name).node == case.subject.host:
            yield kind.found(container.name, remedy=("# run it on a network of its own: --network NAME",))


def privileged(case: Case, kind: Kind) -> Iterator[Finding]:
    """Containers with --privileged; on an internal network it is worth most to whoever gets in."""
    for container in case.snapshot.containers:
        if container.privileged:
            yield kind.found(
                container.name,
                title=_on(case, container, kind.title),
                remedy=("# run it without --privileged, with --cap-add and --device for what it needs",),
            )


def net_admin(case: Case, kind: Kind) -> Iterator[Finding]:
    """Containers with NET_ADMIN, or all capabilities, and without --privileged, which says more."""
    for container in case.snapshot.containers:
        if container.capabilities & {"NET_ADMIN", "ALL"} and not container.privileged:
            yield kind.found(
                container.name,
                title=_on(case, container, kind.title),
                severity=Severity.HIGH if _isolated(case, container) else kind.severity,
                remedy=(
                    "# run it without --cap-add NET_ADMIN; --sysctl sets what it may need of its network",
                ),
            )


def net_raw(case: Case, kind: Kind) -> Iterator[Finding]:
    """Containers on internal networks that were given NET_RAW by name."""
    for container in case.snapshot.containers:
        if "NET_RAW" in container.capabilities and _isolated(case, container) and not container.privileged:
            yield kind.found(container.name, remedy=("# run it with --cap-drop NET_RAW",))


def _isolated(case: Case, container: HostContainer) -> bool:
    """Whether it is on a network that is to be cut off."""
    internal = {network.name for network in case.snapshot.networks if network.internal}
    return any(attachment.network in internal for attachment in container.attachments)


def _on(case: Case, container: HostContainer, title: str) -> str:
    return f"{title} (an internal one)" if _isolated(case, container) else title


CHECKS = (
    Check(HOST_NETWORK, host_network),
    Check(PRIVILEGED, privileged),
    Check(NET_ADMIN, net_admin),
    Check(NET_RAW, net_raw),
)
