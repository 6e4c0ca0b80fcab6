"""Networks whose containers should not reach each other (icc=false), and do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from netverify.audit.case import Case, arrives
from netverify.audit.causes import rules_of, some
from netverify.audit.finding import Finding, Severity
from netverify.audit.forwarding import Forwarding, text_of
from netverify.audit.kind import FORWARDING as PARTS
from netverify.audit.kind import Check, Kind
from netverify.audit.parties import CONNECTION, addressed, asked, named, written_again
from netverify.audit.shell import iptables
from netverify.dataplane.condition import All
from netverify.dataplane.diagrams import Set
from netverify.docker.writer import DOCKER
from netverify.host.containers import HostNetwork
from netverify.model.questions import Answer
from netverify.reachability.probe import tcp

ICC = Kind(
    "icc-not-enforced",
    "containers of a network with icc=false reach each other",
    Severity.HIGH,
    "Docker keeps the containers of such a network apart by a rule of FORWARD. Packets that stay on one "
    "bridge come to FORWARD only where br_netfilter shows them to iptables, and there it must come first.",
    PARTS,
)
_OPTION = "com.docker.network.bridge.enable_icc"
# What `docker run --link` allows, on purpose: source, destination, and the bridge twice.
_LINK = re.compile(r"-s \S+ -d \S+ -i (\S+) -o \1 .*-j ACCEPT")


def reached(case: Case, kind: Kind) -> Iterator[Finding]:
    """From container to container of each such network, in each IP version that it has."""
    for bridge, network in case.bridges.items():
        if network.option(_OPTION) not in ("false", "0"):
            continue
        for version in (4, 6):
            if not any(subnet.version == version for subnet in network.subnets):
                continue
            if version == 6 and not network.ipv6:
                continue
            if case.host.bridge_calls_filter(version):
                yield from _let_pass(case, kind, network, bridge, version)
            else:
                yield _unseen(case, kind, network, bridge, version)


def _unseen(case: Case, kind: Kind, network: HostNetwork, bridge: str, version: int) -> Finding:
    """Iptables does not see what stays on the bridge."""
    name = f"net.bridge.bridge-nf-call-{'iptables' if version == 4 else 'ip6tables'}"
    answer = _one(case, bridge, version)
    words = f"containers of {network.name} reach each other although icc=false: {name} is off"
    return _told(
        case, kind, network, version, answer, words, ("modprobe br_netfilter", f"sysctl -w {name}=1")
    )


def _let_pass(case: Case, kind: Kind, network: HostNetwork, bridge: str, version: int) -> Iterator[Finding]:
    """Some rule, or the policy, lets packets pass from the bridge to itself."""
    forwarding = case.forwarding(version)
    sets = forwarding.sets
    own = case.containers(bridge, version)
    packets = forwarding.passing & forwarding.within([bridge])
    packets = packets & sets.satisfying(All((addressed("source", own), addressed("destination", own))))
    packets = sets.without(packets, _links(forwarding, bridge))
    for one in own:
        apart = sets.satisfying(All((addressed("source", [one]), addressed("destination", [one]))))
        packets = sets.without(packets, apart)
    left = case.leaves(version, packets)
    known = case.knows_engine and not left
    packet = forwarding.example(packets & forwarding.opened if known else packets, CONNECTION)
    if packet is None:
        return
    answer = asked(case, packet, bridge, version)
    if answer is not None and arrives(answer):
        words = f"containers of {network.name} reach each other although icc=false{left}"
        at_once = iptables(version, "-I", "FORWARD", "-i", bridge, "-o", bridge, "-j", "DROP")
        remedy = (
            written_again(case, version),
            f"# or at once: {at_once}",
        )
        yield _told(case, kind, network, version, answer, words, remedy)


def _links(forwarding: Forwarding, bridge: str) -> Set:
    rules = [
        rule
        for rule in rules_of(forwarding.actual.main, "filter", DOCKER)
        if (found := _LINK.fullmatch(text_of(rule))) and found[1] == bridge
    ]
    return forwarding.sets.satisfying(some(rules))


def _told(
    case: Case,
    kind: Kind,
    network: HostNetwork,
    version: int,
    answer: Answer | None,
    words: str,
    remedy: tuple[str, ...],
) -> Finding:
    shown = answer if answer is not None and arrives(answer) else None
    return kind.found(
        f"{network.name} over IPv{version}",
        title=words + ("" if version == 4 else " (IPv6)"),
        severity=kind.severity if shown is not None else Severity.MEDIUM,
        cells=() if shown is None else [case.cell(shown, named(shown))],
        rules=() if shown is None else case.deciding(shown),
        evidence=None if shown is None else case.evidence(shown),
        remedy=remedy,
    )


def _one(case: Case, bridge: str, version: int) -> Answer | None:
    """A connection from one container to another; None where there are no two."""
    own = case.containers(bridge, version)
    if len(own) < 2:
        return None
    return case.ask(own[0].name, own[1].address, tcp(80, version=version))


CHECKS = (Check(ICC, reached),)
