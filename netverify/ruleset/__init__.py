"""Packet-filter rules as data: read, written, edited and counted, without a kernel.

Start with `Ruleset.parse` (the text of iptables-save), `Ruleset.rules()` and `Ruleset.render()`.
"""

from __future__ import annotations

from netverify.ruleset.counters import Counters
from netverify.ruleset.errors import CountersNotComparable, NoSuchPlace, RulesetError, RulesetSyntaxError
from netverify.ruleset.model import Chain, Comment, Family, Policy, RulePlace, Ruleset, Table
from netverify.ruleset.rule import Match, Option, Origin, Rule, Target

__all__ = [
    "Chain",
    "Comment",
    "Counters",
    "CountersNotComparable",
    "Family",
    "Match",
    "NoSuchPlace",
    "Option",
    "Origin",
    "Policy",
    "Rule",
    "RulePlace",
    "Ruleset",
    "RulesetError",
    "RulesetSyntaxError",
    "Table",
    "Target",
]
