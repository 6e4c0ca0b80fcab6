"""Each kind of step does what the iptables command and the engine's check before it do."""

from __future__ import annotations

import pytest

from netverify.docker import Action, Step, play
from netverify.ruleset import Chain, Counters, Ruleset, Table

BEFORE = Ruleset(
    "ipv4",
    (
        Table(
            "filter",
            (
                Chain(
                    "FORWARD",
                    "ACCEPT",
                    Chain.of("FORWARD", "-i a -j X", "-i b -j DROP").rules,
                    Counters(7, 9),
                ),
                Chain.of("X", "-j RETURN"),
            ),
        ),
    ),
)


def after(*steps: tuple[Action, str, str]) -> dict[str, list[str]]:
    ruleset = play(BEFORE, (Step(action, "filter", chain, rule) for action, chain, rule in steps))
    return {
        chain.name: [str(rule).removeprefix(f"-A {chain.name} ") for rule in chain.rules]
        for chain in ruleset.table("filter").chains
    }


@pytest.mark.parametrize(
    ("action", "rule", "forward"),
    [
        (Action.INSERT, "-i c -j DROP", ["-i c -j DROP", "-i a -j X", "-i b -j DROP"]),
        (Action.INSERT, "-i b -j DROP", ["-i a -j X", "-i b -j DROP"]),
        (Action.APPEND, "-i c -j DROP", ["-i a -j X", "-i b -j DROP", "-i c -j DROP"]),
        (Action.APPEND, "-i a -j X", ["-i a -j X", "-i b -j DROP"]),
        (Action.DELETE, "-i a -j X", ["-i b -j DROP"]),
        (Action.DELETE, "-i c -j DROP", ["-i a -j X", "-i b -j DROP"]),
    ],
)
def test_rules_come_and_go_only_where_needed(action, rule, forward):
    assert after((action, "FORWARD", rule))["FORWARD"] == forward


def test_a_rule_that_stood_twice_is_deleted_once_and_then_again():
    twice = BEFORE.with_rule_inserted("filter", "FORWARD", 3, "-i a -j X")
    delete = Step(Action.DELETE, "filter", "FORWARD", "-i a -j X")
    assert [*map(str, play(twice, [delete]).chain("filter", "FORWARD").rules)] == [
        "-A FORWARD -i b -j DROP",
        "-A FORWARD -i a -j X",
    ]
    assert len(play(twice, [delete, delete]).chain("filter", "FORWARD").rules) == 1


def test_a_new_chain_leaves_an_old_one_of_its_name_alone():
    assert after((Action.NEW_CHAIN, "X", ""))["X"] == ["-j RETURN"]
    assert after((Action.NEW_CHAIN, "A", ""))["A"] == []


def test_a_chain_in_use_is_emptied_and_an_unused_one_removed():
    assert after((Action.REMOVE_CHAIN, "X", ""))["X"] == []
    assert "X" not in after((Action.DELETE, "FORWARD", "-i a -j X"), (Action.REMOVE_CHAIN, "X", ""))
    assert after((Action.REMOVE_CHAIN, "Y", "")) == after()


def test_policies_change_and_counters_of_unchanged_ones_stay():
    kept = play(BEFORE, [Step(Action.NEW_CHAIN, "filter", "A")]).chain("filter", "FORWARD")
    assert (kept.policy, kept.counters) == ("ACCEPT", Counters(7, 9))
    changed = play(BEFORE, [Step(Action.POLICY, "filter", "FORWARD", "DROP")]).chain("filter", "FORWARD")
    assert (changed.policy, changed.counters) == ("DROP", None)


def test_users_chains_stand_by_name_after_the_kernels_own():
    assert list(after((Action.NEW_CHAIN, "B", ""), (Action.NEW_CHAIN, "A", ""))) == ["FORWARD", "A", "B", "X"]


def test_a_table_is_there_once_a_step_touches_it():
    ruleset = play(BEFORE, [Step(Action.APPEND, "nat", "POSTROUTING", "-j MASQUERADE")])
    assert [table.name for table in ruleset.tables] == ["nat", "filter"]
    assert [chain.name for chain in ruleset.table("nat").chains] == [
        "PREROUTING",
        "INPUT",
        "OUTPUT",
        "POSTROUTING",
    ]
