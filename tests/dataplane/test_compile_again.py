"""Compiling an edited ruleset with what another program has made of the same rules gives the same program."""

from __future__ import annotations

import pytest

from netverify.dataplane.program import compile_rules
from netverify.dataplane.view import HostView
from netverify.ruleset import Ruleset

RULES = """*filter
:FORWARD DROP [0:0]
:A - [0:0]
:B - [0:0]
-A FORWARD -i eth0 -j A
-A FORWARD -m limit --limit 5/sec -j ACCEPT
-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT
-A A -s 192.0.2.0/24 -j B
-A A -j RETURN
-A B -m mark --mark 1 -j MARK --set-mark 2
COMMIT
"""


@pytest.mark.parametrize(("chain", "number"), [("FORWARD", 1), ("FORWARD", 3), ("A", 1), ("B", 1)])
@pytest.mark.parametrize("rule", [None, "-p udp -j DROP", "-j A2"])
def test_what_is_used_again_changes_nothing(chain: str, number: int, rule: str | None) -> None:
    """Rules that moved have new places, and a rate that moved has an unknown with its new place."""
    before = Ruleset.parse(RULES.replace(":B -", ":A2 - [0:0]\n:B -"))
    host = HostView("host", ipv4=before)
    old = compile_rules(before, host)
    if rule is None:
        edited = before.with_rule_removed("filter", chain, number)
    else:
        edited = before.with_rule_inserted("filter", chain, number, rule)
    again = compile_rules(edited, host, like=old)
    assert again.chains == compile_rules(edited, host).chains


def test_rules_that_stand_where_they_stood_are_the_same_objects() -> None:
    before = Ruleset.parse(RULES)
    host = HostView("host", ipv4=before)
    old = compile_rules(before, host)
    new = compile_rules(before.with_rule_removed("filter", "FORWARD", 3), host, like=old)
    assert new.chains["filter", "FORWARD"].rules[1] is old.chains["filter", "FORWARD"].rules[1]
