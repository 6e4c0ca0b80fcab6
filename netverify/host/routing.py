"""What `ip -j -d route show table all` and `ip -j -d rule` print (ip-route(8), ip-rule(8))."""

from __future__ import annotations

from dataclasses import dataclass

from netverify.host.cursor import Address, Cursor, Network

MAIN = "main"


@dataclass(frozen=True)
class HostRoute:
    """One route. `table` is its name or number as text; `hops` is how many next hops it spreads packets over.

    Where it has several, gateway and device are those of the first.
    """

    destination: Network
    kind: str = "unicast"
    gateway: Address | None = None
    device: str | None = None
    source: Address | None = None
    table: str = MAIN
    metric: int = 0
    hops: int = 1
    by_kernel: bool = False


@dataclass(frozen=True)
class HostRule:
    """One rule of routing. `version` is None where the file does not say for which IP version it is.

    `strange` names what it asks or does besides, which nothing here understands.
    """

    priority: int
    table: str
    version: int | None = None
    source: Network | None = None
    destination: Network | None = None
    in_interface: str | None = None
    mark: int = 0
    mark_mask: int = 0
    inverted: bool = False
    strange: tuple[str, ...] = ()


_UNDERSTOOD = frozenset(
    {"priority", "table", "family", "src", "srclen", "dst", "dstlen", "iif", "fwmark", "fwmask", "not"}
    | {"protocol", "action"}
)


def read_routes(document: Cursor) -> tuple[HostRoute, ...]:
    """The routes of route.json, those of table `local` included. Raises SnapshotError."""
    return tuple(_route(member) for member in document.items() if member.typed(dict))


def read_rules(document: Cursor) -> tuple[HostRule, ...]:
    """The rules of rule.json, by priority. Raises SnapshotError."""
    found = (_rule(member) for member in document.items() if member.typed(dict))
    return tuple(sorted(found, key=lambda rule: rule.priority))


def _route(route: Cursor) -> HostRoute:
    hops = list(route.at("nexthops").items()) if route.has("nexthops") else []
    first = hops[0] if hops else route
    gateway = None
    if first.has("gateway"):
        gateway = first.at("gateway").address()
    elif first.has("via"):  # a gateway of another family (RFC 8950)
        gateway = first.at("via").at("host").address()
    source = route.at("prefsrc").address() if route.has("prefsrc") else None
    # A default route names no family: a gateway or a source does, else `pref`, which only IPv6 has.
    version = 6 if route.has("pref") else source.version if source else gateway.version if gateway else 4
    dead = any(flag.value == "dead" for flag in first.at("flags").items()) if first.has("flags") else False
    return HostRoute(
        route.at("dst").network(version),
        "dead" if dead else route.text("type", "unicast"),
        gateway,
        first.text("dev", "") or None,
        source,
        _name(route, "table"),
        route.number("metric", 0),
        max(1, len(hops)),
        route.text("protocol", "") == "kernel",
    )


def _rule(rule: Cursor) -> HostRule:
    version = {"inet": 4, "inet6": 6}.get(rule.text("family", ""))
    strange = sorted(set(rule.typed(dict)) - _UNDERSTOOD)
    action = rule.text("action", "to_tbl")
    if action not in ("to_tbl", "lookup"):
        strange.append(f"action {action}")
    mark = rule.number("fwmark", 0)
    return HostRule(
        rule.number("priority"),
        _name(rule, "table"),
        version,
        _network(rule, "src", version),
        _network(rule, "dst", version),
        rule.text("iif", "") or None,
        mark,
        rule.number("fwmask", 0xFFFFFFFF) if rule.has("fwmark") else 0,
        "not" in rule.typed(dict),
        tuple(strange),
    )


def _network(rule: Cursor, key: str, version: int | None) -> Network | None:
    if not rule.has(key) or rule.at(key).value == "all":
        return None
    if rule.has(f"{key}len"):
        length = rule.number(f"{key}len")
        return rule.at(key).interface(length).network
    return rule.at(key).network(version)


def _name(given: Cursor, key: str) -> str:
    """A table, by name or number."""
    if not given.has(key):
        return MAIN
    value = given.at(key)
    if isinstance(value.value, int):
        return str(value.value)
    name: str = value.typed(str)
    return name
