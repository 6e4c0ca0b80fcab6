"""Damaged dumps of nftables: an error with line and column, never a crash, a hang or a loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netverify.ruleset import NftRuleset, RulesetSyntaxError
from netverify.ruleset.json_document import DEEPEST
from tests.strategies.ruleset_nft import JSON

DOCKER = (Path(__file__).parent / "nft_samples" / "docker_bridges.json").read_text()


def dump(*objects: str) -> str:
    return '{"nftables": [\n' + ",\n".join(objects) + "\n]}"


TABLE = '{"table": {"family": "ip", "name": "t"}}'
CHAIN = '{"chain": {"family": "ip", "table": "t", "name": "c"}}'


CHAIN_C = '{"chain": {"family": "ip", "table": "t", "name": "c", '
RULE_OF_C = '{"rule": »{"family": "ip", "table": "t", "chain": "c"'
SET_S = '{"family": "ip", "table": "t", "name": "s", "type": "mark"'


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("»", "JSON"),
        ("{»", "JSON"),
        ("»[]", "an object"),
        ("»{}", "the key 'nftables'"),
        ('{"nftables": »5}', "a list"),
        ('{"nftables": [»5]}', "an object with one key"),
        ('{"nftables": [»{"table": {}, "chain": {}}]}', "an object with one key"),
        ('{"nftables": [{"table": »[]}]}', "an object"),
        ('{"nftables": [{"metainfo": {"version": »1}}]}', "a text"),
        (dump('{"table": »{"family": "ip"}}'), "the key 'name': a text"),
        (dump('{"table": {"family": "ip", "name": »""}}'), "a text"),
        (dump('{"table": {"family": »"ipx", "name": "t"}}'), "one of ip, ip6, inet"),
        (dump('{"table": {"family": "ip", "name": "t", "handle": »"x"}}'), "a number"),
        (dump('{"table": {"family": "ip", "name": "t", "flags": »5}}'), "a text or a list of texts"),
        (dump(TABLE, TABLE.replace('"t"', '»"t"')), "each table once"),
        (dump(CHAIN.replace('"t"', '»"t"')), "a table of family ip that stands before"),
        (dump(TABLE, CHAIN, CHAIN.replace('"c"', '»"c"')), "each chain once"),
        (dump(TABLE, CHAIN_C.replace(": {", ": »{") + '"hook": "input", "type": "x"}}'), "the key 'prio'"),
        (
            dump(TABLE, CHAIN_C + '"hook": "input", "type": "x", "prio": 0, "policy": »"no"}}'),
            "accept or drop",
        ),
        (
            dump(TABLE, RULE_OF_C.replace("»", "").replace('"c"', '»"c"') + ', "expr": []}}'),
            "a chain of table t",
        ),
        (dump(TABLE, CHAIN, RULE_OF_C + "}}"), "the key 'expr'"),
        (dump(TABLE, CHAIN, RULE_OF_C.replace("»", "") + ', "expr": »5}}'), "a list"),
        (dump(TABLE, '{"set": ' + SET_S.replace('"mark"', "»5") + "}}"), "a text or a list of texts"),
        (dump(TABLE, '{"set": ' + SET_S + ', "elem": »5}}'), "a list"),
        (dump(TABLE, '{"map": »' + SET_S + "}}"), "the key 'map'"),
        (dump(TABLE, '{"quota": {"family": "ip", "table": »"u", "name": "q"}}'), "a table of family ip"),
        ('»{"nftables": [], "nftables": []}', "the key 'nftables' only once"),
        (dump('{"planet": {"a": »{"x": 1,\n "x": 2}}}'), "the key 'x' only once"),
        (dump('{"planet": [1, »2.5]}'), "a whole number"),
        (dump('{"planet": [»NaN]}'), "a whole number"),
        (dump('{"planet": [1, »' + "9" * 21 + "]}"), "a whole number of at most 20 digits"),
        (dump('{"planet": [' + "9" * 5000 + ", »2.5]}"), "a whole number of at most 20 digits"),
    ],
)
def test_errors_say_line_and_column(marked, expected):
    """The mark » stands before what is wrong."""
    before, _, after = marked.partition("»")
    with pytest.raises(RulesetSyntaxError) as raised:
        NftRuleset.parse(before + after)
    lines = before.split("\n")
    assert (raised.value.line, raised.value.column) == (len(lines), len(lines[-1]) + 1)
    assert expected in raised.value.expected
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("levels", [DEEPEST + 1, 1000, 100_000])
@pytest.mark.parametrize("shape", [("[", "]"), ("[", ""), ('{"a":', "}"), ('[{"[[": ', "}]")])
def test_nesting_has_an_end(levels, shape):
    opened, closed = shape
    with pytest.raises(RulesetSyntaxError, match=f"at most {DEEPEST} levels"):
        NftRuleset.parse(opened * levels + "1" + closed * levels)


def test_brackets_in_texts_are_no_nesting():
    comment = json.dumps("[" * 500)
    rule = f'{{"rule": {{"family": "ip", "table": "t", "chain": "c", "expr": [], "comment": {comment}}}}}'
    ruleset = NftRuleset.parse(dump(TABLE, CHAIN, rule))
    assert ruleset.table("ip", "t").chain("c").rule(1).comment == "[" * 500


@pytest.mark.parametrize("length", range(1, len(DOCKER) - 2, 97))
def test_a_truncated_dump_is_an_error(length):
    with pytest.raises(RulesetSyntaxError):
        NftRuleset.parse(DOCKER[:length])


def parsed(text: str) -> NftRuleset | RulesetSyntaxError:
    try:
        return NftRuleset.parse(text)
    except RulesetSyntaxError as error:
        return error


def check(text: str) -> None:
    read = parsed(text)
    if isinstance(read, NftRuleset):
        assert NftRuleset.parse(read.render()) == read
    else:
        lines = text.split("\n")
        assert 1 <= read.line <= len(lines)
        assert 1 <= read.column <= len(lines[read.line - 1]) + 1


@given(st.data())
def test_a_damaged_dump_is_an_error_or_a_ruleset(data):
    start = data.draw(st.integers(0, len(DOCKER)))
    end = data.draw(st.integers(start, min(len(DOCKER), start + 60)))
    check(
        DOCKER[:start]
        + data.draw(st.sampled_from(["", '"', "{", "]", "null", "5", ",", "\\"]))
        + DOCKER[end:]
    )


@given(st.text())
def test_any_text_is_an_error_or_a_ruleset(text):
    check(text)


@given(st.lists(st.tuples(st.sampled_from(["table", "chain", "rule", "set", "map", "x"]), JSON)))
def test_any_json_is_an_error_or_a_ruleset(objects):
    check(json.dumps({"nftables": [{kind: value} for kind, value in objects]}))


@given(
    JSON, st.sampled_from(["family", "table", "name", "chain", "expr", "hook", "prio", "type", "elem", "map"])
)
def test_any_value_of_an_attribute_is_an_error_or_kept(value, key):
    for kind in ("table", "chain", "rule", "set", "map"):
        told = {
            "family": "ip",
            "table": "t",
            "name": "n",
            "chain": "c",
            "expr": [],
            "type": "mark",
            "map": "mark",
        }
        check(dump(TABLE, CHAIN, json.dumps({kind: {**told, key: value}})))
