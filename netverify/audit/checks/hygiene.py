"""What does not belong together, or to nobody any more: mixed generations, stale rules, two backends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from netverify.audit.case import Case
from netverify.audit.finding import Finding, RuleReference, Severity
from netverify.audit.intended import standing
from netverify.audit.kind import ENGINE, IPTABLES, Check, Kind
from netverify.audit.shell import iptables, words_of
from netverify.dataplane.packet import Address
from netverify.docker.errors import DockerError
from netverify.docker.writer import DOCKER, INGRESS
from netverify.host.snapshot import LEGACY, NFT
from netverify.ruleset import Rule, RulePlace, Ruleset

MIXED = Kind(
    "mixed-generations",
    "rules of different generations of Docker stand side by side",
    Severity.MEDIUM,
    "An engine that is upgraded, or rules that are restored from before an upgrade, leave rules that the "
    "present engine neither writes nor removes. Where they come first they decide: an old `-i docker0 ! -o "
    "docker0 -j ACCEPT` lets pass what the new rules after it would stop.",
    (*IPTABLES, "docker-info.json"),
)
STALE = Kind(
    "stale-rules",
    "rules of Docker name a bridge or a container that is gone",
    Severity.LOW,
    "The next network or container that gets the name or the address gets the rules as well: ports that are "
    "open to it, or drops that nobody understands.",
    (*IPTABLES, *ENGINE, "addr.json"),
)
BACKENDS = Kind(
    "rules-in-both-backends",
    "both backends of iptables hold rules",
    Severity.MEDIUM,
    "A packet has to pass both, and each program shows only its own: `iptables -L` of one says nothing of "
    "what the other drops or translates.",
    IPTABLES,
)
OTHER_BACKEND = Kind(
    "docker-rules-in-other-backend",
    "Docker's rules are in the legacy backend, and the host's iptables writes to nftables",
    Severity.MEDIUM,
    "What an administrator adds with `iptables`, to DOCKER-USER for instance, goes to another place than "
    "Docker's own rules, and `iptables -L` shows none of them.",
    IPTABLES,
)
LOST = Kind(
    "legacy-iptables-unavailable",
    "the host's iptables is the legacy one, which the kernel does not have",
    Severity.HIGH,
    "The program finds no tables to read or write: neither Docker nor anybody else can set rules with it. "
    "The host runs without those that they believe to be there.",
)
_BRIDGE = re.compile(r"docker0|docker_gwbridge|br-[0-9a-f]{12}")
_DEVICES = ("in-interface", "out-interface")
_TRANSLATED = re.compile(r"--to-destination \[?([0-9a-f.:]+?)\]?:\d+(?:-\d+)?$")
# What iptables-save prints where the kernel has no table (libiptc/libiptc.c, iptc_strerror).
_NO_TABLE = re.compile(r"[Tt]able does not exist|[Cc]an't initialize iptables|insmod|Cannot initialize")
_SHOWN = 12


def mixed(case: Case, kind: Kind) -> Iterator[Finding]:
    """Rules of an older generation besides the present one's, or of another than the engine's own."""
    for version, found in case.recognitions.items():
        present = found.candidates[-1] if found.candidates else None
        if present is None:
            continue
        holder = f"IPv{version}"
        if found.stale:
            old = ", ".join(dict.fromkeys(str(each.by) for each in found.stale))
            yield kind.found(
                holder,
                title=f"{len(found.stale)} rules for {holder} are of Docker {old}, others of {present}",
                rules=[
                    case.reference(each.place, version, f"-A {each.place.chain} {each.rule}")
                    for each in found.stale[:_SHOWN]
                ],
                remedy=tuple(_deletion(version, each.place, each.rule) for each in found.stale[:_SHOWN]),
            )
        written = _generation(case)
        if written is not None and written not in found.candidates:
            yield kind.found(
                f"{holder} and the engine",
                title=f"the rules for {holder} are of Docker {present}, and Docker {case.engine} runs",
                remedy=("systemctl restart docker  # writes the rules of the version that runs",),
            )


def _generation(case: Case) -> object:
    """What the engine writes that runs; None where nobody knows."""
    try:
        return case.intended.host.generation
    except DockerError:
        return None


def _deletion(version: int, place: RulePlace, rule: str) -> str:
    return iptables(version, "-D", place.chain, *words_of(rule), table=place.table)


# --- what is gone ---------------------------------------------------------------------------------------


def stale(case: Case, kind: Kind) -> Iterator[Finding]:
    """Rules that Docker wrote for a bridge, or for a container's address, that are no longer there."""
    for version in (4, 6):
        rules = standing(case.host, version).rules
        addresses = {
            each.ip
            for container in case.snapshot.containers
            for attachment in container.attachments
            for each in attachment.addresses
        }
        found: dict[str, list[tuple[RulePlace, Rule]]] = {}
        for place, rule in rules.rules():
            gone = _gone(case, place, rule, addresses)
            if gone:
                found.setdefault(gone, []).append((place, rule))
        for what, own in found.items():
            targets = {rule.target.name for _, rule in own if rule.target is not None}
            yield kind.found(
                f"IPv{version} {what}",
                title=f"{len(own)} rules name {what}, which is gone",
                severity=kind.severity if targets & {"ACCEPT", "DNAT"} else Severity.INFO,
                rules=[case.reference(place, version, str(rule)) for place, rule in own[:_SHOWN]],
                remedy=tuple(
                    _deletion(version, place, str(rule).removeprefix(f"-A {place.chain} "))
                    for place, rule in own[:_SHOWN]
                ),
            )


