"""Strategies for the nftables part of the ruleset room: any JSON, and any ruleset that the model allows."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from netverify.ruleset import Counters, Hook, NftChain, NftRule, NftRuleset, NftSet, NftTable
from netverify.ruleset.nft import FAMILIES
from netverify.ruleset.nft_expressions import (
    AnonymousSet,
    Concatenation,
    Ct,
    Element,
    Expression,
    Fib,
    Flags,
    MapLookup,
    Meta,
    Operation,
    Pair,
    Payload,
    Prefix,
    Presence,
    Range,
    RawPayload,
    SetReference,
    Verbatim,
    Verdict,
)
from netverify.ruleset.nft_statements import (
    Assignment,
    Comparison,
    Count,
    Nat,
    NoTrack,
    Reject,
    Statement,
    VerdictMap,
    Xt,
)

NAMES = st.sampled_from(["a", "docker-bridges", "filter-forward-in__br0", "ö", 'say "x"', "INPUT"])
_WORDS = st.sampled_from(
    ["saddr", "dport", "tcp", "mark", "state", "type", "local", "eth*", "10.0.0.1", "x y"]
)
_NUMBERS = st.integers(0, (1 << 32) - 1)
_KEYS = st.sampled_from(
    ["match", "vmap", "payload", "meta", "ct", "fib", "set", "elem", "val", "key", "op", "left"]
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.text(max_size=6) | _WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)
"""Any JSON value without fractions, with the keys of nft more often than others."""


def _tuples(
    of: st.SearchStrategy[Expression], *, least: int = 1
) -> st.SearchStrategy[tuple[Expression, ...]]:
    return st.lists(of, min_size=least, max_size=3).map(tuple)


@cache
def verdicts() -> st.SearchStrategy[Verdict]:
    """All verdicts."""
    ends = st.sampled_from(["accept", "drop", "continue", "return"]).map(Verdict)
    return ends | st.builds(Verdict, st.sampled_from(["jump", "goto"]), NAMES)


def _pairs(
    key: st.SearchStrategy[Expression], value: st.SearchStrategy[Expression]
) -> st.SearchStrategy[Expression]:
    return st.lists(st.builds(Pair, key, value), max_size=3).map(tuple).map(AnonymousSet) | st.builds(
        SetReference, NAMES
    )


@cache
def expressions() -> st.SearchStrategy[Expression]:
    """Any expression that is modelled, and some that are not."""
    leaves = st.one_of(
        _WORDS,
        _NUMBERS,
        st.builds(Presence, st.booleans()),
        st.builds(Payload, _WORDS, _WORDS),
        st.builds(RawPayload, _WORDS, _NUMBERS, _NUMBERS),
        st.builds(Meta, _WORDS),
        st.builds(Ct, _WORDS, st.none() | _WORDS, st.none() | _WORDS),
        st.builds(Fib, _WORDS, st.lists(_WORDS, min_size=1, max_size=3).map(tuple)),
        st.builds(SetReference, NAMES),
        st.sampled_from([{"numgen": {"mod": 2}}, {"exthdr": {"name": "hbh"}}, {"meta": {"key": 5}}]).map(
            Verbatim.of
        ),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Prefix, inner, st.integers(0, 128)),
            st.builds(Range, inner, inner),
            st.builds(Flags, _tuples(inner)),
            st.builds(Concatenation, _tuples(inner)),
            st.builds(Operation, st.sampled_from(["&", "|", "^", "<<", ">>"]), _tuples(inner)),
            st.builds(AnonymousSet, _tuples(inner, least=0)),
            st.builds(Element, inner, st.none() | _NUMBERS, st.none() | _WORDS),
            st.builds(MapLookup, inner, _pairs(inner, inner)),
        ),
        max_leaves=6,
    )


@cache
def statements() -> st.SearchStrategy[Statement]:
    """Any statement that is modelled, and some that are not."""
    maybe = st.none() | expressions()
    words = st.lists(st.sampled_from(["random", "persistent", "fully-random"]), unique=True).map(tuple)
    counters = st.builds(Counters, _NUMBERS, _NUMBERS)
    nat_kinds = st.sampled_from(["snat", "dnat", "masquerade", "redirect"])
    return st.one_of(
        st.builds(Comparison, st.sampled_from(["==", "!=", "<", "in"]), expressions(), expressions()),
        st.builds(VerdictMap, expressions(), _pairs(expressions(), verdicts())),
        verdicts(),
        st.builds(Count, st.none() | counters),
        st.builds(Count, name=NAMES),
        st.builds(Assignment, expressions(), expressions()),
        st.builds(Nat, nat_kinds, maybe, maybe, st.none() | st.sampled_from(["ip", "ip6"]), words, words),
        st.builds(Reject, st.none() | _WORDS, maybe),
        st.just(NoTrack()),
        st.builds(Xt, st.sampled_from(["match", "target"]), NAMES),
        st.sampled_from([{"log": None}, {"limit": {"rate": 5}}, {"queue": {"num": 1}}]).map(Verbatim.of),
    )


@cache
def nft_rules() -> st.SearchStrategy[NftRule]:
    """Any rule."""
    told = st.lists(statements(), max_size=3).map(tuple)
    extra = st.sampled_from([(), (("position", "5"),)])
    return st.builds(NftRule, told, st.none() | NAMES, extra=extra)


@cache
def _sets() -> st.SearchStrategy[NftSet]:
    types = st.sampled_from([("ipv4_addr",), ("ipv4_addr", "inet_service"), ("ifname",)])
    flags = st.sampled_from([(), ("interval",), ("interval", "timeout")])
    common = {"flags": flags, "timeout": st.none() | _NUMBERS, "size": st.none() | _NUMBERS}
    pairs = st.lists(st.builds(Pair, expressions(), expressions() | verdicts()), max_size=3).map(tuple)
    values = st.sampled_from(["verdict", "ipv4_addr"])
    plain = st.builds(NftSet, NAMES, types, elements=_tuples(expressions(), least=0), **common)
    return plain | st.builds(NftSet, NAMES, types, values, elements=pairs, **common)


@cache
def nft_tables() -> st.SearchStrategy[NftTable]:
    """Any table."""
    hooks = st.builds(
        Hook,
        st.sampled_from(["filter", "nat", "route"]),
        st.sampled_from(["prerouting", "input", "forward", "output", "postrouting"]),
        st.integers(-400, 400),
        st.sampled_from(["accept", "drop", None]),
    )
    chains = st.builds(NftChain, NAMES, st.none() | hooks, st.lists(nft_rules(), max_size=2).map(tuple))
    unique = {"max_size": 2, "unique_by": lambda named: named.name}
    return st.builds(
        NftTable,
        st.sampled_from(FAMILIES),
        NAMES,
        st.lists(chains, **unique).map(tuple),
        st.lists(_sets(), **unique).map(tuple),
        st.sampled_from([(), ("dormant",)]),
    )


@cache
def nft_rulesets() -> st.SearchStrategy[NftRuleset]:
    """Any ruleset."""
    unique = st.lists(nft_tables(), max_size=2, unique_by=lambda table: (table.family, table.name))
    return st.builds(NftRuleset, unique.map(tuple))
