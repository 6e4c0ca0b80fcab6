"""What a change of rules changes on each host, and what is odd in the rules of each: for all packets at once.

These need the package oxidd, so they are imported only by who asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from netverify.dataplane.difference import Difference
from netverify.dataplane.hooks import Filters, not_modelled
from netverify.dataplane.host_difference import compare_hosts
from netverify.dataplane.lint import Lint, lint_both
from netverify.dataplane.lint import lint as lint_program
from netverify.dataplane.view import HostView
from netverify.model.subject import Lack, Subject
from netverify.ruleset import NftPlace, NftTable


@dataclass(frozen=True)
class HostChange:
    """One host and IP version: every packet whose fate is another one by the rules of now than of before."""

    host: str
    version: int
    difference: Difference


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
    """The findings in the rules of one host and IP version; None for what nftables has for both at once."""

    host: str
    version: int | None
    findings: tuple[Lint, ...]
    lacks: tuple[Lack, ...] = ()


def differences(old: Subject, new: Subject) -> Changes:
    """Compare all rules of every host that both have, packet by packet, as `compare_hosts` does."""
    before, after = ({view.name: view for view in each.filtering} for each in (old, new))
    found: list[HostChange] = []
    unknown: dict[Lack, None] = {}
    for name in sorted(before.keys() & after.keys()):
        first, second = before[name], after[name]
        unseen = _not_compared(first, second)
        for version, compared in zip((4, 6), compare_hosts(first, second), strict=True):
            unknown |= dict.fromkeys((*old.lacking([name], version), *new.lacking([name], version), *unseen))
            if _says_something(first, version) or _says_something(second, version):
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
    """What is odd in the rules of every host; it is said which chains are not looked at."""
    return tuple(each for view in subject.filtering for each in _lint(subject, view))


def _lint(subject: Subject, view: HostView) -> Iterator[HostLint]:
    filters = {version: Filters.of(view, version) for version in (4, 6)}
    native: dict[int | None, list[Lint]] = {4: [], 6: [], None: []}
    for each in lint_both(filters[4].nft, filters[6].nft):
        if isinstance(each.place, NftPlace):
            native[_VERSIONS[each.place.family]].append(each)
    unseen = unseen_rules(view)
    for version in (4, 6):
        lacks = (*subject.lacking([view.name], version), *unseen)
        found = [*lint_program(filters[version].main)]
        legacy = filters[version].legacy
        found += [] if legacy is None else lint_program(legacy)
        if _says_something(view, version) or lacks:
            yield HostLint(view.name, version, (*found, *native[version]), lacks)
    if native[None]:
        yield HostLint(view.name, None, tuple(native[None]), unseen)


_VERSIONS: Mapping[str, int | None] = MappingProxyType({"ip": 4, "ip6": 6, "inet": None})
"""The IP version of the packets that a table of nftables sees, by its family; None for both."""


def unseen_rules(view: HostView) -> tuple[Lack, ...]:
    """The chains of a host that are not modelled."""
    return tuple(
        Lack("nftables", f"the chain {chain} of {view.name} is not modelled") for chain in not_modelled(view)
    )


def _not_compared(old: HostView, new: HostView) -> tuple[Lack, ...]:
    """The chains that are not modelled, where anything in their tables changed."""
    if _unseen(old) == _unseen(new):
        return ()
    return tuple(dict.fromkeys((*unseen_rules(old), *unseen_rules(new))))


def _unseen(view: HostView) -> tuple[NftTable, ...]:
    return tuple(
        table
        for table in view.nft.tables
        if table.family in ("bridge", "netdev", "arp")
        and not table.is_dormant
        and any(chain.hook is not None for chain in table.chains)
    )


def _says_something(view: HostView, version: int) -> bool:
    """Whether a host has any rules for an IP version."""
    family = "ipv4" if version == 4 else "ipv6"
    seen = ("ip" if version == 4 else "ip6", "inet")
    return bool(
        view.ruleset(version).tables
        or any(ruleset.family == family and ruleset.tables for ruleset in view.legacy)
        or any(table.family in seen and table.chains for table in view.nft.tables)
    )
