"""Docker's own chains: whether all of them are there, hold what they should, and are asked before others.

What counts are the rules that stop something, and the jumps that lead to them: without one that lets pass, a
service is gone, and its users say so. That an isolating rule is gone is noticed by nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from netverify.audit.case import Case
from netverify.audit.causes import rules_of, some
from netverify.audit.finding import Finding, Severity
from netverify.audit.forwarding import Forwarding, is_empty, text_of
from netverify.audit.kind import FORWARDING as PARTS
from netverify.audit.kind import Check, Kind, knowing
from netverify.audit.parties import Passage, network_name, to_containers
from netverify.audit.shell import iptables, words_of
from netverify.dataplane.diagrams import Set
from netverify.dataplane.program import CompiledRule, Program
from netverify.dataplane.targets import Verdict
from netverify.docker.version import DROPS_BY_CONTAINER, ISOLATION_RELOADED, RAW_RULES_RELOADED
from netverify.docker.writer import DOCKER, PAIRS, STAGE_1, STAGE_2, USER

_NEEDS = (*PARTS, "docker-info.json")
_WHY = (
    "Docker writes its rules when it starts and when networks and containers come; it does not look whether "
    "they stay. Whoever flushes chains, reloads firewalld or restores saved rules takes them away, and "
    "nothing stops working that anybody would notice."
)

MISSING = Kind(
    "isolation-chain-missing", "a chain is missing in which Docker stops packets", Severity.HIGH, _WHY, _NEEDS
)
EMPTIED = Kind(
    "isolation-chain-emptied",
    "a chain lost the rules with which Docker stops packets",
    Severity.HIGH,
    _WHY,
    _NEEDS,
)
UNREACHED = Kind(
    "isolation-chain-unreached",
    "no rule leads to a chain in which Docker stops packets",
    Severity.HIGH,
    _WHY,
    _NEEDS,
)
INCOMPLETE = Kind(
    "isolation-rule-missing",
    "a network lacks rules with which Docker stops packets",
    Severity.HIGH,
    _WHY,
    _NEEDS,
)
DIRECT = Kind(
    "raw-drops-missing",
    "containers are not protected from packets that are sent to their own addresses",
    Severity.MEDIUM,
    "Since 28.0 Docker drops in the raw table what is addressed to a container and comes from elsewhere than "
    "its own network. Without these rules a neighbour, or another network, reaches published ports on the "
    "container's own address, also those published on 127.0.0.1 alone.",
    _NEEDS,
    ("moby#45610",),
)


@dataclass(frozen=True)
class Lost:
    """Rules of one chain that are meant and not there; `whole` if the chain has none left that stops."""

    table: str
    chain: str
    rules: tuple[CompiledRule, ...]
    is_there: bool
    whole: bool

    @property
    def leading(self) -> tuple[CompiledRule, ...]:
        """Those that lead to a chain, whatever the packet."""
        return tuple(rule for rule in self.rules if rule.callee is not None and not rule.tests)

    @property
    def is_raw(self) -> bool:
        """Whether it is about containers' own addresses."""
        return self.table == "raw"


def lost(forwarding: Forwarding) -> list[Lost]:
    """What is missing, by chains."""
    program = forwarding.meant.main
    found = []
    for (table, chain), compiled in program.chains.items():
        stopping = [rule for rule in compiled.rules if _stops(program, table, rule)]
        gone = [rule for rule in stopping if not forwarding.stands(rule)]
        if gone:
            there = forwarding.chain(table, chain)
            open_ones = [rule for rule in stopping if not _is_internal(rule)]
            whole = there is not None and (
                is_empty(there) or (len(open_ones) > 1 and set(map(id, gone)) == set(map(id, open_ones)))
            )
            found.append(Lost(table, chain, tuple(gone), there is not None, whole))
    return found


def _stops(program: Program, table: str, rule: CompiledRule) -> bool:
    """Whether a rule drops something, leads to where something is dropped, or to the user's own chain."""
    if rule.callee is None:
        return rule.ending is Verdict.DROP
    if rule.callee == USER:
        return True
    return any(_stops(program, table, each) for each in rules_of(program, table, rule.callee))


