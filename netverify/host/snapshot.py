"""A real host as frozen facts, read from the parts of a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TypeVar

from netverify.errors import Place
from netverify.host.containers import HostContainer, HostNetwork, read_containers, read_networks
from netverify.host.devices import Device, read_devices
from netverify.host.engine import Engine, read_engine
from netverify.host.errors import SnapshotError
from netverify.host.parts import META, Parts
from netverify.host.plain import Listener, read_listeners, read_sysctls
from netverify.host.routing import HostRoute, HostRule, read_routes, read_rules
from netverify.ruleset import NftRuleset, Ruleset, RulesetError, RulesetSyntaxError
from netverify.ruleset.model import Family
from netverify.topology.errors import printable

T = TypeVar("T")

NFT, LEGACY = "nft", "legacy"


@dataclass(frozen=True)
class HostSnapshot:
    """What was found on a host.

    `rules` holds the iptables rules by IP version and backend, `nft` all of nftables (with iptables-nft's
    rules once more), `ipsets` the text of `ipset save`. Whatever is empty may not have been looked at:
    `missing` says for each part that was not collected why, and who asks for something that depends on it has
    to say that the answer is unknown. `kernel` is its release as uname(2) gives it, "" if nobody wrote it
    down.
    """

    name: str
    devices: tuple[Device, ...] = ()
    routes: tuple[HostRoute, ...] = ()
    routing_rules: tuple[HostRule, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[tuple[int, str], Ruleset] = field(default_factory=dict)
    nft: NftRuleset | None = None
    ipsets: str = ""
    listeners: tuple[Listener, ...] = ()
    networks: tuple[HostNetwork, ...] = ()
    containers: tuple[HostContainer, ...] = ()
    engine: Engine | None = None
    kernel: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)


_SAVED = (
    ("iptables-save.txt", 4, None),
    ("iptables-legacy-save.txt", 4, LEGACY),
    ("ip6tables-save.txt", 6, None),
    ("ip6tables-legacy-save.txt", 6, LEGACY),
)
_EXPECTED = (
    *(part for part, _, _ in _SAVED),
    *("nft.json", "addr.json", "route.json", "rule.json", "sysctl.txt", "ipset.txt", "listen.txt"),
    *("docker-info.json", "docker-networks.json", "docker-containers.json"),
)


def read_snapshot(parts: Parts) -> HostSnapshot:
    """The facts in the parts of a snapshot.

    Raises SnapshotError, with file and line or key, for a part that is damaged or makes no sense.
    """
    has = parts.has
    missing = {part: parts.reason(part) for part in _EXPECTED if not has(part)}
    containers = (
        read_containers(parts.document("docker-containers.json")) if has("docker-containers.json") else ()
    )
    inside = []
    for container in containers:
        addresses, routes = (f"containers/{container.name}/{kind}.json" for kind in ("addr", "route"))
        if _has_own_namespace(container):
            missing |= {part: parts.reason(part) for part in (addresses, routes) if not has(part)}
        inside.append(
            container.with_namespace(
                read_devices(parts.document(addresses)) if has(addresses) else None,
                read_routes(parts.document(routes)) if has(routes) else None,
            )
        )
    return HostSnapshot(
        name=_name(parts),
        devices=read_devices(parts.document("addr.json")) if has("addr.json") else (),
        routes=read_routes(parts.document("route.json")) if has("route.json") else (),
        routing_rules=read_rules(parts.document("rule.json")) if has("rule.json") else (),
        sysctls=_plain(parts, "sysctl.txt", read_sysctls, {}),
        rules=_rules(parts),
        nft=_nft(parts),
        ipsets=parts.texts.get("ipset.txt", ""),
        listeners=_plain(parts, "listen.txt", read_listeners, ()),
        networks=read_networks(parts.document("docker-networks.json")) if has("docker-networks.json") else (),
        containers=tuple(inside),
        engine=read_engine(parts.document("docker-info.json")) if has("docker-info.json") else None,
        kernel=parts.document(META).text("kernel", "") if has(META) else "",
        missing=missing,
    )


def _has_own_namespace(container: HostContainer) -> bool:
    return container.mode not in ("host", "none") and not container.mode.startswith("container:")


def _plain(parts: Parts, part: str, read: Callable[[str, str], T], empty: T) -> T:
    return read(parts.texts[part], parts.where(part)) if parts.has(part) else empty


def _name(parts: Parts) -> str:
    name = parts.name or PurePath(parts.source).name.split(".")[0] or "host"
    return "".join(c if c.isprintable() and not c.isspace() else "_" for c in name)[:80]


def _rules(parts: Parts) -> Mapping[tuple[int, str], Ruleset]:
    found: dict[tuple[int, str], Ruleset] = {}
    for part, version, backend in _SAVED:
        if not parts.has(part):
            continue
        text = parts.texts[part]
        family: Family = "ipv4" if version == 4 else "ipv6"
        try:
            ruleset = Ruleset.parse(text, family=family)
        except RulesetError as error:
            raise _in_part(parts, part, error) from error
        backend = backend or backend_of(ruleset)
        found.setdefault((version, backend), ruleset)
    return found


def backend_of(saved: Ruleset) -> str:
    """Which backend a text of iptables-save is from.

    The programs of iptables 1.8 say so in the comment above each table; before there was only the legacy one.
    """
    generated = [comment.text for comment in saved.comments if comment.text.startswith("Generated by")]
    return NFT if not generated or any("(nf_tables)" in text for text in generated) else LEGACY


def _nft(parts: Parts) -> NftRuleset | None:
    if not parts.has("nft.json"):
        return None
    try:
        return NftRuleset.parse(parts.texts["nft.json"])
    except RulesetError as error:
        raise _in_part(parts, "nft.json", error) from error


def _in_part(parts: Parts, part: str, error: RulesetError) -> SnapshotError:
    """An error of the reader of rules, with the file that it is about."""
    if not isinstance(error, RulesetSyntaxError):
        return SnapshotError(Place(parts.where(part)), printable(str(error)))
    found = f"found {printable(error.found)[:60]!r}" if error.found else "found the end"
    return SnapshotError(Place(parts.where(part), error.line, error.column), found, printable(error.expected))
