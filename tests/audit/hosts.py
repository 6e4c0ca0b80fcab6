"""Docker hosts as snapshots: what `collect` would bring home from a host whose engine was told this.

Everything goes through the parts of a host.json and `read_snapshot`, so that the tests of audits begin where
an audit begins. Rules are those that netverify/docker writes; a test then spoils what it wants spoilt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface
from typing import Any

from netverify.audit.case import Case
from netverify.audit.checks import CHECKS
from netverify.audit.finding import Finding
from netverify.audit.run import audit
from netverify.docker import (
    Attachment,
    BridgeNetwork,
    Daemon,
    DockerHost,
    PublishedPort,
    ipsets,
    listeners,
    loads_br_netfilter,
    sysctls,
)
from netverify.docker.config import containers
from netverify.docker.version import BINDING_PER_FAMILY, Version
from netverify.host import HostSnapshot, read_json, read_snapshot
from netverify.host.parts import FORMAT, VERSION
from netverify.ruleset import NftRuleset, Ruleset

KERNEL = "6.1.0-18-amd64"
UPLINK = "eth0"
HOST_ADDRESSES = ("198.51.100.10/24", "2001:db8:51::10/64")
VERSIONS = ("18.03.1", "20.10.24", "26.1.4", "27.5.1", "28.0.0", "28.0.4", "28.5.2", "29.1.0")
"""An engine of each generation of iptables rules, oldest first; 26 and 27 differ in IPv6 and options."""


def network(number: int, name: str = "", **options: Any) -> BridgeNetwork:
    """The network 172.(16+n).0.0/16, or 10.N.M.0/24 for high numbers, on a bridge br-NAME."""
    name = name or f"net{number}"
    if number < 16:
        subnet = IPv4Network((int(IPv4Address("172.16.0.0")) + (number << 16), 16))
    else:
        subnet = IPv4Network((int(IPv4Address("10.0.0.0")) + (number << 8), 24))
    subnet6 = (
        IPv6Network((int(IPv6Address("fd00::")) + (number << 64), 64)) if options.pop("v6", True) else None
    )
    bridge = "docker0" if name == "bridge" else f"br-{name}"
    return BridgeNetwork(name, bridge, subnet, subnet6, default=name == "bridge", **options)


def place(on: BridgeNetwork, last: int = 2, container: str = "") -> Attachment:
    """A container with the n-th address of a network."""
    six = None if on.subnet6 is None else on.subnet6[last]
    return Attachment(on.name, on.subnet[last], six, container or f"{on.name}-{last}")


def usual(version: str, **options: Any) -> DockerHost:
    """The default network with a published port, two open networks, an internal one, one with icc=false."""
    bridge, front, back = network(1, "bridge", v6=False), network(2, "front"), network(3, "back")
    inner, closed = network(4, "inner", internal=True), network(5, "closed", icc=False)
    both = "both-2"
    first = Attachment("front", front.subnet[3], front.subnet6[3] if front.subnet6 else None, both)
    second = Attachment("back", back.subnet[3], back.subnet6[3] if back.subnet6 else None, both)
    return DockerHost(
        version,
        (bridge, front, back, inner, closed),
        (
            PublishedPort("bridge", bridge.subnet[2], 80, 8080),
            PublishedPort("front", front.subnet[2], 443, 8443, container6=front.subnet6 and front.subnet6[2]),
            PublishedPort("closed", closed.subnet[2], 53, 5353, "udp", IPv4Address("198.51.100.10")),
        ),
        attached=(
            *(place(each) for each in (bridge, front, back, inner, closed)),
            place(inner, 4),
            place(closed, 4),
            first,
            second,
        ),
        **options,
    )


# --- the parts of a snapshot ----------------------------------------------------------------------------


def snapshot(docker: DockerHost | Daemon, **how: Any) -> HostSnapshot:
    """What is collected on the host of an engine; the arguments are those of `document`."""
    return read_snapshot(read_json(json.dumps(document(docker, **how)), "host.json"))


def document(
    docker: DockerHost | Daemon,
    *,
    ipv4: Ruleset | None = None,
    ipv6: Ruleset | None = None,
    nft: NftRuleset | None = None,
    sysctl: Mapping[str, str] | None = None,
    listening: Sequence[str] = (),
    without: Sequence[str] | Mapping[str, str] = (),
    parts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The host.json of an engine's host.

    `ipv4`, `ipv6` and `nft` are rules instead of the engine's own, `sysctl` settings besides its own,
    `listening` lines of `ss -lntup`. `without` names parts that could not be collected, with the reason if
    it matters; `parts` holds others in place of these, JSON as values.
    """
    daemon = docker if isinstance(docker, Daemon) else Daemon.started(docker)
    host = daemon.host
    made: dict[str, Any] = {
        "iptables-save.txt": _saved(daemon.ipv4 if ipv4 is None else ipv4),
        "ip6tables-save.txt": _saved(daemon.ipv6 if ipv6 is None else ipv6),
        "nft.json": json.loads((daemon.nft if nft is None else nft).render()),
        "rule.json": [
            {"family": family, "priority": priority, "table": table}
            for family in ("inet", "inet6")
            for priority, table in ((0, "local"), (32766, "main"))
        ],
        "sysctl.txt": _sysctls(host, sysctl or {}),
        "ipset.txt": "".join(_ipsets(host)),
        "listen.txt": "\n".join([*_listening(host), *listening]) + "\n",
        "docker-networks.json": [_network(each, number) for number, each in enumerate(host.networks)],
        "docker-info.json": {
            "ServerVersion": host.version,
            "SecurityOptions": ["name=seccomp,profile=builtin"],
            "FirewallBackend": {"Driver": host.backend},
            "Swarm": {"LocalNodeState": "inactive" if host.ingress is None else "active"},
        },
        "meta.json": {"kernel": KERNEL},
        **_inside(host),
    }
    made["iptables-legacy-save.txt"] = made["iptables-save.txt"]
    made["ip6tables-legacy-save.txt"] = made["ip6tables-save.txt"]
    made |= parts or {}
    made = {name: part for name, part in made.items() if name not in without}
    missing = dict(without if isinstance(without, Mapping) else dict.fromkeys(without, "it was left out"))
    return {"format": FORMAT, "version": VERSION, "name": "web-7", "parts": made, "missing": missing}


