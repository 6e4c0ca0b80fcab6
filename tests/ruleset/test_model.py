"""Tables, chains and rules as data: places, edits, counters, and what cannot be."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netverify.errors import InputError
from netverify.ruleset import (
    Chain,
    Counters,
    CountersNotComparable,
    NoSuchPlace,
    Rule,
    RulePlace,
    Ruleset,
    RulesetError,
    RulesetSyntaxError,
    Table,
)
from tests.strategies.ruleset import rulesets

STAGED = Ruleset(
    "ipv4",
    (
        Table(
            "filter",
            (
                Chain.of("FORWARD", "-j USER", "-i a ! -o a -j STAGE-2", "-i a -j ACCEPT", policy="DROP"),
                Chain.of("USER", "-j RETURN"),
                Chain.of("STAGE-2", "-o b -j DROP"),
            ),
        ),
    ),
)


def texts(ruleset: Ruleset, chain: str = "FORWARD") -> list[str]:
    return [str(rule).removeprefix(f"-A {chain} ") for rule in ruleset.chain("filter", chain).rules]


def test_rules_come_with_their_places():
    assert [(str(place), str(rule)) for place, rule in STAGED.rules()] == [
        ("filter:FORWARD:rule:1", "-A FORWARD -j USER"),
        ("filter:FORWARD:rule:2", "-A FORWARD -i a ! -o a -j STAGE-2"),
        ("filter:FORWARD:rule:3", "-A FORWARD -i a -j ACCEPT"),
        ("filter:USER:rule:1", "-A USER -j RETURN"),
        ("filter:STAGE-2:rule:1", "-A STAGE-2 -o b -j DROP"),
    ]


@given(rulesets())
def test_every_place_finds_its_rule(ruleset):
    for place, rule in ruleset.rules():
        assert ruleset.rule(place) is rule
        assert rule.chain == place.chain
        assert not place.is_policy


def test_a_policy_has_a_place_but_is_no_rule():
    place = RulePlace("filter", "FORWARD", 0)
    assert str(place) == "filter:FORWARD:policy"
    with pytest.raises(NoSuchPlace, match="no rule filter:FORWARD:policy"):
        STAGED.rule(place)


def test_the_chain_that_a_rule_calls():
    table = STAGED.table("filter")
    forward = table.chain("FORWARD")
    assert table.callee(forward.rule(2)) is table.chain("STAGE-2")
    assert table.callee(forward.rule(3)) is None
    assert table.callee(Rule("FORWARD")) is None
    assert table.is_builtin("FORWARD")
    assert not table.is_builtin("USER")


def test_removing_a_rule():
    assert texts(STAGED.with_rule_removed("filter", "FORWARD", 2)) == ["-j USER", "-i a -j ACCEPT"]


def test_replacing_a_rule():
    edited = STAGED.with_rule_replaced("filter", "FORWARD", 1, "-j DROP")
    assert texts(edited) == ["-j DROP", "-i a ! -o a -j STAGE-2", "-i a -j ACCEPT"]


@pytest.mark.parametrize(("number", "position"), [(1, 0), (2, 1), (4, 3)])
def test_inserting_a_rule(number, position):
    edited = STAGED.with_rule_inserted("filter", "FORWARD", number, "-i b -j DROP")
    expected = texts(STAGED)
    expected.insert(position, "-i b -j DROP")
    assert texts(edited) == expected


def test_an_inserted_rule_moves_to_its_chain():
    edited = STAGED.with_rule_inserted("filter", "USER", 1, Rule.parse("-A FORWARD -i b -j DROP"))
    assert [str(rule) for rule in edited.chain("filter", "USER").rules] == [
        "-A USER -i b -j DROP",
        "-A USER -j RETURN",
    ]


def test_swapping_rules():
    swapped = STAGED.with_rules_swapped("filter", "FORWARD", 1, 3)
    assert texts(swapped) == ["-i a -j ACCEPT", "-i a ! -o a -j STAGE-2", "-j USER"]
    assert swapped.with_rules_swapped("filter", "FORWARD", 3, 1) == STAGED


def test_changing_a_policy_chains_and_tables():
    assert STAGED.with_policy("filter", "FORWARD", "ACCEPT").chain("filter", "FORWARD").policy == "ACCEPT"
    emptied = STAGED.with_chain("filter", Chain("USER")).with_chain("filter", Chain("NEW"))
    assert [chain.name for chain in emptied.table("filter").chains] == ["FORWARD", "USER", "STAGE-2", "NEW"]
    assert emptied.chain("filter", "USER").rules == ()
    both = STAGED.with_table(Table("nat")).with_table(Table("filter"))
    assert both.tables == (Table("filter"), Table("nat"))


def test_edits_leave_the_original_as_it_was():
    before = STAGED.render()
    STAGED.with_rule_removed("filter", "FORWARD", 1)
    STAGED.with_policy("filter", "FORWARD", "ACCEPT")
    assert STAGED.render() == before


@given(rulesets(), st.data())
def test_removing_and_inserting_again_changes_nothing(ruleset, data):
    places = [place for place, _ in ruleset.rules()]
    if not places:
        return
    place = data.draw(st.sampled_from(places))
    where = (place.table, place.chain, place.number)
    assert ruleset.with_rule_removed(*where).with_rule_inserted(*where, ruleset.rule(place)) == ruleset


@pytest.mark.parametrize(
    "edit",
    [
        lambda: STAGED.with_rule_removed("filter", "FORWARD", 0),
        lambda: STAGED.with_rule_removed("filter", "FORWARD", 4),
        lambda: STAGED.with_rule_inserted("filter", "FORWARD", 5, "-j DROP"),
        lambda: STAGED.with_rule_inserted("filter", "FORWARD", 0, "-j DROP"),
        lambda: STAGED.with_rule_inserted("filter", "NOWHERE", 1, "-j DROP"),
        lambda: STAGED.with_rules_swapped("filter", "FORWARD", 1, 4),
        lambda: STAGED.with_policy("nat", "OUTPUT", "DROP"),
    ],
)
def test_an_edit_of_what_is_not_there_is_refused(edit):
    with pytest.raises(NoSuchPlace):
        edit()


def test_a_rule_written_for_another_chain_is_refused_as_text():
    with pytest.raises(RulesetSyntaxError, match="expected a rule for chain FORWARD"):
        STAGED.with_rule_inserted("filter", "FORWARD", 1, "-A INPUT -j DROP")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Chain("FORWARD", "REJECT"), "neither ACCEPT nor DROP"),
        (lambda: Chain("FORWARD", None, (Rule("INPUT"),)), "its rule 1 is written for chain INPUT"),
        (lambda: Chain("a b"), "no chain name"),
        (lambda: Table("broute"), "no table 'broute'"),
        (lambda: Table("filter", (Chain("A"), Chain("B"), Chain("A"))), "has chain A twice"),
        (lambda: Table("filter", (Chain("DOCKER", "DROP"),)), "DOCKER is a user's chain"),
        (lambda: Ruleset("ipv4", (Table("nat"), Table("nat"))), "has table nat twice"),
        (lambda: Ruleset("ip"), "neither ipv4 nor ipv6"),
    ],
)
def test_what_cannot_be_cannot_be_made(make, message):
    with pytest.raises(RulesetError, match=message):
        make()


def test_errors_are_the_fault_of_the_input():
    assert issubclass(RulesetError, InputError)
    for error in (RulesetSyntaxError, NoSuchPlace, CountersNotComparable):
        assert issubclass(error, RulesetError)


def counted(forward: str, rule_2: str, rule_3: str) -> Ruleset:
    return Ruleset.parse(
        f"*filter\n:FORWARD DROP {forward}\n:X - [0:0]\n[0:0] -A FORWARD -j X\n{rule_2} -A FORWARD -i a\n"
        f"{rule_3} -A X -o b -j DROP\nCOMMIT\n"
    )


def test_counters_name_what_decided():
    before, after = counted("[5:500]", "[3:252]", "[0:0]"), counted("[6:584]", "[3:252]", "[2:168]")
    assert after.counters_since(before) == {
        RulePlace("filter", "FORWARD", 0): Counters(1, 84),
        RulePlace("filter", "X", 1): Counters(2, 168),
    }
    assert after.counters_since(after) == {}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            counted("[5:5]", "[1:1]", "[0:0]"),
            counted("[4:4]", "[1:1]", "[0:0]"),
            "policy counted .* was reset",
        ),
        (
            counted("[5:5]", "[1:1]", "[0:0]"),
            counted("[5:5]", "[1:0]", "[0:0]"),
            "rule:2 counted .* was reset",
        ),
        (counted("[5:5]", "", "[0:0]"), counted("[5:5]", "[1:1]", "[0:0]"), "rule:2 has no counters"),
        (counted("", "[1:1]", "[0:0]"), counted("", "[1:1]", "[0:0]"), "policy has no counters"),
        (STAGED, counted("[5:5]", "[1:1]", "[0:0]"), "the rules changed"),
    ],
)
def test_counters_that_do_not_belong_together_are_refused(before, after, message):
    with pytest.raises(CountersNotComparable, match=message):
        after.counters_since(before)


def test_equality_is_about_what_rules_say():
    plain, counting = Rule.parse("-A X -s ! 1.1.1.1"), Rule.parse("[5:6] -A X ! -s 1.1.1.1")
    assert plain == counting
    assert hash(plain) == hash(counting)
    assert plain != Rule.parse("-A X -s 1.1.1.1")


@given(rulesets())
def test_a_ruleset_can_be_sent_to_another_process(ruleset):
    copy = pickle.loads(pickle.dumps(ruleset))  # noqa: S301 - our own bytes
    assert copy == ruleset
    assert copy.render(counters=True) == ruleset.render(counters=True)
    assert [copy.table(table.name) for table in ruleset.tables] == list(ruleset.tables)
