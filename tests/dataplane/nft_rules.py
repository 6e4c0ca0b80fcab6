"""Native rules as data for tests, in few words."""

from __future__ import annotations

from netverify.dataplane.view import HostView, Link
from netverify.ruleset import Hook, NftChain, NftRule, NftRuleset, NftSet, NftTable
from netverify.ruleset.nft_expressions import Ct, Expression, Meta, Payload, Verdict
from netverify.ruleset.nft_statements import Comparison, Count, Statement

ACCEPT, DROP, RETURN, CONTINUE = (Verdict(kind) for kind in ("accept", "drop", "return", "continue"))
COUNTER = Count()
TCP_PORT, SOURCE, MARK, STATE = Payload("tcp", "dport"), Payload("ip", "saddr"), Meta("mark"), Ct("state")
LINKS = (
    Link.of("lo", "127.0.0.1/8", "::1/128"),
    Link.of("eth0", "10.1.0.1/24", "fd00:1::1/64"),
    Link.of("eth1", "10.2.0.1/24", "fd00:2::1/64"),
)
SYSCTLS = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}


def jump(chain: str) -> Verdict:
    return Verdict("jump", chain)


def equal(left: Expression, right: Expression) -> Comparison:
    return Comparison("==", left, right)


def rule(*statements: Statement) -> NftRule:
    return NftRule(statements)


def user(name: str, *rules: NftRule) -> NftChain:
    return NftChain(name, rules=rules)


def base(
    name: str, hook: str, priority: int, *rules: NftRule, policy: str = "accept", kind: str = "filter"
) -> NftChain:
    return NftChain(name, Hook(kind, hook, priority, policy), rules)


def table(
    *chains: NftChain, family: str = "inet", name: str = "t", sets: tuple[NftSet, ...] = ()
) -> NftTable:
    return NftTable(family, name, chains, sets)  # type: ignore[arg-type]


def host(*tables: NftTable, **fields: object) -> HostView:
    view = HostView("host", LINKS, (), sysctls=SYSCTLS, nft=NftRuleset(tables), **fields)  # type: ignore[arg-type]
    return view.with_connected_routes()