def case(docker: DockerHost | Daemon, **how: Any) -> Case:
    """A snapshot to be audited; the arguments are those of `document`."""
    return Case.of(snapshot(docker, **how), "host.json")


def findings(docker: DockerHost | Daemon, *kinds: str, **how: Any) -> list[Finding]:
    """What an audit of the host says about some kinds, by their ids."""
    checks = [check for check in CHECKS if check.kind.id in kinds]
    assert {check.kind.id for check in checks} == set(kinds), "no check of one of these names"
    return list(audit(case(docker, **how), checks).findings)


def without_rule(rules: Ruleset, table: str, chain: str, *texts: str) -> Ruleset:
    """The rules without those of a chain that read so. Fails if one is not there."""
    for text in texts:
        found = [str(rule).removeprefix(f"-A {chain} ") for rule in rules.chain(table, chain).rules]
        rules = rules.with_rule_removed(table, chain, found.index(text) + 1)
    return rules


def _saved(rules: Ruleset) -> str:
    program = "iptables-save" if rules.family == "ipv4" else "ip6tables-save"
    text = rules.render(counters=True)
    return f"# Generated by {program} v1.8.9 on Sat Nov 21 12:00:00 2026\n{text}" if text else ""


def _sysctls(host: DockerHost, more: Mapping[str, str]) -> str:
    found = {"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "0"}
    if loads_br_netfilter(host):
        found |= {"net.bridge.bridge-nf-call-iptables": "1", "net.bridge.bridge-nf-call-ip6tables": "1"}
    found |= sysctls(host)
    return "".join(f"{name} = {value}\n" for name, value in (found | dict(more)).items())


def _ipsets(host: DockerHost) -> Iterator[str]:
    for name, members in ipsets(host).items():
        family = "inet" if name.endswith("4") else "inet6"
        yield f"create {name} hash:net family {family} hashsize 1024 maxelem 65536\n"
        yield from (f"add {name} {member}\n" for member in members)


def _listening(host: DockerHost) -> Iterator[str]:
    for each in listeners(host):
        address = f"[{each.address}]" if each.address.version == 6 else str(each.address)
        program = "docker-proxy" if each.target is not None else "dockerd"
        state = "LISTEN" if each.protocol == "tcp" else "UNCONN"
        yield f'{each.protocol} {state} 0 4096 {address}:{each.port} *:* users:(("{program}",pid=7,fd=4))'


def _network(each: BridgeNetwork, number: int) -> dict[str, Any]:
    prefix = "com.docker.network."
    options = {f"{prefix}bridge.name": each.bridge}
    if not each.icc:
        options[f"{prefix}bridge.enable_icc"] = "false"
    if not each.masquerade:
        options[f"{prefix}bridge.enable_ip_masquerade"] = "false"
    if each.host_binding is not None:
        options[f"{prefix}bridge.host_binding_ipv4"] = str(each.host_binding)
    for version, mode in ((4, each.gateway_mode), (6, each.gateway_mode6)):
        if mode != "nat":
            options[f"{prefix}bridge.gateway_mode_ipv{version}"] = mode
    for version, address in ((4, each.host_ipv4), (6, each.host_ipv6)):
        if address is not None:
            options[f"{prefix}host_ipv{version}"] = str(address)
    if each.trusted:
        options[f"{prefix}bridge.trusted_host_interfaces"] = ":".join(each.trusted)
    pools = [subnet for subnet in (each.subnet, each.subnet6) if subnet is not None]
    return {
        "Name": each.name,
        "Id": f"{number + 1:x}".rjust(64, "a"),
        "Driver": "bridge",
        "Internal": each.internal,
        "EnableIPv6": each.subnet6 is not None,
        "IPAM": {"Config": [{"Subnet": str(pool), "Gateway": str(pool[1])} for pool in pools]},
        "Options": options,
    }


def _inside(host: DockerHost) -> dict[str, Any]:
    """Devices and routes of the host and of its containers, and the containers as the engine knows them."""
    devices = [_device("lo", 1, ("127.0.0.1/8", "::1/128")), _device(UPLINK, 2, HOST_ADDRESSES)]
    routes = [_default("198.51.100.1", UPLINK), _default("2001:db8:51::1", UPLINK)]
    routes += _connected(UPLINK, HOST_ADDRESSES)
    for number, each in enumerate(host.networks):
        addresses = _gateways(each)
        devices.append(_device(each.bridge, 10 + number, addresses, kind="bridge"))
        routes += _connected(each.bridge, addresses)
    made: dict[str, Any] = {}
    inspected = []
    index = 1000
    for container in containers(host):
        name = _name(container)
        inner, inner_routes = [_device("lo", 1, ("127.0.0.1/8", "::1/128"))], []
        for card, attachment in enumerate(container):
            on, own = host.network(attachment.network), _addresses(host, attachment)
            veth = {"link_index": index, "link_netnsid": 0, "master": on.bridge}
            devices.append(_device(f"veth{index:x}", index + 1, (), kind="veth") | veth)
            inner.append(_device(f"eth{card}", index, own, kind="veth") | {"link_index": index + 1})
            inner_routes += _connected(f"eth{card}", own)
            if not on.internal or Version.parse(host.version) < Version(25, 0):
                gateways = (ip_interface(each).ip for each in _gateways(on))
                inner_routes = [*(_default(str(via), f"eth{card}") for via in gateways), *inner_routes]
            index += 2
        made[f"containers/{name}/addr.json"] = inner
        made[f"containers/{name}/route.json"] = inner_routes
        inspected.append(_container(host, name, container))
    return made | {"addr.json": devices, "route.json": routes, "docker-containers.json": inspected}


def _name(container: Sequence[Attachment]) -> str:
    return container[0].container or f"c-{container[0].address}".replace(".", "-")


def _gateways(each: BridgeNetwork) -> list[str]:
    found = []
    if each.gateway_mode != "isolated":
        found.append(f"{each.subnet[1]}/{each.subnet.prefixlen}")
    if each.subnet6 is not None and each.gateway_mode6 != "isolated":
        found.append(f"{each.subnet6[1]}/{each.subnet6.prefixlen}")
    return found


def _addresses(host: DockerHost, attachment: Attachment) -> list[str]:
    on = host.network(attachment.network)
    found = [f"{attachment.address}/{on.subnet.prefixlen}"]
    if attachment.address6 is not None and on.subnet6 is not None:
        found.append(f"{attachment.address6}/{on.subnet6.prefixlen}")
    return found


def _device(name: str, index: int, addresses: Sequence[str], kind: str = "") -> dict[str, Any]:
    return {
        "ifname": name,
        "ifindex": index,
        "flags": ["UP", "LOWER_UP"],
        "link_type": "loopback" if name == "lo" else "ether",
        "linkinfo": {"info_kind": kind} if kind else {},
        "addr_info": [
            {"local": one.partition("/")[0], "prefixlen": int(one.partition("/")[2])} for one in addresses
        ],
    }


def _default(via: str, device: str) -> dict[str, Any]:
    return {"type": "unicast", "dst": "default", "gateway": via, "dev": device, "flags": []}


def _connected(device: str, addresses: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"type": "unicast", "dst": str(each.network), "dev": device, "prefsrc": str(each.ip), "flags": []}
        for each in map(ip_interface, addresses)
    ]


