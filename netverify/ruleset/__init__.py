"""Packet-filter rules as data: read, written, edited and counted, without a kernel.

Start with `Ruleset.parse` (the text of iptables-save), `Ruleset.rules()` and `Ruleset.render()`; for nftables
with `NftRuleset.parse` (the text of `nft -j list ruleset`), whose words are in nft_expressions.py and
nft_statements.py; on a host that has both with `split_sources`.
"""

from __future__ import annotations

from netverify.ruleset.counters import Counters
from netverify.ruleset.errors import CountersNotComparable, NoSuchPlace, RulesetError, RulesetSyntaxError
from netverify.ruleset.model import Chain, Comment, Family, Policy, RulePlace, Ruleset, Table
from netverify.ruleset.nft import Hook, NftChain, NftPlace, NftRule, NftRuleset, NftSet, NftTable
from netverify.ruleset.nft_iptables import Sources, belongs_to_iptables, split_sources
from netverify.ruleset.rule import Match, Option, Origin, Rule, Target

__all__ = [
    "Chain",
    "Comment",
    "Counters",
    "CountersNotComparable",
    "Family",
    "Hook",
    "Match",
    "NftChain",
    "NftPlace",
    "NftRule",
    "NftRuleset",
    "NftSet",
    "NftTable",
    "NoSuchPlace",
    "Option",
    "Origin",
    "Policy",
    "Rule",
    "RulePlace",
    "Ruleset",
    "RulesetError",
    "RulesetSyntaxError",
    "Sources",
    "Table",
    "Target",
    "belongs_to_iptables",
    "split_sources",
]
