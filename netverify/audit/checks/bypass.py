"""Rules above Docker's own in FORWARD, which let packets to containers pass before anybody else is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from netverify.audit.case import Case
from netverify.audit.causes import some
from netverify.audit.checks.chains import filtered, passage_of
from netverify.audit.finding import Finding, Severity
from netverify.audit.forwarding import Forwarding, where
from netverify.audit.kind import FORWARDING as PARTS
from netverify.audit.kind import Check, Kind, knowing
from netverify.audit.parties import network_name
from netverify.audit.shell import iptables, words_of
from netverify.dataplane.diagrams import Set
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.program import CompiledRule
from netverify.dataplane.targets import Verdict
from netverify.docker.layout import FORWARD
from netverify.docker.writer import PAIRS, STAGE_1, USER

BYPASSED = Kind(
    "isolation-bypassed",
    "a rule above Docker's lets packets to containers pass",
    Severity.MEDIUM,
    "The first rule that accepts decides: neither what an administrator denies in DOCKER-USER nor Docker's "
    "own rules are asked about these packets.",
    (*PARTS, "docker-info.json"),
)


# --- above Docker ---------------------------------------------------------------------------------------


def bypassed(case: Case, kind: Kind) -> Iterator[Finding]:
    """Rules of FORWARD before Docker's first that accept what Docker's would stop."""
    for forwarding in filtered(case):
        for rule, packets in _before(case, forwarding):
            version, text = forwarding.version, str(rule.rule)
            passage = passage_of(case, forwarding, packets)
            bridges = [bridge for _, bridge in forwarding.pairs(packets)]
            names = sorted({network_name(case, bridge) for bridge in bridges if bridge in case.bridges})
            rest = text.removeprefix(f"-A {rule.place.chain} ")
            yield kind.found(
                f"IPv{version} {rest}",
                title=f"a rule above Docker's lets packets to {_names(names)} pass: {rest}",
                severity=kind.severity if passage.evidence is not None else Severity.LOW,
                cells=passage.cells,
                rules=(case.reference(rule.place, version, text),),
                evidence=passage.evidence,
                remedy=(
                    iptables(version, "-D", rule.place.chain, *words_of(rest)),
                    f"{iptables(version, '-A', USER, *words_of(rest))}  # only if they are meant to pass",
                ),
            )


def _names(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 4 else f"{len(names)} networks"


def _before(case: Case, forwarding: Forwarding) -> Iterator[tuple[CompiledRule, Set]]:
    """The rules of FORWARD that stand before Docker's, with what they let pass to the engine's networks."""
    sets = forwarding.sets
    for program in forwarding.actual.programs:
        for key, chain in program.chains.items():
            if where(chain.policy_place) != ("filter", "FORWARD"):
                continue
            first = next((i for i, rule in enumerate(chain.rules) if _is_dockers(rule)), 0)
            stopped = forwarding.coming & ~forwarding.passed(forwarding.meant, forwarding.coming)
            left = forwarding.between(stopped, case.devices, case.bridges) if first else sets.nothing
            for rule in chain.rules[:first]:
                if sets.is_empty(left):
                    break
                alone = replace(chain, rules=(rule,), policy=Verdict.DROP)
                one = replace(program, chains={**program.chains, key: alone})
                passed = Evaluator(one, sets).run(*key, left).get(Verdict.ACCEPT, sets.nothing)
                if not sets.is_empty(passed):
                    yield rule, passed
                taken = sets.satisfying(some([rule])) if rule.ending is not None else passed
                left = sets.without(left, taken)


def _is_dockers(rule: CompiledRule) -> bool:
    return rule.callee in (USER, FORWARD, PAIRS, STAGE_1)


CHECKS = (Check(BYPASSED, knowing(bypassed)),)
