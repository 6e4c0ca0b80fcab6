"""The legacy backend's tables read in this process, by python-iptables, without running any program.

It is a second opinion on `iptables-legacy-save`, and sees nothing else: rules that `iptables-nft` loaded do
not exist for it (see `kernel/firewall.py`). A snapshot takes it where the kernel has tables of that backend:
rules that two readers read differently are rules that nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import iptc
from iptc.xtables import XTablesError

from netverify.errors import KernelError
from netverify.kernel.firewall import Backend, Firewall
from netverify.ruleset import Counters, Ruleset

Chains = Mapping[tuple[str, str], "LegacyChain"]


@dataclass(frozen=True)
class LegacyChain:
    """A chain as libiptc shows it: policy (None for a user's chain), each rule's target and counters."""

    policy: str | None
    rules: tuple[tuple[str, Counters], ...]


def read(firewall: Firewall, *, version: int = 4) -> Chains:
    """Every chain of every loaded table of the legacy backend, by (table, chain)."""
    if firewall.backend is not Backend.LEGACY:
        raise ValueError(f"{firewall.namespace.name}: python-iptables reads the legacy backend alone")
    loaded = [table.name for table in firewall.rules(version=version).tables]
    return firewall.visitor.visit(firewall.namespace, lambda: _read(loaded, version))


def _read(names: list[str], version: int) -> dict[tuple[str, str], LegacyChain]:
    kind = iptc.Table if version == 4 else iptc.Table6
    found = {}
    for name in names:
        table = kind(name)
        # The object is one for the process, and its copy of the table may be another namespace's.
        table.refresh()
        for chain in table.chains:
            policy = chain.get_policy().name if table.builtin_chain(chain.name) else None
            rules = tuple((rule.target.name, Counters(*rule.get_counters())) for rule in chain.rules)
            found[name, chain.name] = LegacyChain(policy, rules)
    return found


def second_opinion(saved: Ruleset, *, version: int = 4) -> tuple[str, ...]:
    """How this thread's namespace differs from what iptables-legacy-save printed of it; counters apart.

    Nothing is loaded: only tables that were printed are asked for. Raises KernelError where python-iptables
    cannot read them.
    """
    try:
        ours = _read([table.name for table in saved.tables], version)
    except (iptc.IPTCError, XTablesError, AttributeError, ValueError) as error:
        raise KernelError(
            f"python-iptables cannot read the legacy tables of IPv{version}: {error}"
        ) from error
    return tuple(_differences(saved, ours))


def _differences(saved: Ruleset, ours: Chains) -> Iterator[str]:
    theirs = {(table.name, chain.name): chain for table in saved.tables for chain in table.chains}
    for place in sorted(theirs.keys() | ours.keys()):
        where = f"{place[0]} {place[1]}"
        if place not in ours or place not in theirs:
            reader = "iptables-legacy-save" if place in theirs else "python-iptables"
            yield f"{where}: only {reader} has the chain"
            continue
        chain, own = theirs[place], ours[place]
        if chain.policy != own.policy:
            yield f"{where}: policy {chain.policy}, and {own.policy} for python-iptables"
        if len(chain.rules) != len(own.rules):
            yield f"{where}: {len(chain.rules)} rules, and {len(own.rules)} for python-iptables"
            continue
        for number, (rule, (target, _counters)) in enumerate(zip(chain.rules, own.rules, strict=True), 1):
            wanted = rule.target.name if rule.target else ""
            if wanted != target:
                yield f"{where} rule {number}: target {wanted!r}, and {target!r} for python-iptables"
