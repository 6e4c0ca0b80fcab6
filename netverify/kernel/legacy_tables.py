"""The legacy backend's tables read in this process, by python-iptables, without running any program.

It is a second opinion on `iptables-legacy-save`, and sees nothing else: rules that `iptables-nft` loaded do
not exist for it (see `kernel/firewall.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import iptc

from netverify.kernel.firewall import Backend, Firewall
from netverify.ruleset import Counters


@dataclass(frozen=True)
class LegacyChain:
    """A chain as libiptc shows it: policy (None for a user's chain), each rule's target and counters."""

    policy: str | None
    rules: tuple[tuple[str, Counters], ...]


def read(firewall: Firewall, *, version: int = 4) -> Mapping[tuple[str, str], LegacyChain]:
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
