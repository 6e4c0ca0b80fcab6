"""Packet-filter rules of one namespace: load, read, change, through one iptables backend at a time.

The backends are never mixed up. `iptables-legacy` (ip_tables.ko) and `iptables-nft` (nf_tables) keep separate
rules in the same namespace, and both apply; a tool of the one does not see the rules of the other. So every
call here names its backend, and the programs are always called by their full names, never as `iptables`,
which is either of them.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import pairwise
from typing import Protocol

from netverify.errors import KernelError, MissingCapability
from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.tally import Tally
from netverify.model.naming import describe
from netverify.ruleset import RulePlace, Ruleset
from netverify.ruleset.vocabulary import BUILTIN_CHAINS

DROPPING = frozenset({"DROP", "REJECT"})


class Backend(Enum):
    """Which half of netfilter iptables talks to."""

    LEGACY = "legacy"
    NFT = "nft"


class FirewallError(KernelError):
    """A firewall program refused what it was given; the message holds its own words and the line."""


def program(name: str, backend: Backend, version: int = 4) -> str:
    """The full name of an iptables program, such as `ip6tables-legacy-save`.

    Raises MissingCapability where this machine does not have it.
    """
    family = "iptables" if version == 4 else "ip6tables"
    command = f"{family}-{backend.value}" + (f"-{name}" if name else "")
    if shutil.which(command) is None:
        raise MissingCapability(
            command, "the program is not installed", "Install it: apt-get install iptables"
        )
    return command


@cache
def default_backend() -> Backend:
    """The backend that the machine's own `iptables` is (iptables(8) prints it with its version)."""
    if shutil.which("iptables") is None:
        raise MissingCapability(
            "iptables", "the program is not installed", "Install it: apt-get install iptables"
        )
    said = subprocess.run(["iptables", "--version"], capture_output=True, text=True, check=True).stdout
    return Backend.NFT if "nf_tables" in said else Backend.LEGACY


def run_inside(visitor: Visitor, namespace: Namespace, command: Sequence[str], stdin: str) -> str:
    """Run a program of a packet filter in a namespace; returns what it printed.

    Raises FirewallError with its own words, and the line of `stdin` that they name, MissingCapability where
    this machine does not have it.
    """
    if shutil.which(command[0]) is None:
        package = _PACKAGES.get(command[0], "iptables")
        raise MissingCapability(
            command[0], "the program is not installed", f"Install it: apt-get install {package}"
        )
    done = visitor.visit(
        namespace,
        lambda: subprocess.run(command, input=stdin, capture_output=True, text=True, check=False),
    )
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise FirewallError(f"{namespace.name}: {' '.join(command)}: {said}{_context(said, stdin)}")
    return done.stdout


_PACKAGES = {"nft": "nftables", "ipset": "ipset"}


@dataclass(frozen=True)
class Firewall:
    """The rules of one namespace in one backend."""

    namespace: Namespace
    visitor: Visitor
    backend: Backend

    def _run(self, command: Sequence[str], stdin: str = "") -> str:
        return run_inside(self.visitor, self.namespace, command, stdin)

    def restore(self, text: str, *, version: int = 4) -> None:
        """Replace the tables that `text` (iptables-save format) names, each in one transaction."""
        self._run([program("restore", self.backend, version), "-w"], text)

    def run(self, arguments: str | Sequence[str], *, version: int = 4) -> str:
        """Run one iptables command, such as `-I FORWARD -i br0 -j ACCEPT`."""
        words = shlex.split(arguments) if isinstance(arguments, str) else list(arguments)
        return self._run([program("", self.backend, version), "-w", *words])

    def save(self, *, version: int = 4) -> str:
        """All tables with counters, as iptables-save prints them."""
        return self._run([program("save", self.backend, version), "-c"])

    def rules(self, *, version: int = 4) -> Ruleset:
        """All tables as data, with counters."""
        return Ruleset.parse(self.save(version=version), family="ipv4" if version == 4 else "ipv6")

    def drops(self, version: int) -> Tally:
        """How many packets each rule and policy that drops has counted."""
        rules, name = self.rules(version=version), self.namespace.name
        dropped: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        for place, rule in rules.rules():
            if rule.target is not None and rule.target.name in DROPPING and rule.counters is not None:
                book = answered if rule.target.name == "REJECT" else dropped
                book[describe(name, place, rule)] += rule.counters.packets
        for table in rules.tables:
            for chain in table.chains:
                if chain.policy == "DROP" and chain.counters is not None:
                    place = RulePlace(table.name, chain.name, 0)
                    dropped[describe(name, place, None)] += chain.counters.packets
        return Tally(dropped, answered)

    def flush(self, *, version: int = 4) -> None:
        """Empty every table that is loaded: no rules, no own chains, policies ACCEPT."""
        tables = [table.name for table in self.rules(version=version).tables]
        self.restore("".join(f"*{name}\n{_BUILTIN[name]}COMMIT\n" for name in tables), version=version)


_BUILTIN = {
    name: "".join(f":{chain} ACCEPT [0:0]\n" for chain in chains) for name, chains in BUILTIN_CHAINS.items()
}


def _context(said: str, text: str) -> str:
    """The line of the input that iptables-restore complains about ("... line 12 failed")."""
    words = said.replace(":", " ").split()
    for word, following in pairwise(words):
        if word == "line" and following.isdigit():
            lines = text.splitlines()
            number = int(following)
            if 0 < number <= len(lines):
                return f" [line {number}: {lines[number - 1]}]"
    return ""


class Filter(Protocol):
    """Whatever drops packets in a namespace and counts them."""

    def drops(self, version: int) -> Tally:
        """How many packets of an IP version each place has dropped."""
        ...


class RuleBook:
    """The counters of every rule and policy that drops, over a set of packet filters."""

    def __init__(self, filters: Sequence[Filter], version: int) -> None:
        self._filters, self._version = filters, version

    def read(self) -> Tally:
        """How many packets each dropping rule and policy has counted."""
        # Sums, for the same rule may stand in both backends of a namespace.
        dropped: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        for each in self._filters:
            tally = each.drops(self._version)
            dropped.update(tally.dropped)
            answered.update(tally.answered)
        return Tally(dropped, answered)


def moved_rules(host: str, before: Ruleset, after: Ruleset) -> tuple[str, ...]:
    """The rules and policies whose packet counters moved between two readings, in order, with how far."""
    moved = after.counters_since(before)
    lines = []
    for place, counted in moved.items():
        rule = None if place.is_policy else after.rule(place)
        lines.append(f"{describe(host, place, rule)} [{counted.packets}]")
    return tuple(lines)