def _container(host: DockerHost, name: str, container: Sequence[Attachment]) -> dict[str, Any]:
    networks = {}
    for attachment in container:
        on = host.network(attachment.network)
        settings = {"IPAddress": str(attachment.address), "IPPrefixLen": on.subnet.prefixlen, "Gateway": ""}
        if not on.internal:
            settings["Gateway"] = str(on.subnet[1])
        if attachment.address6 is not None and on.subnet6 is not None:
            settings |= {"GlobalIPv6Address": str(attachment.address6), "IPv6Gateway": str(on.subnet6[1])}
            settings["GlobalIPv6PrefixLen"] = on.subnet6.prefixlen
        networks[attachment.network] = settings
    own = {(each.network, each.address) for each in container}
    ports: dict[str, list[dict[str, str]]] = {}
    for port in host.published:
        if (port.network, port.container) in own:
            given = ports.setdefault(f"{port.container_port}/{port.protocol}", [])
            both = ("0.0.0.0", "::") if host.engine.has(BINDING_PER_FAMILY) else ("0.0.0.0",)
            for address in both if port.host_address is None else (str(port.host_address),):
                given.append({"HostIp": address, "HostPort": str(port.host_port)})
    return {
        "Id": name.encode().hex().rjust(64, "0")[:64],
        "Name": f"/{name}",
        "State": {"Running": True},
        "Config": {"ExposedPorts": {port: {} for port in ports}},
        "HostConfig": {"NetworkMode": container[0].network, "Privileged": False},
        "NetworkSettings": {"Ports": ports, "Networks": networks},
    }
