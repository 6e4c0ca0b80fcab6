"""What `fib` asks: the type of an address, and which device leads back to it.

Sources: net/ipv{4,6}/netfilter/nft_fib_ipv{4,6}.c of Linux 6.x. Both are near to what iptables' addrtype and
rpfilter ask, whose conditions are taken where they are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from netverify.dataplane.condition import NEVER, All, AnyOf, Condition, Named, Not, all_of
from netverify.dataplane.matches.addresses import addrtype, local_table4, rpfilter
from netverify.dataplane.matches.meaning import Context as MatchContext
from netverify.dataplane.matches.meaning import NotModelled as MatchNotModelled
from netverify.dataplane.matches.meaning import in_networks
from netverify.dataplane.nft import numbers
from netverify.dataplane.nft.context import Context
from netverify.dataplane.nft.keys import Chosen, Found, Key, NotModelled
from netverify.dataplane.view import DEFAULT_RULES
from netverify.ruleset import Match, Option
from netverify.ruleset.nft_expressions import Expression, Fib


def fib(expression: Fib, context: Context) -> Key:
    """What a lookup in the routing says. Raises NotModelled."""
    flags = frozenset(expression.flags)
    if expression.result == "type":
        return _address_type(flags, context)
    if "saddr" not in flags or "oif" in flags or expression.result not in ("oif", "oifname"):
        raise NotModelled
    options = [Option("loose")] if "iif" not in flags else []
    options += [Option("validmark")] if "mark" in flags else []
    if "mark" in flags and any(rule.mark_mask for rule in context.host.rules_of(context.version)):
        raise NotModelled  # the mark decides which table is asked
    back = rpfilter(Match("rpfilter", tuple(options)), _match_context(context))
    if context.version == 4:
        back = AnyOf((back, _from_broadcast(context, by_device="iif" in flags)))
    return Found(back, "in_interface" if "iif" in flags else "")


def _from_broadcast(context: Context, *, by_device: bool) -> Condition:
    """A source that is a network's broadcast address has a way back for nft_fib, though not for rpfilter."""
    found: list[Condition] = []
    for entry in local_table4(context.host):
        if entry.kind == "broadcast":
            here = in_networks("source", [entry.network])
            found.append(All((here, Named("in_interface", entry.device))) if by_device else here)
    return AnyOf(tuple(found))


def _address_type(flags: frozenset[str], context: Context) -> Key:
    """The type that routing gives an address (nft_fib4_eval_type, nft_fib6_eval_type)."""
    side = "dst-type" if "daddr" in flags else "src-type"
    limit = "limit-iface-in" if "iif" in flags else "limit-iface-out" if "oif" in flags else ""
    made = _types4 if context.version == 4 else _types6
    words = {name: number for number, name in enumerate(numbers.FIB_TYPES)}
    cases = tuple(
        (words[name], condition) for name, condition in made(side, limit, context).items() if name in words
    )
    return _Typed("", 8, words=words, cases=cases)


@dataclass(frozen=True)
class _Typed(Chosen):
    """The type of an address; a type that is not known here makes the whole comparison unknown."""

    def number(self, value: Expression) -> int:
        """See Number."""
        number = super().number(value)
        if number not in dict(self.cases):
            raise NotModelled
        return number


def _types4(side: str, limit: str, context: Context) -> Mapping[str, Condition]:
    return {name: _addrtype(name, side, limit, context) for name in numbers.FIB_TYPES}


def _types6(side: str, limit: str, context: Context) -> Mapping[str, Condition]:
    """IPv6 asks the whole routing: a route that refuses comes first, then its own and anycast addresses."""
    own = context
    if context.host.rules_of(6)[:1] == DEFAULT_RULES[:1]:  # `local` is asked first, whatever comes then
        own = replace(context, host=replace(context.host, routing_rules=DEFAULT_RULES))
    refused = _addrtype("unreachable", side, "", context)
    anycast = _addrtype("anycast", side, "", own)
    local = _addrtype("local", side, limit, own)
    multicast = _addrtype("multicast", side, "", own)
    others = (refused, anycast, local, multicast)
    unicast = _addrtype("unicast", side, "", context)
    found = {
        "anycast": anycast,
        "local": all_of((local, Not(anycast))),
        "multicast": all_of((multicast, Not(refused))),
        "unicast": all_of((unicast, *(Not(other) for other in others))),
    }
    found["broadcast"] = NEVER
    kinds = {route.kind for route in context.host.routes if route.destination.version == 6}
    if not kinds & {"blackhole", "prohibit"}:
        found |= {"unreachable": refused, "blackhole": NEVER, "prohibit": NEVER}
    return found


def _addrtype(name: str, side: str, limit: str, context: Context) -> Condition:
    options = [Option(side, (name.upper(),)), *([Option(limit)] if limit else [])]
    try:
        return addrtype(Match("addrtype", tuple(options)), _match_context(context))
    except MatchNotModelled as error:
        raise NotModelled from error


def _match_context(context: Context) -> MatchContext:
    return MatchContext(context.version, context.host, context.place)
