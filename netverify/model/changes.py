"""What a change of rules changes on each host, and what is odd in the rules of each: for all packets at once.

These need the package oxidd, so they are imported only by who asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netverify.dataplane import difference
from netverify.dataplane.lint import Lint
from netverify.dataplane.lint import lint as lint_program
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.view import HostView
from netverify.model.subject import Lack, Subject
from netverify.ruleset import NftRuleset, Ruleset


@dataclass(frozen=True)
class HostChange:
    """One host and IP version: its rules before and after, and every packet whose fate is another one."""

    host: str
    version: int
    difference: difference.Difference


@dataclass(frozen=True)
class Changes:
    """All hosts that both have; `only_old` and `only_new` are names that only one of the two has.

    `lacks` is what is not known, or not compared.
    """

    old: Subject
    new: Subject
    hosts: tuple[HostChange, ...]
    lacks: tuple[Lack, ...] = ()
    only_old: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()

    @property
    def opens(self) -> bool:
        """Whether anything passes now that did not."""
        return any(change.difference.opens for change in self.hosts)


@dataclass(frozen=True)
class HostLint:
    """The findings in the rules of one host and IP version."""

    host: str
    version: int
    findings: tuple[Lint, ...]
    lacks: tuple[Lack, ...] = ()


def differences(old: Subject, new: Subject) -> Changes:
    """Compare the rules of every host that both have: of iptables by packets, of nftables as a whole."""
    before, after = ({view.name: view for view in each.filtering} for each in (old, new))
    found: list[HostChange] = []
    unknown: dict[Lack, None] = {}
    for name in sorted(before.keys() & after.keys()):
        for version in (4, 6):
            lacks = (*old.lacking([name], version), *new.lacking([name], version))
            if _native(before[name]) != _native(after[name]):
                lacks += (Lack("nftables", f"the rules of {name} changed, and these are not compared"),)
            unknown |= dict.fromkeys(lacks)
            pairs = zip(_programs(before[name], version), _programs(after[name], version), strict=True)
            for first, second in pairs:
                if first.ruleset.tables or second.ruleset.tables:
                    compared = difference.compare(first, second)
                    found.append(HostChange(name, version, compared))
    return Changes(
        old,
        new,
        tuple(found),
        tuple(unknown),
        tuple(name for name in before if name not in after),
        tuple(name for name in after if name not in before),
    )


def lint(subject: Subject) -> tuple[HostLint, ...]:
    """What is odd in iptables' rules of every host. Rules of nftables are not looked at, and that is said."""
    return tuple(_lint(subject))


def _lint(subject: Subject) -> Iterator[HostLint]:
    for view in subject.filtering:
        for version in (4, 6):
            lacks = (*subject.lacking([view.name], version), *unseen_rules(view))
            for program in _programs(view, version):
                if program.ruleset.tables or (lacks and program.ruleset is view.ruleset(version)):
                    yield HostLint(view.name, version, tuple(lint_program(program)), lacks)


def unseen_rules(view: HostView) -> tuple[Lack, ...]:
    """What questions about iptables' rules alone leave out."""
    hooked = any(chain.hook is not None for table in view.nft.tables for chain in table.chains)
    return (Lack("nftables", f"the rules of {view.name} are not looked at"),) if hooked else ()


def _native(view: HostView) -> NftRuleset:
    """Native tables of nftables, without those of which nothing is called."""
    tables = (table for table in view.nft.tables if any(chain.hook is not None for chain in table.chains))
    return NftRuleset(tuple(tables))


def _programs(view: HostView, version: int) -> tuple[Program, Program]:
    """The rules of iptables' first backend, and of the legacy one where both have some."""
    family = "ipv4" if version == 4 else "ipv6"
    none = Ruleset(view.ruleset(version).family)
    legacy = next((ruleset for ruleset in view.legacy if ruleset.family == family), none)
    return compile_rules(view.ruleset(version), view), compile_rules(legacy, view)
