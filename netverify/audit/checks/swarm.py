"""A swarm's routing mesh, whose rules come before those that keep networks apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from netverify import docker
from netverify.audit.case import Case
from netverify.audit.causes import rules_of, some
from netverify.audit.finding import Finding, Severity
from netverify.audit.forwarding import Forwarding, text_of
from netverify.audit.kind import FORWARDING as PARTS
from netverify.audit.kind import Check, Kind, knowing
from netverify.audit.parties import Passage, to_containers
from netverify.audit.shell import iptables
from netverify.dataplane.hooks import Filters
from netverify.dataplane.targets import Verdict
from netverify.docker.writer import INGRESS

_ACCEPT = re.compile(r"-p (\w+) .*--dport (\d+)")

BEFORE = Kind(
    "ingress-before-isolation",
    "a port that a swarm publishes is open on every container of this host",
    Severity.MEDIUM,
    "DOCKER-INGRESS accepts forwarded packets to a published port whatever their address and device, and is "
    "asked before the rules that keep networks apart. So a container on one network, and a neighbour of the "
    "host, reach that port of containers that have nothing to do with the service.",
    (*PARTS, "docker-info.json"),
)


def before(case: Case, kind: Kind) -> Iterator[Finding]:
    """What passes to containers by the mesh's rules alone."""
    if case.intended.host.ingress is None:
        return
    forwarding = case.forwarding(4)
    accepting = [
        rule
        for rule in rules_of(forwarding.actual.main, "filter", INGRESS)
        if rule.ending is Verdict.ACCEPT and _ACCEPT.search(text_of(rule))
    ]
    sets, bridges = forwarding.sets, list(case.bridges)
    by_mesh = forwarding.passing & sets.satisfying(some(accepting))
    packets = forwarding.between(by_mesh, case.devices, bridges)
    packets = packets & sets.satisfying(to_containers(case, bridges, 4))
    if sets.is_empty(packets):
        return
    packets = sets.without(packets, forwarding.passed(_without_mesh(case, forwarding), packets))
    passage = Passage.of(case, forwarding, packets)
    if passage.answer is None:
        return
    ports = ["/".join(_ACCEPT.findall(text_of(rule))[0]) for rule in accepting]
    yield kind.found(
        f"filter {INGRESS}",
        title=f"{passage.words(case)} on ports of the swarm: {', '.join(ports)}",
        cells=passage.cells,
        rules=case.deciding(passage.answer),
        evidence=passage.evidence,
        remedy=tuple(
            iptables(4, "-I", "DOCKER-USER", "-i", source, "-o", target, "-j", "DROP")
            for source, target in passage.pairs[:6]
        ),
    )


def _without_mesh(case: Case, forwarding: Forwarding) -> Filters:
    """The engine's rules, were it in no swarm."""
    alone = replace(case.intended.host, ingress=None)
    policy = forwarding.meant.view.ipv4.chain("filter", "FORWARD").policy or "ACCEPT"
    rules = docker.rules(alone)[0].with_policy("filter", "FORWARD", policy)
    return Filters.of(replace(case.intended.view, ipv4=rules), 4)


CHECKS = (Check(BEFORE, knowing(before)),)
