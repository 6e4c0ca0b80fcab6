"""The Docker host that a snapshot's engine has: its options, networks and containers, and the rules it wrote.

What the engine was told is read from what it says of itself and of its networks and containers. A few options
it tells nobody; those are taken from what they leave behind: listening proxies, the form of single rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import cast

from netverify import docker
from netverify.dataplane.view import LEGACY, HostView
from netverify.docker.errors import DockerError
from netverify.docker.layout import FORWARD
from netverify.docker.parts import GATEWAY_BRIDGE, PROTOCOLS
from netverify.docker.version import ACCEPT_FWMARK, IP6TABLES, IP6TABLES_BY_DEFAULT, NFTABLES, Version
from netverify.docker.writer import DOCKER, INGRESS, TO_LOCAL
from netverify.host import HostSnapshot
from netverify.host.containers import Attachment, HostContainer, HostNetwork, Publication
from netverify.ruleset import NftRuleset, Ruleset

_DRIVER = "com.docker.network.bridge."
_MARK = re.compile(r"-m mark --mark (\S+) -j ACCEPT")
_MESH = re.compile(r"-p (\w+) -m \w+ --dport (\d+) -j DNAT --to-destination ([\d.]+):\d+")
_RESERVED = 65536
_ANY4, _ANY6 = IPv4Address("0.0.0.0"), IPv6Address("::")


@dataclass(frozen=True)
class Intended:
    """What the engine means to have on a host: `view` is the host with its rules and nobody else's.

    Policies of FORWARD are those that are there: an engine sets them only now and then.
    """

    host: docker.DockerHost
    view: HostView

    def rules(self, version: int) -> Ruleset:
        """The iptables rules of an IP version; none under the nftables backend."""
        return self.view.ruleset(version)

    @property
    def nft(self) -> NftRuleset:
        """The rules of the nftables backend."""
        return self.view.nft


@dataclass(frozen=True)
class Standing:
    """The rules of an IP version that are there, of the backend that Docker writes to (nft, legacy)."""

    rules: Ruleset
    prefix: str = ""
    """What the model puts before the names of their tables."""


def standing(view: HostView, version: int) -> Standing:
    """Of a host with two backends that in which Docker has chains; of others the only one."""
    main = view.ruleset(version)
    if not _is_dockers(main):
        for old in view.legacy:
            if old.family == main.family and _is_dockers(old):
                return Standing(old, LEGACY)
    return Standing(main)


def _is_dockers(rules: Ruleset) -> bool:
    return any(chain.name.startswith(DOCKER) for table in rules.tables for chain in table.chains)


def intended(snapshot: HostSnapshot, view: HostView) -> Intended:
    """What the engine of a snapshot writes on its host. Raises DockerError where nobody knows."""
    there = {version: standing(view, version).rules for version in (4, 6)}
    host = docker_host(snapshot, there)
    written = zip((4, 6), docker.rules(host), strict=True)
    ipv4, ipv6 = (_with_policy(rules, there[version]) for version, rules in written)
    native = docker.nft_rules(host) if host.generation is NFTABLES else NftRuleset()
    sets = {**view.sets, **docker.ipsets(host)}
    return Intended(host, replace(view, ipv4=ipv4, ipv6=ipv6, nft=native, legacy=(), sets=sets))


def docker_host(snapshot: HostSnapshot, rules: Mapping[int, Ruleset]) -> docker.DockerHost:
    """The engine's host, as far as its rules depend on it; `rules` are those that are there, by IP version.

    Raises DockerError for another engine, for a version that is not known, and for what Docker would refuse.
    """
    engine = snapshot.engine
    if engine is None or engine.program != "docker":
        known = "no engine" if engine is None else engine.program
        raise DockerError(f"the rules of Docker are known, and here is {known}")
    if engine.rootless:
        raise DockerError("the engine is rootless: its networks and rules are in a namespace of their own")
    version = Version.parse(engine.version)
    bridged = [each for each in snapshot.networks if each.bridge is not None]
    networks = tuple(_network(each) for each in bridged)
    internal = {each.name for each in networks if each.internal}
    places = {each.name: each for each in networks}
    return docker.DockerHost(
        engine.version,
        networks,
        tuple(_published(snapshot, places, internal)),
        forward_policy=_policy(rules.get(4)),
        forward_policy6=_policy(rules.get(6)),
        userland_proxy=_has_proxy(snapshot, rules.get(4)),
        ip6tables=_filters_ipv6(version, rules.get(6)),
        accept_fwmark=_accepted_mark(rules.get(4)) if version.has(ACCEPT_FWMARK) else None,
        backend="nftables" if engine.firewall_backend.startswith("nftables") else "iptables",
        attached=tuple(_attachments(snapshot, places)),
        ingress=_ingress(rules.get(4), networks),
    )


# --- networks and containers ----------------------------------------------------------------------------


def _network(each: HostNetwork) -> docker.BridgeNetwork:
    """The options are those of moby's daemon/libnetwork/drivers/bridge/labels.go and netlabel/labels.go."""
    v4 = [subnet for subnet in each.subnets if isinstance(subnet, IPv4Network)]
    v6 = [subnet for subnet in each.subnets if isinstance(subnet, IPv6Network)]
    if not v4:
        raise DockerError(f"network {each.name} has no IPv4 subnet, and the rules of such are not known")
    binding = each.option(f"{_DRIVER}host_binding_ipv4")
    hosts = [each.option(f"com.docker.network.host_ipv{version}") for version in (4, 6)]
    modes = [each.option(f"{_DRIVER}gateway_mode_ipv{version}", "nat") or "nat" for version in (4, 6)]
    return docker.BridgeNetwork(
        each.name,
        each.bridge or "",
        v4[0],
        v6[0] if v6 and each.ipv6 else None,
        default=each.name == "bridge",
        internal=each.internal,
        icc=_is_on(each.option(f"{_DRIVER}enable_icc")),
        masquerade=_is_on(each.option(f"{_DRIVER}enable_ip_masquerade")),
        host_binding=_address(each, binding),
        host_ipv4=cast(IPv4Address | None, _address(each, hosts[0])),
        host_ipv6=cast(IPv6Address | None, _address(each, hosts[1])) if v6 and each.ipv6 else None,
        gateway_mode=cast(docker.GatewayMode, modes[0]),  # checked by BridgeNetwork, like the other
        gateway_mode6=cast(docker.GatewayMode, modes[1]),
        trusted=tuple(filter(None, each.option(f"{_DRIVER}trusted_host_interfaces").split(":"))),
    )


