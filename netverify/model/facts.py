"""What a snapshot says of the host itself, as the dataplane's facts; and what it does not say.

Parts of a snapshot may be missing, and hosts have things that are not modelled. Both are noted as lacks, so
that no answer passes over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.ipset import IpSet, read_ipsets
from netverify.dataplane.view import DEFAULT as DEFAULT_TABLE
from netverify.dataplane.view import (
    DEFAULT_RULES,
    ROUTE_KINDS,
    HostView,
    Link,
    Route,
    RoutingRule,
    Service,
)
from netverify.dataplane.view import LOCAL as LOCAL_TABLE
from netverify.dataplane.view import MAIN as MAIN_TABLE
from netverify.docker import DockerError, Version
from netverify.docker.version import PROXY_ANSWERS_AS_ASKED
from netverify.host import HostSnapshot
from netverify.host.devices import Device
from netverify.host.engine import Engine
from netverify.host.plain import Listener
from netverify.host.routing import HostRoute, HostRule
from netverify.host.snapshot import LEGACY, NFT
from netverify.model.subject import Lack
from netverify.ruleset import NftRuleset, Ruleset, RulesetError, split_sources

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


@dataclass
class Book:
    """What was not collected or is not modelled, by namespace, and what was assumed instead."""

    notes: list[str] = field(default_factory=list)
    lacks: dict[str, list[Lack]] = field(default_factory=dict)

    def lack(self, node: str, part: str, reason: str, *versions: int) -> None:
        """Note a fact that nobody has."""
        self.lacks.setdefault(node, []).append(Lack(part, reason, versions or (4, 6)))


NEEDED: Mapping[str, tuple[int, ...]] = {
    "iptables-save.txt": (4,),
    "iptables-legacy-save.txt": (4,),
    "ip6tables-save.txt": (6,),
    "ip6tables-legacy-save.txt": (6,),
    "nft.json": (4, 6),
    "route.json": (4, 6),
    "rule.json": (4, 6),
    "sysctl.txt": (4, 6),
}
"""What everything that passes the host depends on, by IP version."""


class Tables:
    """Names and numbers of routing tables (rt_tables): those that nobody knows get numbers of their own."""

    def __init__(self) -> None:
        self._numbers = {"main": MAIN_TABLE, "local": LOCAL_TABLE, "default": DEFAULT_TABLE}

    def number(self, name: str) -> int:
        """The number of a table."""
        if name.isdecimal():
            return int(name)
        return self._numbers.setdefault(name, (1 << 32) + len(self._numbers))


def host_view(snapshot: HostSnapshot, name: str, book: Book) -> HostView:
    """The host, without the ports that its containers may need."""
    for part, versions in NEEDED.items():
        if part in snapshot.missing:
            book.lack(name, part, snapshot.missing[part], *versions)
    links = links_of(snapshot.devices)
    devices = {link.name for link in links}
    tables = Tables()
    routes = routes_of(name, snapshot.routes, devices, tables, book)
    rules = _routing_rules(snapshot, name, tables, book)
    iptables, nft, legacy = _filters(snapshot, name, book)
    sets = _ipsets(snapshot, name, (*iptables.values(), *legacy), book)
    return HostView(
        name,
        links,
        tuple(routes),
        rules,
        snapshot.sysctls,
        iptables[4],
        iptables[6],
        sets=sets,
        nft=nft,
        legacy=legacy,
    )


def routes_of(
    node: str, routes: Iterable[HostRoute], devices: set[str], tables: Tables, book: Book
) -> Iterator[Route]:
    """The routes of a namespace that do not follow from its addresses."""
    for route in routes:
        if route.table == "local" and (route.by_kernel or route.kind != "local"):
            continue  # follows from the addresses
        if route.kind not in ROUTE_KINDS or (route.kind == "unicast" and route.device is None):
            if route.kind not in ("dead", "multicast", "anycast"):
                book.lack(node, "route.json", f"a {route.kind} route to {route.destination} is not modelled")
            continue
        if route.device is not None and route.device not in devices:
            continue
        if route.hops > 1:
            hops = f"of {route.hops} next hops to {route.destination}"
            book.notes.append(f"{node}: {hops} the first is taken, {route.gateway}")
        yield Route(
            route.destination,
            route.gateway,
            route.device,
            route.source,
            route.kind,
            tables.number(route.table),
            route.metric,
        )


def _routing_rules(snapshot: HostSnapshot, node: str, tables: Tables, book: Book) -> tuple[RoutingRule, ...]:
    found = []
    for rule in snapshot.routing_rules:
        if rule.strange:
            what = ", ".join(rule.strange)
            book.lack(node, "rule.json", f"the rule of priority {rule.priority} has {what}: not modelled")
        found.append(_rule(rule, tables))
    both = [rule for rule in found if rule.version == 4 and replace(rule, version=6) in found]
    merged = (replace(rule, version=None) if replace(rule, version=4) in both else rule for rule in found)
    return tuple(dict.fromkeys(merged)) or DEFAULT_RULES


def _filters(
    snapshot: HostSnapshot, node: str, book: Book
) -> tuple[dict[int, Ruleset], NftRuleset, tuple[Ruleset, ...]]:
    """The rules of iptables by IP version; native nftables; legacy rules where both backends have some."""
    saved = {v: snapshot.rules[v, NFT] for v in (4, 6) if (v, NFT) in snapshot.rules}
    native = NftRuleset()
    if snapshot.nft is not None:
        try:
            sources = split_sources(snapshot.nft, saved.values())
        except RulesetError as error:
            book.lack(node, "nft.json", f"it does not fit the rules of iptables: {error}")
        else:
            native = sources.native
            saved = {4 if ruleset.family == "ipv4" else 6: ruleset for ruleset in sources.iptables}
    legacy = []
    for version in (4, 6):
        old = snapshot.rules.get((version, LEGACY))
        if old is None or _says_nothing(old):
            continue
        if version in saved and not _says_nothing(saved[version]):
            legacy.append(old)
        else:
            saved[version] = old
    return {v: saved.get(v, Ruleset("ipv4" if v == 4 else "ipv6")) for v in (4, 6)}, native, tuple(legacy)


def _ipsets(snapshot: HostSnapshot, node: str, rules: Iterable[Ruleset], book: Book) -> Mapping[str, IpSet]:
    if "ipset.txt" in snapshot.missing:
        if any(map(_asks_sets, rules)):
            book.lack(node, "ipset.txt", snapshot.missing["ipset.txt"])
        return {}
    try:
        return read_ipsets(snapshot.ipsets)
    except DataplaneError as error:
        book.lack(node, "ipset.txt", f"it cannot be read: {error}")
        return {}


def services_of(snapshot: HostSnapshot) -> tuple[Service, ...]:
    """The userland proxies: who listens as docker-proxy, and for which container."""
    proxies: dict[tuple[str, int], list[Listener]] = {}
    for each in snapshot.listeners:
        if each.program.startswith("docker-proxy"):
            proxies.setdefault((each.protocol, each.port), []).append(each)
    as_asked = _answers_as_asked(snapshot.engine)
    found = []
    for container in snapshot.containers:
        inner = [a for attachment in container.attachments for a in attachment.addresses]
        for port in container.publications:
            number = _PROTOCOLS.get(port.protocol)
            for proxy in proxies.get((port.protocol, port.host_port), ()):
                if number is None or port.host_address not in (None, proxy.address):
                    continue
                upstream = next((a.ip for a in inner if proxy.version in (None, a.version)), None)
                if upstream is not None:
                    target = (upstream, port.container_port)
                    place = (number, proxy.port, proxy.address, target, proxy.version)
                    found.append(Service(*place, answers_as_asked=as_asked))
    return tuple(dict.fromkeys(found))


def _answers_as_asked(engine: Engine | None) -> bool:
    """Whether its proxies answer UDP from the address asked; an engine that does not say is taken as new."""
    if engine is None or engine.program != "docker":
        return True
    try:
        return Version.parse(engine.version).has(PROXY_ANSWERS_AS_ASKED)
    except DockerError:
        return True


def links_of(devices: Iterable[Device]) -> tuple[Link, ...]:
    """Devices as the dataplane knows them; only ports of bridges have a master there."""
    devices = list(devices)
    bridges = {device.name for device in devices if device.kind == "bridge"}
    return tuple(
        Link(
            device.name,
            device.addresses,
            is_bridge=device.name in bridges,
            master=device.master if device.master in bridges else None,
            up=device.up,
            hairpin=device.hairpin,
            mac=device.mac,
            asks=device.mac is not None,
        )
        for device in devices
    )


def _rule(rule: HostRule, tables: Tables) -> RoutingRule:
    return RoutingRule(
        rule.priority,
        tables.number(rule.table),
        rule.source,
        rule.destination,
        rule.in_interface,
        rule.mark,
        rule.mark_mask,
        rule.inverted,
        rule.version,
    )


def _says_nothing(ruleset: Ruleset) -> bool:
    """Whether a ruleset lets everything pass: no rules, and policies that accept."""
    chains = [chain for table in ruleset.tables for chain in table.chains]
    return not any(chain.rules or chain.policy == "DROP" for chain in chains)


def _asks_sets(ruleset: Ruleset) -> bool:
    return any(match.name == "set" for _place, rule in ruleset.rules() for match in rule.matches)
