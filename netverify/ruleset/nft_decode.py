"""Expressions and statements of nft from JSON, as tables: the JSON's key -> how its value is read.

A reader returns None when the value is not exactly what it knows, and then the whole is kept `Verbatim`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType, UnionType
from typing import Any, TypeVar

from netverify.ruleset.counters import Counters
from netverify.ruleset.nft_expressions import (
    AnonymousSet,
    Concatenation,
    Ct,
    Element,
    Expression,
    Fib,
    Flags,
    Json,
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
    canonical,
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

_OPERATORS = frozenset({"==", "!=", "<", ">", "<=", ">=", "in", "!"})
_VERDICTS = ("accept", "drop", "continue", "return")
_NAT = ("snat", "dnat", "masquerade", "redirect")


Read = TypeVar("Read")

_Fields = dict[str, Any]
"""The members of a JSON object whose keys and types have been checked."""


def expression(value: Json) -> Expression:
    """An expression from JSON; `Verbatim` if it is none that is modelled."""
    if isinstance(value, str):
        return SetReference(value[1:]) if value.startswith("@") and len(value) > 1 else value
    if isinstance(value, bool):
        return Presence(value)
    if isinstance(value, int):
        return value
    if isinstance(value, list):
        return Flags(_expressions(value))
    return _by_name(value, _EXPRESSIONS) or Verbatim.of(value)


def statement(value: Json) -> Statement:
    """A statement from JSON; `Verbatim` if it is none that is modelled."""
    return _by_name(value, _STATEMENTS) or Verbatim.of(value)


def map_element(value: Json) -> Expression:
    """An element of a map, which is a pair of key and value; `Verbatim` if it is not."""
    pair = _pair(value)
    return Verbatim.of(value) if pair is None else Pair(*pair)


def members(value: Json, /, **types: type | UnionType) -> _Fields | None:
    """The members of an object with exactly these keys, of these types; None if it is anything else.

    A key whose type allows None may be missing and is None then; `object` stands for any value, which must be
    there.
    """
    if not isinstance(value, dict) or any(key not in types for key in value):
        return None
    read: _Fields = {}
    for key, allowed in types.items():
        member = value.get(key)
        if allowed is object:
            if key not in value:
                return None
        elif not isinstance(member, allowed) or isinstance(member, bool) or (member is None and key in value):
            return None
        read[key] = member
    return read


def words(value: Json) -> tuple[str, ...] | None:
    """One word, or a list of words, as a tuple; an empty tuple for nothing; None if it is something else."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        return None
    found = tuple(word for word in value if isinstance(word, str))
    return found if len(found) == len(value) else None


def _by_name(value: Json, readers: Mapping[str, Callable[[Json], Read | None]]) -> Read | None:
    if not isinstance(value, dict) or len(value) != 1:
        return None
    [(name, inner)] = value.items()
    return readers[name](inner) if name in readers else None


def _expressions(values: list[Json]) -> tuple[Expression, ...]:
    return tuple(map(expression, values))


def _pair(value: Json) -> tuple[Expression, Expression] | None:
    return (
        (expression(value[0]), expression(value[1])) if isinstance(value, list) and len(value) == 2 else None
    )


def _payload(value: Json) -> Expression | None:
    if named := members(value, protocol=str, field=str):
        return Payload(named["protocol"], named["field"])
    if raw := members(value, base=str, offset=int, len=int):
        return RawPayload(raw["base"], raw["offset"], raw["len"])
    return None


def _meta(value: Json) -> Expression | None:
    read = members(value, key=str)
    return Meta(read["key"]) if read else None


def _ct(value: Json) -> Expression | None:
    read = members(value, key=str, dir=str | None, family=str | None)
    return Ct(read["key"], read["dir"], read["family"]) if read else None


def _fib(value: Json) -> Expression | None:
    read = members(value, result=str, flags=str | list)
    flags = words(read["flags"]) if read else None
    return Fib(read["result"], flags) if read and flags else None


def _prefix(value: Json) -> Expression | None:
    read = members(value, addr=object, len=int)
    return Prefix(expression(read["addr"]), read["len"]) if read else None


def _range(value: Json) -> Expression | None:
    pair = _pair(value)
    return Range(*pair) if pair else None


def _concatenation(value: Json) -> Expression | None:
    return Concatenation(_expressions(value)) if isinstance(value, list) else None


def _set(value: Json) -> Expression | None:
    return AnonymousSet(_expressions(value)) if isinstance(value, list) else None