def _is_on(option: str) -> bool:
    """strconv.ParseBool of Go; what is not given is on."""
    return option not in ("0", "f", "F", "false", "FALSE", "False")


def _address(each: HostNetwork, text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text) if text else None
    except ValueError:
        raise DockerError(f"network {each.name}: an option holds {text!r}, which is no address") from None


def _attachments(
    snapshot: HostSnapshot, places: Mapping[str, docker.BridgeNetwork]
) -> Iterator[docker.Attachment]:
    for container in snapshot.containers:
        for each in container.attachments:
            four, six = _own(each)
            if each.network in places and four is not None:
                inside = places[each.network].subnet6
                six = six if six is not None and inside is not None and six in inside else None
                yield docker.Attachment(each.network, four, six, container.name)


def _own(each: Attachment) -> tuple[IPv4Address | None, IPv6Address | None]:
    four = next((a.ip for a in each.addresses if isinstance(a.ip, IPv4Address)), None)
    six = next((a.ip for a in each.addresses if isinstance(a.ip, IPv6Address)), None)
    return four, six


def _published(
    snapshot: HostSnapshot, places: Mapping[str, docker.BridgeNetwork], internal: set[str]
) -> Iterator[docker.PublishedPort]:
    spare = _RESERVED
    for container in snapshot.containers:
        through = _publishing(container, places, internal)
        if through is None:
            continue
        four, six = _own(through)
        inside = places[through.network].subnet6
        six = six if six is not None and inside is not None and six in inside else None
        for port in container.publications:
            if four is None or port.protocol not in PROTOCOLS:
                continue
            number = port.host_port
            if not number:  # in a routed network the host has no port of its own
                if places[through.network].mode(4) != "routed":
                    continue
                number = spare = spare - 1
            yield docker.PublishedPort(
                through.network,
                four,
                port.container_port,
                number,
                port.protocol,
                _host_address(port),
                six,
            )


