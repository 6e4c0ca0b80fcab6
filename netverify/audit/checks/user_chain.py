"""DOCKER-USER: rules there that do nothing, and rules that nothing has matched yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from netverify.audit.case import Case
from netverify.audit.finding import Finding, Severity
from netverify.audit.intended import standing
from netverify.audit.kind import IPTABLES, ROUTING, Check, Kind
from netverify.dataplane.lint import Lint, lint
from netverify.dataplane.program import compile_rules
from netverify.docker.writer import DOCKER, USER
from netverify.ruleset import Chain, Rule, RulePlace, Ruleset, Table

_NEEDS = (*IPTABLES, *ROUTING)

IDLE = Kind(
    "docker-user-rule-without-effect",
    "a rule of DOCKER-USER matches nothing",
    Severity.MEDIUM,
    "DOCKER-USER is where an administrator closes what Docker opens. A rule there that no packet can match "
    "closes nothing, and whoever wrote it believes that it does. Often it asks for a published port, which "
    "is translated before.",
    _NEEDS,
)
UNUSED = Kind(
    "docker-user-rule-unused",
    "a rule of DOCKER-USER has matched no packet yet",
    Severity.INFO,
    "Packets have come by, and none matched. Perhaps nobody has tried yet; perhaps the rule asks for what "
    "does not exist.",
    _NEEDS,
)


def without_effect(case: Case, kind: Kind) -> Iterator[Finding]:
    """What no packet can match that comes there on this host."""
    for version in (4, 6):
        for each in _lints(case, version):
            rule = standing(case.host, version).rules.chain("filter", USER).rule(each.place.number)
            yield kind.found(
                _subject(version, rule),
                title=f"a rule of DOCKER-USER does nothing: {each.text}",
                rules=(case.reference(each.place, version, str(rule)),),
                remedy=(f"# {each.remedy}",) if each.remedy else (),
            )


def unused(case: Case, kind: Kind) -> Iterator[Finding]:
    """Rules with counters at zero, behind a jump whose counter is not."""
    for version in (4, 6):
        rules = standing(case.host, version).rules
        own = _chain(rules, USER)
        if own is None or not _has_counted(rules):
            continue
        idle = {each.place.number for each in _lints(case, version)}
        for number, rule in enumerate(own.rules, 1):
            silent = rule.counters is not None and rule.counters.packets == 0
            if silent and not _is_end(rule) and number not in idle:
                program = "iptables" if version == 4 else "ip6tables"
                yield kind.found(
                    _subject(version, rule),
                    title=f"a rule of DOCKER-USER has matched no packet yet: {_text(rule)}",
                    rules=(case.reference(RulePlace("filter", USER, number), version, str(rule)),),
                    remedy=(f"{program} -vnL {USER} {number}  # look again, and at what it asks for",),
                )


def _subject(version: int, rule: Rule) -> str:
    return f"IPv{version} {USER}: {_text(rule)}"


def _text(rule: Rule) -> str:
    return str(rule).removeprefix(f"-A {rule.chain} ")


def _lints(case: Case, version: int) -> list[Lint]:
    """What is odd in DOCKER-USER, with what stands before it in FORWARD. Nothing else is asked about."""
    rules = standing(case.host, version).rules
    own = _chain(rules, USER)
    if own is None or all(map(_is_end, own.rules)):
        return []
    program = compile_rules(_alone(rules), case.host)
    found = [each for each in lint(program) if (each.place.table, each.place.chain) == ("filter", USER)]
    chain = rules.chain("filter", USER)
    return [each for each in found if each.place.number and not _is_end(chain.rule(each.place.number))]


def _alone(rules: Ruleset) -> Ruleset:
    """DOCKER-USER with the rules that packets meet before, and the translations that Docker made of ports."""
    table = rules.table("filter")
    forward = _chain(rules, "FORWARD") or Chain("FORWARD", "ACCEPT")
    jump = next((number for number, rule in enumerate(forward.rules, 1) if _calls(rule, USER)), 0)
    kept = {"FORWARD": replace(forward, rules=forward.rules[:jump])}
    waiting = [USER, *(name for rule in kept["FORWARD"].rules if (name := _callee(table, rule)))]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = table.chain(name)
            waiting += (callee for rule in kept[name].rules if (callee := _callee(table, rule)))
    tables = [Table("filter", tuple(kept.values()))]
    ports = _chain(rules, DOCKER, "nat")
    if ports is not None:
        tables.append(Table("nat", (ports,)))
    return Ruleset(rules.family, tuple(tables))


def _callee(table: Table, rule: Rule) -> str:
    found = table.callee(rule)
    return "" if found is None else found.name


def _calls(rule: Rule, chain: str) -> bool:
    return rule.target is not None and rule.target.name == chain


def _is_end(rule: Rule) -> bool:
    """The RETURN that the engine itself writes at the end."""
    return not rule.matches and _calls(rule, "RETURN")


def _has_counted(rules: Ruleset) -> bool:
    """Whether packets came to DOCKER-USER since its counters began."""
    forward = _chain(rules, "FORWARD")
    jumps = [rule for rule in (forward.rules if forward is not None else ()) if _calls(rule, USER)]
    return any(rule.counters is not None and rule.counters.packets > 0 for rule in jumps)


def _chain(rules: Ruleset, name: str, table: str = "filter") -> Chain | None:
    if rules.has_table(table) and rules.table(table).has_chain(name):
        return rules.chain(table, name)
    return None


CHECKS = (Check(IDLE, without_effect), Check(UNUSED, unused))
