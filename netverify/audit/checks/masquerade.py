"""Translation of what containers send outward: missing where it is meant to be, or written twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from netverify.audit.case import Case, arrives
from netverify.audit.finding import Finding, Severity
from netverify.audit.kind import FORWARDING, Check, Kind
from netverify.dataplane.packet import Address
from netverify.host.containers import HostNetwork
from netverify.reachability.probe import Probe
from netverify.ruleset import RulePlace

MISSING = Kind(
    "masquerade-missing",
    "what containers of a network send outward keeps their own address",
    Severity.MEDIUM,
    "Nobody outside has a route back to the containers' addresses, so that connections hang; and who does "
    "have one learns the addresses inside.",
    FORWARDING,
)
DOUBLED = Kind(
    "masquerade-doubled",
    "what containers send outward is translated by two rules that say the same",
    Severity.LOW,
    "Only the first one ever counts; the other was left by an engine that is gone, or by another backend, "
    "and stays when the network is removed.",
    ("iptables-save.txt", "iptables-legacy-save.txt", "ip6tables-save.txt", "ip6tables-legacy-save.txt"),
)

PORT = 9  # discard: any port does


def missing(case: Case, kind: Kind) -> Iterator[Finding]:
    """From a container of each network that is to be translated, to everybody outside."""
    for network in case.bridges.values():
        members = case.members(network)
        if network.internal or not members:
            continue
        for version in (4, 6):
            own = case.address(members[0], network.name, version)
            if own is None or not _is_translated(case, network, version):
                continue
            for outside in case.outside:
                target = outside.address(version)
                if target is None:
                    continue
                yield from _kept(case, kind, network, own, target, outside.name)


def _kept(
    case: Case, kind: Kind, network: HostNetwork, own: Address, target: Address, outside: str
) -> Iterator[Finding]:
    sender = case.members(network)[0].name
    answer = case.ask(sender, target, Probe("tcp", PORT, own.version), source_address=own)
    found = answer.exchange
    if not arrives(answer) or found is None or found.request.final.source_address != own:
        return
    program = "iptables" if own.version == 4 else "ip6tables"
    subnet = next((net for net in network.subnets if net.version == own.version), None)
    yield kind.found(
        f"{network.name} to {outside} over IPv{own.version}",
        cells=[case.cell(answer, outside)],
        evidence=case.evidence(answer),
        remedy=(f"{program} -t nat -A POSTROUTING -s {subnet} ! -o {network.bridge} -j MASQUERADE",),
    )


def _is_translated(case: Case, network: HostNetwork, version: int) -> bool:
    """Whether the engine is to translate: it is asked not to by an option, or by a gateway mode.

    Where Docker writes no rules for IPv6 at all (ip6tables is off) that is what is wrong, and is said by
    another check; and public addresses are routed, and need no translation.
    """
    if version == 6 and not case.recognitions[6].candidates:
        return False
    if network.option("com.docker.network.bridge.enable_ip_masquerade", "true").lower() not in ("true", "1"):
        return False
    if network.option(f"com.docker.network.bridge.gateway_mode_ipv{version}") in ("routed", "isolated"):
        return False
    private = [net for net in network.subnets if net.version == version and net.is_private]
    return bool(private)


def doubled(case: Case, kind: Kind) -> Iterator[Finding]:
    """The same rule twice in POSTROUTING, in one backend or in both."""
    for version in (4, 6):
        rules = [
            (backend, RulePlace("nat", "POSTROUTING", number), str(rule))
            for backend, ruleset in case.rulesets(version)
            for table in ruleset.tables
            if table.name == "nat"
            for chain in table.chains
            if chain.name == "POSTROUTING"
            for number, rule in enumerate(chain.rules, 1)
            if rule.target is not None and rule.target.name in ("MASQUERADE", "SNAT")
        ]
        counts = Counter(text for _, _, text in rules)
        for text, times in counts.items():
            if times > 1:
                own = [(backend, place) for backend, place, each in rules if each == text]
                program = "iptables" if version == 4 else "ip6tables"
                yield kind.found(
                    f"IPv{version}: {text}",
                    rules=[case.reference(place, version, text, backend) for backend, place in own],
                    remedy=(f"{program} -t nat -D {text.removeprefix('-A ')}",),
                )


CHECKS = (Check(MISSING, missing), Check(DOUBLED, doubled))
