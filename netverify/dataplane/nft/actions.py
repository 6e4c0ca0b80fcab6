"""What the statements of an nftables rule do, one by one: tests, effects, choices.

Sources: nft(8), net/netfilter/nft_{ct,meta,payload,lookup,limit,quota}.c of Linux 6.x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from netverify.dataplane.condition import ALWAYS, Condition, Not, Unknown
from netverify.dataplane.nft.context import Context
from netverify.dataplane.nft.fields import ALL_BITS, TRACKED, key, worked
from netverify.dataplane.nft.keys import NotModelled, Number
from netverify.dataplane.nft.lookups import Found, comparison, found_in, values_of
from netverify.dataplane.nft.steps import Choose, Counted, Do, Need, Step
from netverify.dataplane.nft.translations import rejected, translated
from netverify.dataplane.rewrite import Bits, CopyBits, Untrack
from netverify.dataplane.targets import Verdict
from netverify.ruleset import nft_statements as said
from netverify.ruleset.nft_expressions import (
    Ct,
    Expression,
    Meta,
    Payload,
    Verbatim,
)
from netverify.ruleset.nft_expressions import Verdict as SaidVerdict


def steps(statement: said.Statement, context: Context) -> Iterator[Step]:
    """What a statement means, as steps that are taken one after the other."""
    match statement:
        case said.Comparison():
            yield Need(comparison(statement, context), str(statement))
        case said.Count(name=None):
            yield Counted()
        case said.Count() | said.Xt(type="watcher"):
            return
        case SaidVerdict():
            yield _verdict(statement)
        case said.VerdictMap():
            yield from _verdict_map(statement, context)
        case said.Assignment():
            yield from _assigned(statement, context)
        case said.Nat():
            yield from translated(statement, context)
        case said.Reject():
            yield from rejected(statement, context)
        case said.NoTrack():
            # What has an entry keeps it (nft_notrack_eval).
            yield Do("notrack", rewrite=Untrack(), only_if=Not(TRACKED))
        case said.Xt(type="match"):
            yield Need(Unknown(f"{statement} ({context.place})"), str(statement))
        case said.Xt():
            yield Do(str(statement), not_modelled=str(statement))
        case Verbatim():
            yield from _verbatim(statement, context)


# --- verdicts ----------------------------------------------------------------------------------------------

_VERDICTS = {"accept": Verdict.ACCEPT, "drop": Verdict.DROP, "return": Verdict.RETURN}


def _verdict(verdict: SaidVerdict) -> Do:
    if verdict.chain is not None:
        return Do(str(verdict), callee=verdict.chain, goto=verdict.kind == "goto")
    return Do(str(verdict), ending=_VERDICTS.get(verdict.kind))  # `continue` is no ending


def _verdict_map(statement: said.VerdictMap, context: Context) -> Iterator[Step]:
    try:
        found = found_in(statement.key, statement.data, context)
    except NotModelled:
        yield Do(str(statement), not_modelled=str(statement))
        return
    yield Choose(tuple((each.condition, (_of_map(statement, each),)) for each in found))


def _of_map(statement: said.VerdictMap, found: Found) -> Do:
    words = f"{statement.key} {found.words} : {found.value}"
    if not isinstance(found.value, SaidVerdict):
        return Do(words, not_modelled=words)
    return replace(_verdict(found.value), words=words)


# --- writing -----------------------------------------------------------------------------------------------

_WITHOUT_EFFECT = frozenset(
    {"priority", "nftrace", "secmark", "rtclassid", "label", "helper", "event", "timeout"}
)
"""What rules may write without any rule or the routing here asking for it."""


def _assigned(statement: said.Assignment, context: Context) -> Iterator[Step]:
    target = statement.key
    if isinstance(target, Meta | Ct) and target.key in _WITHOUT_EFFECT:
        return
    if not isinstance(target, Meta | Ct | Payload) and not _is_option(target):
        yield Do(str(statement), not_modelled=str(statement))
        return
    if not isinstance(target, Meta | Ct | Payload):
        return  # of TCP, such as the size of its segments: nothing here asks for that
    try:
        written = key(target, context)
        if type(written) is not Number:
            raise NotModelled
        found = values_of(statement.value, context)
        branches = tuple(
            (each.condition, _written(statement, written, each.value, context)) for each in found
        )
    except NotModelled:
        yield Do(str(statement), not_modelled=str(statement))
        return
    # A mark is written only where there is a connection, and the rule goes on without (nft_ct_set_eval).
    if written.guard not in (ALWAYS, TRACKED):
        yield Need(written.guard, str(target))
    if len(branches) == 1 and branches[0][0] == ALWAYS:
        needed = _needed(statement.value, context)
        if needed not in (ALWAYS, written.guard if isinstance(target, Payload) else ALWAYS):
            yield Need(needed, str(statement.value))
        yield from branches[0][1]
    else:
        yield Choose(branches)


def _is_option(target: Expression) -> bool:
    return isinstance(target, Verbatim) and target.name in ("tcp option", "ip option", "exthdr")


def _needed(value: Expression, context: Context) -> Condition:
    """What must hold for the written value to be there."""
    if isinstance(value, int | str):
        return ALWAYS
    origin, _mask, _flipped = worked(value, context)
    return ALWAYS if origin is None else origin.guard


def _written(
    statement: said.Assignment, target: Number, value: Expression, context: Context
) -> tuple[Do, ...]:
    """Writing a constant, the field's own changed bits, or one mark into the other."""
    words = str(statement)
    ones = (1 << target.bits) - 1
    try:
        constant = target.number(value)
    except NotModelled:
        origin, mask, flipped = worked(value, context)
        if origin is None or origin.offset or target.offset:
            raise
        if origin == target:
            return (_bits(words, target, ones & ~mask, flipped),)
        if not {origin.field, target.field} <= {"mark", "connmark"}:
            raise
        copied = Do(words, rewrite=CopyBits(target.field, origin.field, ALL_BITS, mask))
        return (copied, _bits(words, target, 0, flipped)) if flipped else (copied,)
    return (_bits(words, target, ones, constant & ones),)


