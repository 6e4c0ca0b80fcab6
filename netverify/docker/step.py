"""What an engine does to the packet filter: the iptables commands that it runs, as data, and their effect.

Docker does not write a ruleset in one piece. It inserts, appends and deletes single rules, each only if
needed, while networks and containers come and go, and what it finds in the kernel stays. So the order of
rules tells the order of events; to have it right, the same steps are played here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from netverify.ruleset import Chain, Policy, Rule, Ruleset, Table
from netverify.ruleset.rule_reader import Parts, parse_rule


class Action(Enum):
    """One kind of iptables command, with the check that the engine makes before it."""

    NEW_CHAIN = "-N"
    """Make the chain unless it exists."""
    REMOVE_CHAIN = "-F, -X"
    """Empty the chain, and remove it if nothing jumps to it (the kernel refuses otherwise)."""
    INSERT = "-I"
    """Put the rule first unless the chain has it."""
    APPEND = "-A"
    """Put the rule last unless the chain has it."""
    DELETE = "-D"
    """Take the rule out if the chain has it."""
    POLICY = "-P"
    """Set the policy of one of the kernel's own chains."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command on one chain; `rule` is the rule's text without `-A CHAIN`, or the policy."""

    action: Action
    table: str
    chain: str
    rule: str = ""


def jump_on_top(chain: str, target: str, table: str = "filter") -> tuple[Step, Step]:
    """Make the jump to `target` the first rule of the chain, wherever it stands now.

    Source: moby libnetwork/iptables/iptables.go, EnsureJumpRule.
    """
    return (
        Step(Action.DELETE, table, chain, f"-j {target}"),
        Step(Action.INSERT, table, chain, f"-j {target}"),
    )


def play(ruleset: Ruleset, steps: Iterable[Step]) -> Ruleset:
    """The ruleset after these steps, in the order in which iptables-save shows it.

    A table or chain of the kernel's own that is missing is there as soon as a step touches it.
    """
    tables = {table.name: _OpenTable(table) for table in ruleset.tables}
    for step in steps:
        if step.table not in tables:
            tables[step.table] = _OpenTable(_empty_table(step.table))
        tables[step.table].play(step)
    # The order of tables means nothing to the kernel; a fixed one lets two rulesets be compared with ==.
    in_order = sorted(tables.values(), key=lambda table: _TABLES.index(table.name))
    return Ruleset(ruleset.family, tuple(table.close() for table in in_order), ruleset.comments)


_TABLES = ("raw", "mangle", "nat", "filter", "security")

# The kernel's own chains of the tables that Docker writes to, as iptables-save orders them.
_CHAINS: Mapping[str, tuple[str, ...]] = {
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
}


def _empty_table(name: str) -> Table:
    return Table(name, tuple(Chain(chain, "ACCEPT") for chain in _CHAINS[name]))


class _OpenChain:
    """A chain while steps are played: its rules, and the same as a set to look them up in."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.policy = chain.policy
        self.rules = list(chain.rules)
        self.present = set(chain.rules)
        self.foreign = bool(chain.rules)
        self.texts: set[str] = set()

    def may_have(self, text: str) -> bool:
        """Whether a rule of that text can be there: nobody else writes one text in two ways."""
        return self.foreign or text in self.texts

    def close(self) -> Chain:
        counters = self.chain.counters if self.policy == self.chain.policy else None
        return Chain(self.chain.name, self.policy, tuple(self.rules), counters)


class _OpenTable:
    """A table while steps are played."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.name = table.name
        self.chains = {chain.name: _OpenChain(chain) for chain in table.chains}

    def play(self, step: Step) -> None:
        if step.action is Action.NEW_CHAIN:
            if step.chain not in self.chains:
                self.chains[step.chain] = _OpenChain(Chain(step.chain))
        elif step.action is Action.REMOVE_CHAIN:
            self._remove_chain(step.chain)
        elif step.chain in self.chains:
            self._change(self.chains[step.chain], step)

    def close(self) -> Table:
        own = [chain for name, chain in self.chains.items() if self.table.is_builtin(name)]
        users = [chain for name, chain in sorted(self.chains.items()) if not self.table.is_builtin(name)]
        return Table(self.table.name, tuple(chain.close() for chain in own + users))

    def _remove_chain(self, name: str) -> None:
        if name not in self.chains:
            return
        self.chains[name] = _OpenChain(Chain(name))
        if not any(self._jumps_to(chain, name) for chain in self.chains.values()):
            del self.chains[name]

    @staticmethod
    def _jumps_to(chain: _OpenChain, name: str) -> bool:
        return any(rule.target is not None and rule.target.name == name for rule in chain.rules)

    @staticmethod
    def _change(chain: _OpenChain, step: Step) -> None:
        if step.action is Action.POLICY:
            chain.policy = _policy(step.rule)
            return
        if step.action is Action.DELETE and not chain.may_have(step.rule):
            return
        rule = _rule(step.chain, step.rule)
        if step.action is Action.DELETE:
            if rule in chain.present:
                chain.rules.remove(rule)
                if rule not in chain.rules:  # it may have stood there twice, by somebody else's hand
                    chain.present.remove(rule)
        elif rule not in chain.present:
            chain.rules.insert(0 if step.action is Action.INSERT else len(chain.rules), rule)
            chain.present.add(rule)
            chain.texts.add(step.rule)


@lru_cache(maxsize=4096)  # the jumps that all networks share come by again and again
def _rule(chain: str, text: str) -> Rule:
    if len(_PARTS) > _MOST_PARTS:
        _PARTS.clear()
    return parse_rule(text, chain=chain, parts=_PARTS)


_PARTS: Parts = {}  # most rules share most of their matches with others
_MOST_PARTS = 1 << 15


def _policy(text: str) -> Policy:
    return "DROP" if text == "DROP" else "ACCEPT"