def _gone(case: Case, place: RulePlace, rule: Rule, addresses: set[Address]) -> str:
    """What a rule names that is not there; "" where all of it is, or the rule is not Docker's."""
    own = place.chain.startswith(DOCKER) and place.chain not in (INGRESS, "DOCKER-USER")
    for match in rule.matches:
        is_ours = match.name in _DEVICES and (own or _BRIDGE.fullmatch(match.value))
        if is_ours and not case.host.has_link(match.value):
            return f"bridge {match.value}"
    address = _address(rule) if own or place.table == "raw" else None
    if address is None or address in addresses or address.is_loopback:
        return ""
    networks = [each for each in case.bridges.values() if any(address in s for s in each.subnets)]
    if networks and address not in case.host.local_addresses:
        return f"container {address} of network {networks[0].name}"
    return ""


def _address(rule: Rule) -> Address | None:
    """The one address of a container that a rule is about: what it asks for, or translates to."""
    found = _TRANSLATED.search(str(rule))
    if found is not None:
        return ip_address(found[1])
    match = rule.match("destination")
    if match is None or match.negated:
        return None
    text, _, length = match.value.partition("/")
    address = ip_address(text)
    return address if length in ("", str(address.max_prefixlen)) else None


# --- backends -------------------------------------------------------------------------------------------


def both_backends(case: Case, kind: Kind) -> Iterator[Finding]:
    """Rules in nftables' iptables and in the legacy one, for one IP version."""
    for version, by_backend in _by_version(case).items():
        if all(_says_something(by_backend.get(backend)) for backend in (NFT, LEGACY)):
            counts = {name: sum(1 for _ in rules.rules()) for name, rules in by_backend.items()}
            dockers = [name for name, rules in by_backend.items() if _is_dockers(rules)]
            yield kind.found(
                f"IPv{version}",
                title=f"IPv{version}: {counts[NFT]} rules by iptables-nft, and {counts[LEGACY]} legacy ones",
                severity=Severity.HIGH if len(dockers) == 2 else kind.severity,
                rules=list(_first_rules(case, version, by_backend)),
                remedy=_flush(version, dockers),
            )


def other_backend(case: Case, kind: Kind) -> Iterator[Finding]:
    """Docker's chains in the legacy backend alone, while `iptables` is the other program."""
    for version, by_backend in _by_version(case).items():
        theirs = {backend for backend, rules in by_backend.items() if _is_dockers(rules)}
        if NFT in by_backend and theirs == {LEGACY}:
            yield kind.found(
                f"IPv{version}",
                remedy=(
                    "update-alternatives --set iptables /usr/sbin/iptables-nft",
                    "systemctl restart docker  # and remove the old rules, or restart the host",
                ),
            )


def unavailable(case: Case, kind: Kind) -> Iterator[Finding]:
    """The program for the rules of a family failed because the kernel has none of its tables."""
    for part in ("iptables-save.txt", "ip6tables-save.txt"):
        reason = case.snapshot.missing.get(part, "")
        if _NO_TABLE.search(reason):
            kernel = f" on kernel {case.snapshot.kernel}" if case.snapshot.kernel else ""
            yield kind.found(
                part.removesuffix("-save.txt"),
                title=f"{part.removesuffix('.txt')} finds no tables{kernel}: {reason}",
                remedy=(
                    "update-alternatives --set iptables /usr/sbin/iptables-nft",
                    "update-alternatives --set ip6tables /usr/sbin/ip6tables-nft",
                    "systemctl restart docker",
                ),
            )


def _by_version(case: Case) -> Mapping[int, Mapping[str, Ruleset]]:
    return {version: dict(case.rulesets(version)) for version in (4, 6)}


def _says_something(rules: Ruleset | None) -> bool:
    chains = [chain for table in rules.tables for chain in table.chains] if rules is not None else []
    return any(chain.rules or chain.policy == "DROP" for chain in chains)


def _is_dockers(rules: Ruleset) -> bool:
    return any(chain.name.startswith(DOCKER) for table in rules.tables for chain in table.chains)


def _first_rules(case: Case, version: int, by_backend: Mapping[str, Ruleset]) -> Iterator[RuleReference]:
    for backend, rules in by_backend.items():
        for place, rule in list(rules.rules())[:2]:
            yield case.reference(place, version, str(rule), backend)


def _flush(version: int, dockers: list[str]) -> tuple[str, ...]:
    program = "iptables" if version == 4 else "ip6tables"
    other = "legacy" if dockers != [LEGACY] else "nft"
    return (
        f"{program}-{other}-save > {program}-{other}.rules  # keep what is needed for the other backend",
        f"for t in raw mangle nat filter; do {program}-{other} -t $t -F; {program}-{other} -t $t -X; done",
    )


CHECKS = (
    Check(MIXED, mixed),
    Check(STALE, stale),
    Check(BACKENDS, both_backends),
    Check(OTHER_BACKEND, other_backend),
    Check(LOST, unavailable),
)