def _bits(words: str, target: Number, clear: int, value: int) -> Do:
    return Do(words, rewrite=Bits(target.field, clear << target.shift, value << target.shift))


# --- the others --------------------------------------------------------------------------------------------


def _verbatim(statement: Verbatim, context: Context) -> Iterator[Step]:
    make = _OTHERS.get(statement.name)
    if make is not None:
        yield from make(statement, context)
    else:
        yield Need(Unknown(statement.text, usual=True), statement.text)


def _not_modelled(statement: Verbatim, _context: Context) -> Iterator[Step]:
    yield Do(statement.text, not_modelled=statement.text)


def _unread(statement: Verbatim, _context: Context) -> Iterator[Step]:
    """A comparison with parts that nobody here can read."""
    yield Need(Unknown(statement.text), statement.text)


def _kept_within(statement: Verbatim, context: Context) -> Iterator[Step]:
    """A rate, an amount or a number of connections: usually kept within, so that `over` usually fails."""
    value = statement.to_json()
    inner = value.get(statement.name) if isinstance(value, dict) else None
    over = isinstance(inner, dict) and bool(inner.get("inv"))
    own = f" ({context.place})"
    if isinstance(inner, str):  # an object of the table, which several rules share
        over, own = _object_is_over(statement.name, inner, context), ""
    yield Need(Unknown(f"{statement.name} {_inner_text(inner)}{own}", usual=not over), statement.text)


def _inner_text(inner: object) -> str:
    if isinstance(inner, dict):
        return " ".join(f"{name} {value}" for name, value in sorted(inner.items()) if name != "inv") + (
            " exceeded" if inner.get("inv") else ""
        )
    return str(inner)


def _object_is_over(kind: str, name: str, context: Context) -> bool:
    for other in context.table.others:
        value = other.to_json()
        told = value.get(kind) if isinstance(value, dict) else None
        if isinstance(told, dict) and told.get("name") == name:
            return bool(told.get("inv"))
    return False


def _remembered(statement: Verbatim, context: Context) -> Iterator[Step]:
    """An element is added to a set; a statement with it, such as a limit, may end the rule."""
    value = statement.to_json()
    inner = value.get(statement.name) if isinstance(value, dict) else None
    told = inner.get("stmt") if isinstance(inner, dict) else None
    if told:
        over = '"inv":true' in statement.text
        words = f"{statement.name} with what it keeps for each element ({context.place})"
        yield Need(Unknown(words, usual=not over), statement.text)


def _queue(statement: Verbatim, _context: Context) -> Iterator[Step]:
    yield Do(statement.text, ending=Verdict.QUEUE)


def _nothing(_statement: Verbatim, _context: Context) -> Iterator[Step]:
    yield from ()


_OTHERS: Mapping[str, Callable[[Verbatim, Context], Iterator[Step]]] = {
    "limit": _kept_within,
    "quota": _kept_within,
    "ct count": _kept_within,
    "connlimit": _kept_within,
    "set": _remembered,
    "map": _remembered,
    "meter": _remembered,
    "queue": _queue,
    "match": _unread,
    **dict.fromkeys(("tproxy", "synproxy", "fwd", "vmap", "mangle"), _not_modelled),
    **dict.fromkeys(
        # They write a message, a copy or a hint for later packets, and let this one go on.
        ("log", "flow", "dup", "ct helper", "ct timeout", "ct expectation", "secmark", "last", "comment"),
        _nothing,
    ),
}


def written_sets(statement: said.Statement) -> Iterator[str]:
    """The sets that a statement adds elements to, or takes them from."""
    if isinstance(statement, Verbatim) and statement.name in ("set", "map", "meter"):
        value = statement.to_json()
        inner = value.get(statement.name) if isinstance(value, dict) else None
        for member in ("set", "map", "name"):
            name = inner.get(member) if isinstance(inner, dict) else None
            if isinstance(name, str):
                yield name.removeprefix("@")