def _map_data(value: Json) -> Expression:
    """What a lookup is made in: the name of a map, or a set of pairs."""
    read = members(value, set=list)
    return AnonymousSet(tuple(map(map_element, read["set"]))) if read else expression(value)


def _map(value: Json) -> Expression | None:
    read = members(value, key=object, data=object)
    return MapLookup(expression(read["key"]), _map_data(read["data"])) if read else None


def _element(value: Json) -> Expression | None:
    if not isinstance(value, dict) or "val" not in value:
        return None
    state = {key: member for key, member in value.items() if key not in ("val", "timeout", "comment")}
    told = {key: member for key, member in value.items() if key in ("timeout", "comment")}
    read = members(told, timeout=int | None, comment=str | None)
    return Element(expression(value["val"]), **read, state=canonical(state)) if read else None


def _operation(operator: str) -> Callable[[Json], Expression | None]:
    def read(value: Json) -> Expression | None:
        return Operation(operator, _expressions(value)) if isinstance(value, list) else None

    return read


def _verdict(kind: str) -> Callable[[Json], Verdict | None]:
    def read(value: Json) -> Verdict | None:
        return Verdict(kind) if value is None else None

    return read


def _jump(kind: str) -> Callable[[Json], Verdict | None]:
    def read(value: Json) -> Verdict | None:
        found = members(value, target=str)
        return Verdict(kind, found["target"]) if found else None

    return read


def _comparison(value: Json) -> Statement | None:
    read = members(value, op=str, left=object, right=object)
    if not read or read["op"] not in _OPERATORS:
        return None
    return Comparison(read["op"], expression(read["left"]), expression(read["right"]))


def _verdict_map(value: Json) -> Statement | None:
    read = members(value, key=object, data=object)
    return VerdictMap(expression(read["key"]), _map_data(read["data"])) if read else None


def _count(value: Json) -> Statement | None:
    if value is None:
        return Count()
    if isinstance(value, str):
        return Count(name=value)
    read = members(value, packets=int, bytes=int)
    if not read or min(read.values()) < 0 or max(read.values()) >> 64:
        return None
    return Count(Counters(**read))


def _assignment(value: Json) -> Statement | None:
    read = members(value, key=object, value=object)
    return Assignment(expression(read["key"]), expression(read["value"])) if read else None


def _nat(kind: str) -> Callable[[Json], Statement | None]:
    def read(value: Json) -> Statement | None:
        if value is None:
            return Nat(kind)
        if not isinstance(value, dict):
            return None
        address, port = (expression(value[key]) if key in value else None for key in ("addr", "port"))
        rest = {key: member for key, member in value.items() if key not in ("addr", "port")}
        told = members(rest, family=str | None, flags=str | list | None, type_flags=str | list | None)
        if told is None:
            return None
        flags, type_flags = words(told["flags"]), words(told["type_flags"])
        if flags is None or type_flags is None:
            return None
        return Nat(kind, address, port, told["family"], flags, type_flags)

    return read


def _reject(value: Json) -> Statement | None:
    if value is None:
        return Reject()
    if not isinstance(value, dict):
        return None
    code = expression(value["expr"]) if "expr" in value else None
    told = members({key: member for key, member in value.items() if key != "expr"}, type=str | None)
    return Reject(told["type"], code) if told else None


def _no_track(value: Json) -> Statement | None:
    return NoTrack() if value is None else None


def _xt(value: Json) -> Statement | None:
    read = members(value, type=str, name=str)
    return Xt(read["type"], read["name"]) if read else None


_BOTH: dict[str, Callable[[Json], Verdict | None]] = {
    **{kind: _verdict(kind) for kind in _VERDICTS},
    **{kind: _jump(kind) for kind in ("jump", "goto")},
}

_EXPRESSIONS: Mapping[str, Callable[[Json], Expression | None]] = MappingProxyType(
    {
        "payload": _payload,
        "meta": _meta,
        "ct": _ct,
        "fib": _fib,
        "prefix": _prefix,
        "range": _range,
        "concat": _concatenation,
        "set": _set,
        "map": _map,
        "elem": _element,
        **{operator: _operation(operator) for operator in ("&", "|", "^", "<<", ">>")},
        **_BOTH,
    }
)

_STATEMENTS: Mapping[str, Callable[[Json], Statement | None]] = MappingProxyType(
    {
        "match": _comparison,
        "vmap": _verdict_map,
        "counter": _count,
        "mangle": _assignment,
        **{kind: _nat(kind) for kind in _NAT},
        "reject": _reject,
        "notrack": _no_track,
        "xt": _xt,
        **_BOTH,
    }
)