def _is_internal(rule: CompiledRule) -> bool:
    """Whether a rule keeps an internal network apart: those are written anew on their own."""
    return any(f"! -{end} " in text_of(rule) for end in "sd")


# --- findings -------------------------------------------------------------------------------------------


def missing(case: Case, kind: Kind) -> Iterator[Finding]:
    """Chains that are not there. Where Docker has no chain at all, it is said once."""
    for forwarding in filtered(case):
        gone = [each for each in lost(forwarding) if not each.is_there and not each.is_raw]
        own = [chain for table, chain in forwarding.actual.main.chains if table == "filter"]
        if gone and not any(name.startswith(DOCKER) for name in own):
            words = "none of Docker's chains is there: iptables is switched off, or they were removed"
            yield _told(case, kind, forwarding, gone, "filter", words)
            continue
        for each in gone:
            yield _told(case, kind, forwarding, [each], f"{each.table} {each.chain}")


def emptied(case: Case, kind: Kind) -> Iterator[Finding]:
    """Chains that stop nothing any more. A flushed table is said once."""
    for forwarding in filtered(case):
        gone = [each for each in lost(forwarding) if each.whole and not each.is_raw]
        filled = [chain for chain in forwarding.actual.main.chains.values() if chain.rules]
        if gone and not any(chain.table == "filter" for chain in filled):
            words = "every chain of the filter table is empty, as after `iptables -F`"
            yield _told(case, kind, forwarding, gone, "filter", words)
            continue
        for each in gone:
            yield _told(
                case,
                kind,
                forwarding,
                [each],
                f"{each.table} {each.chain}",
                f"{each.chain} lost the rules with which Docker stops packets{_as_after(case, each)}",
                _holes(case, each),
            )


def unreached(case: Case, kind: Kind) -> Iterator[Finding]:
    """Chains that are there, and that nobody is sent to any more."""
    for forwarding in filtered(case):
        for each in lost(forwarding):
            for rule in each.leading if each.is_there and not each.whole else ():
                if forwarding.chain(each.table, rule.callee or "") is None:
                    continue
                subject = f"{each.table} {rule.callee} from {each.chain}"
                words = f"no rule of {each.chain} leads to {rule.callee}"
                one = replace(each, rules=(rule,))
                yield _told(case, kind, forwarding, [one], subject, words)


def incomplete(case: Case, kind: Kind) -> Iterator[Finding]:
    """Networks of which single rules are gone, while others have theirs."""
    for forwarding in filtered(case):
        by_network: dict[str, list[Lost]] = {}
        for each in lost(forwarding):
            if not each.is_there or each.whole or each.is_raw:
                continue
            for bridge, rules in _by_bridge(case, set(each.rules) - set(each.leading)).items():
                by_network.setdefault(bridge, []).append(replace(each, rules=rules))
        for bridge, gone in by_network.items():
            name = network_name(case, bridge)
            texts = [f"{each.table} {each.chain}: {text_of(rule)}" for each in gone for rule in each.rules]
            words = f"network {name} lacks {counted(texts)}"
            yield _told(case, kind, forwarding, gone, f"network {name}", words)


def direct(case: Case, kind: Kind) -> Iterator[Finding]:
    """Drops by container, or by published port, that are not in the raw table."""
    for forwarding in filtered(case):
        for each in lost(forwarding):
            if not each.is_raw:
                continue
            host = case.intended.host
            all_gone = not each.is_there or each.whole
            words = f"the raw table lacks {counted([text_of(rule) for rule in each.rules])}"
            if all_gone and host.generation is DROPS_BY_CONTAINER and not host.engine.has(RAW_RULES_RELOADED):
                words += ", as after a reload of firewalld"
            elif all_gone:
                words += ", as with --allow-direct-routing or DOCKER_INSECURE_NO_IPTABLES_RAW=1"
            bridges = list(_by_bridge(case, each.rules))
            subject = "raw PREROUTING"
            if not all_gone and len(bridges) == 1:
                subject = f"network {network_name(case, bridges[0])}"
            yield _told(case, kind, forwarding, [each], subject, words, _holes(case, each))