def _host_address(port: Publication) -> IPv4Address | IPv6Address | None:
    if port.host_address is not None or port.version is None:
        return port.host_address
    return _ANY4 if port.version == 4 else _ANY6


def _publishing(
    container: HostContainer, places: Mapping[str, docker.BridgeNetwork], internal: set[str]
) -> Attachment | None:
    """The attachment that ports are published through: the one with the default route.

    Where nobody looked inside, the first by name of the networks that are not internal, as libnetwork has it
    (endpoint.go, Less).
    """
    mine = sorted(
        (each for each in container.attachments if each.network in places and each.network not in internal),
        key=lambda each: each.network,
    )
    uplinks = [r.device for r in container.routes or () if r.destination.prefixlen == 0 and r.device]
    for device in container.devices or ():
        if device.name in uplinks:
            for each in mine:
                if set(each.addresses) & set(device.addresses):
                    return each
    return mine[0] if mine else None


# --- what the engine does not say -----------------------------------------------------------------------


def _has_proxy(snapshot: HostSnapshot, rules: Ruleset | None) -> bool:
    """Whether the userland proxy is on: by who listens for published ports, else by how OUTPUT translates."""
    published = {(p.protocol, p.host_port) for c in snapshot.containers for p in c.publications}
    holding = {
        each.program
        for each in snapshot.listeners
        if (each.protocol, each.port) in published and each.program.startswith("docker")
    }
    if holding:  # without the proxy the daemon itself holds the port
        return any(program.startswith("docker-proxy") for program in holding)
    return f"{TO_LOCAL} {DOCKER}" not in _texts(rules, "nat", "OUTPUT")


def _filters_ipv6(version: Version, rules: Ruleset | None) -> bool | None:
    if not version.has(IP6TABLES):
        return None
    if rules is not None and _is_dockers(rules):
        return True
    return None if version.has(IP6TABLES_BY_DEFAULT) else False


def _accepted_mark(rules: Ruleset | None) -> str | None:
    found = (_MARK.fullmatch(text) for text in _texts(rules, "filter", FORWARD))
    return next((match[1] for match in found if match), None)


def _ingress(rules: Ruleset | None, networks: tuple[docker.BridgeNetwork, ...]) -> docker.Ingress | None:
    """A swarm's mesh, of which only the rules tell the ports."""
    gateway = next((each for each in networks if each.bridge == GATEWAY_BRIDGE), None)
    if gateway is None or rules is None or not _has_chain(rules, "filter", INGRESS):
        return None
    found = [match for text in _texts(rules, "nat", INGRESS) if (match := _MESH.fullmatch(text))]
    address = IPv4Address(found[0][3]) if found else gateway.subnet[2]
    ports = [(int(match[2]), cast(docker.Protocol, match[1])) for match in found if match[1] in PROTOCOLS]
    return docker.Ingress(address, tuple(dict.fromkeys(reversed(ports))))


def _policy(rules: Ruleset | None) -> docker.config.ForwardPolicy:
    if rules is not None and _has_chain(rules, "filter", "FORWARD"):
        return rules.chain("filter", "FORWARD").policy or "ACCEPT"
    return "ACCEPT"


def _with_policy(written: Ruleset, there: Ruleset) -> Ruleset:
    if not _has_chain(written, "filter", "FORWARD"):
        return written
    return written.with_policy("filter", "FORWARD", _policy(there))


def _has_chain(rules: Ruleset, table: str, chain: str) -> bool:
    return rules.has_table(table) and rules.table(table).has_chain(chain)


def _texts(rules: Ruleset | None, table: str, chain: str) -> list[str]:
    """A chain's rules, without `-A CHAIN`."""
    if rules is None or not _has_chain(rules, table, chain):
        return []
    return [str(rule).removeprefix(f"-A {chain} ") for rule in rules.chain(table, chain).rules]
