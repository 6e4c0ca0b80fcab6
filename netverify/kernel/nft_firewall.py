"""Native nftables rules of one namespace: load, read, and count what they drop (nft(8)).

What nft loads here gets counters where it drops (`ruleset.nft_counting`), since without them a lab could not
prove that a silence is a drop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from netverify.kernel.firewall import run_inside
from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.tally import Tally
from netverify.ruleset import NftRule, NftRuleset, belongs_to_iptables
from netverify.ruleset.nft_counting import POLICY, counted_drops, with_counted_drops

PROGRAM = "nft"
_VERSIONS = {4: ("ip", "inet", "bridge", "netdev"), 6: ("ip6", "inet", "bridge", "netdev")}


@dataclass(frozen=True)
class NftFirewall:
    """Everything in a namespace that is nftables' own: the tables that iptables-nft did not make."""

    namespace: Namespace
    visitor: Visitor

    def load(self, rules: NftRuleset | str) -> None:
        """Add tables, given as data or in nft's own language; their drops are counted.

        What stands there already is left alone. Raises FirewallError with nft's own words, MissingCapability
        where there is no nft.
        """
        if isinstance(rules, str):
            before = {(table.family, table.name) for table in self.everything().tables}
            self._run(["-f", "-"], rules)
            after = self.everything()
            new = tuple(table for table in after.tables if (table.family, table.name) not in before)
            self._run(["-f", "-"], "".join(f"delete table {t.family} {t.name}\n" for t in new))
            rules = NftRuleset(new)
        self._run(["-j", "-f", "-"], with_counted_drops(rules).render())

    def everything(self) -> NftRuleset:
        """All of nftables as it is now, with counters; iptables-nft's tables too."""
        return NftRuleset.parse(self._run(["-j", "list", "ruleset"]))

    def text(self) -> str:
        """All of nftables in nft's own language, for people."""
        return self._run(["list", "ruleset"])

    def moved_since(self, before: NftRuleset) -> tuple[str, ...]:
        """The rules whose own counters moved since a reading, in order, with how far; native tables alone."""
        after = self.everything()
        native = [(f.family, f.name) for f in after.tables if not belongs_to_iptables(f)]
        moved = []
        for place, counted in after.counters_since(before).items():
            if (place.family, place.table) in native:
                rule = after.table(place.family, place.table).chain(place.chain).rule(place.number)
                moved.append(f"{self.namespace.name}: {place}: {_words(rule)} [{counted.packets}]")
        return tuple(moved)

    def drops(self, version: int) -> Tally:
        """How many packets of an IP version each place has dropped, as far as it counts.

        A table of the family inet counts both versions in one.
        """
        dropped: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        for place, rule, counters, answers in counted_drops(self.everything()):
            if place.family in _VERSIONS[version]:
                book = answered if answers else dropped
                book[f"{self.namespace.name}: {place}: {_words(rule)}"] += counters.packets
        return Tally(dropped, answered)

    def _run(self, arguments: Sequence[str], stdin: str = "") -> str:
        return run_inside(self.visitor, self.namespace, [PROGRAM, *arguments], stdin)


def _words(rule: NftRule) -> str:
    return "policy drop" if rule.comment == POLICY else str(rule)