def _holes(case: Case, each: Lost) -> tuple[str, ...]:
    """Published faults that leave a chain like this."""
    engine = case.intended.host.engine
    if each.is_raw:
        lost_by_reload = case.intended.host.generation is DROPS_BY_CONTAINER
        return ("CVE-2025-54388",) if lost_by_reload and not engine.has(RAW_RULES_RELOADED) else ()
    isolating = each.chain in (STAGE_1, STAGE_2, PAIRS)
    return ("CVE-2025-54410",) if isolating and not engine.has(ISOLATION_RELOADED) else ()


def _as_after(case: Case, each: Lost) -> str:
    return ", as after a reload of firewalld" if _holes(case, each) else ", as after `iptables -F`"


def counted(texts: Sequence[str]) -> str:
    """One rule, or how many there are and the first of them."""
    return texts[0] if len(texts) == 1 else f"{len(texts)} rules, such as {texts[0]}"


def _by_bridge(case: Case, rules: Iterable[CompiledRule]) -> Mapping[str, tuple[CompiledRule, ...]]:
    """Rules by the bridge that they name; those that name none are not about one network."""
    found: dict[str, list[CompiledRule]] = {}
    for rule in rules:
        words = text_of(rule).split()
        named = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("-i", "-o")]
        for bridge in dict.fromkeys(name for name in named if name in case.bridges):
            found.setdefault(bridge, []).append(rule)
            break
    return {bridge: tuple(sorted(own, key=text_of)) for bridge, own in found.items()}


def filtered(case: Case) -> Iterator[Forwarding]:
    """The IP versions for which the engine writes rules of iptables, and has networks."""
    for version in (4, 6):
        has_networks = version == 4 or any(network.ipv6 for network in case.bridges.values())
        if has_networks and case.intended.rules(version).tables:
            yield case.forwarding(version)


def _told(
    case: Case,
    kind: Kind,
    forwarding: Forwarding,
    gone: Sequence[Lost],
    subject: str,
    words: str = "",
    references: tuple[str, ...] = (),
) -> Finding:
    """A finding, with a packet that passes because of it; less bad where none does."""
    conditions = some([rule for each in gone for rule in each.rules])
    concerned = forwarding.opened & forwarding.sets.satisfying(conditions)
    passage = passage_of(case, forwarding, concerned)
    version = forwarding.version
    over = "" if version == 4 else " (IPv6)"
    return kind.found(
        f"IPv{version} {subject}",
        title=(words or kind.title) + over,
        severity=kind.severity if passage.evidence is not None else min(kind.severity, Severity.MEDIUM),
        cells=passage.cells,
        rules=case.deciding(passage.answer) if passage.answer is not None else (),
        evidence=passage.evidence,
        remedy=_remedy(gone, version),
        references=references,
    )


def _remedy(gone: Sequence[Lost], version: int) -> tuple[str, ...]:
    again = "systemctl restart docker  # writes its rules again"
    single = [(each, rule) for each in gone for rule in each.rules]
    if len(single) > 1 or not all(each.is_there for each in gone):
        return (again,)
    ((each, rule),) = single
    at_once = iptables(version, "-I", each.chain, *words_of(text_of(rule)), table=each.table)
    return (again, f"# or at once: {at_once}")


def passage_of(case: Case, forwarding: Forwarding, packets: Set) -> Passage:
    """Some of the packets, from anywhere to a container of the engine's."""
    bridges, version = list(case.bridges), forwarding.version
    reaching = forwarding.between(packets, case.devices, bridges)
    reaching = reaching & forwarding.sets.satisfying(to_containers(case, bridges, version))
    return Passage.of(case, forwarding, reaching)


CHECKS = (
    Check(UNREACHED, knowing(unreached)),
    Check(INCOMPLETE, knowing(incomplete)),
    Check(DIRECT, knowing(direct)),
)
