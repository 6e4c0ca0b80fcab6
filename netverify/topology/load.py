"""Topology files: YAML in, `Topology` out, and for every mistake its line and what belongs there.

The keys, with their defaults in brackets; `[...]` may also be one value alone:

    name: bridge-three-namespaces
    title: text                              # [""]
    source: ["seed document 003, section ..."]
    hosts:
      NAME:
        role: host                           # [netns], host, router, neighbour, internet
        forwarding: [ipv4, ipv6]             # [none]
        loopback: true                       # is lo up?
        interfaces:
          DEVICE: {segment: NAME, address: [10.0.0.1/24], master: BRIDGE, mac: MAC, mtu: 1500, up: true}
        bridges: {DEVICE: {address: [...], mac: MAC, mtu: 1500, up: true}}
        routes: ["default via 10.0.0.254", "172.18.0.0/24 dev br0"]
        sysctls: {net.ipv4.conf.all.rp_filter: 1}
        docker: {version: 27.0, ipv6: true, userland_proxy: true, forward_policy: DROP}  # see DockerDaemon
        rules: |                             # iptables-restore's input; rules6 for ip6tables-restore
        listen: [tcp/80, udp/53]
    segments: {NAME: {subnet: [192.168.1.0/24]}}
    networks:
      NAME:
        driver: bridge                       # macvlan, ipvlan, overlay
        host: NAME                           # hosts: [NAME, NAME] for an overlay
        subnet: [172.18.0.0/16, "fd00:18::/64"]
        gateway: [172.18.0.1]                # [the first address]
        device: br0                          # the bridge; macvlan and ipvlan have a parent: eth0 instead
        default_bridge, default_route, internal, icc, masquerade, mode, vni, mtu: ...
        gateway_mode, gateway_mode6, host_binding, trusted: ...
    containers:
      NAME:
        host: NAME
        networks:                            # or [NAME, NAME]
          NAME: {address: [10.1.1.10], device: eth0, mac: MAC, host_device: veth0}
        mode: none                           # host, container:NAME; without networks
        publish: ["8080:80/tcp", "127.0.0.1:5000:5000", "9000-9002:80-82"]
        listen, routes, sysctls: as for hosts
    cables:
      - {NODE:DEVICE: {address: [...], master: BRIDGE, mac: MAC, mtu: 1500, up: true}, NODE:DEVICE: {...}}
    notes: {KEY: text}

A `host` may be left out where just one host has `role: host`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from netverify.errors import Place
from netverify.topology import readers
from netverify.topology.document import MOST_CHARACTERS, Cursor, Document
from netverify.topology.errors import TopologyFileError, quoted
from netverify.topology.model import (
    Cable,
    CableEnd,
    Container,
    DockerDaemon,
    Endpoint,
    Host,
    Interface,
    Network,
    NetworkDriver,
    Role,
    Segment,
    Topology,
)
from netverify.topology.readers import Table


def load(path: str | os.PathLike[str]) -> Topology:
    """Read a topology file. Raises TopologyFileError."""
    file = os.fspath(path)
    try:
        with Path(file).open("rb") as stream:
            raw = stream.read(4 * MOST_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TopologyFileError(Place(file), f"it cannot be read: {reason}", "a topology file") from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = f"byte {raw[error.start]:#04x} is no UTF-8"
        raise TopologyFileError(Place(file, line), problem, "text in UTF-8") from error
    return loads(text, file)


def loads(text: str, file: str = "<text>") -> Topology:
    """Read the text of a topology file; `file` is its name in errors. Raises TopologyFileError."""
    root = Document(text, file).root()
    if root.is_empty:
        root.fail("it is empty", "keys such as name, hosts, networks, containers")
    if not root.is_mapping:
        root.fail("there is no mapping", "keys such as name, hosts, networks, containers")
    values = dict(root.known_items(_TOPOLOGY, "keys such as name and hosts"))
    if "name" not in values:
        root.fail("it has no name", "name: ...")
    hosts = _hosts(values["hosts"]) if "hosts" in values else ()
    fields: dict[str, Any] = {"hosts": hosts}
    only = [host.name for host in hosts if host.role is Role.HOST]
    sole = only[0] if len(only) == 1 else None
    for key, value in values.items():
        if key != "hosts":
            field, read = _TOPOLOGY[key]
            fields[field] = read(value, sole) if key in _ON_HOSTS else read(value)
    return readers.make(root, Topology, **fields)


def _interfaces(cursor: Cursor) -> tuple[Interface, ...]:
    return tuple(_interface(value, device) for device, value in cursor.items("devices by name"))


def _interface(cursor: Cursor, device: str) -> Interface:
    expected = "an interface, such as {segment: lan, address: 192.168.1.10/24}"
    return readers.make(cursor, Interface, device, **readers.fields(cursor, _INTERFACE, expected))


def _docker(cursor: Cursor) -> DockerDaemon:
    return readers.make(
        cursor, DockerDaemon, **readers.fields(cursor, _DOCKER, 'options, such as {version: "24.0"}')
    )


def _hosts(cursor: Cursor) -> tuple[Host, ...]:
    return tuple(
        readers.make(
            value, Host, name, **readers.fields(value, _HOST, "a host, such as {role: host, interfaces: ...}")
        )
        for name, value in cursor.items("hosts by name")
    )


def _segments(cursor: Cursor) -> tuple[Segment, ...]:
    return tuple(
        readers.make(
            value,
            Segment,
            name,
            **readers.fields(value, _SEGMENT, "a segment, such as {subnet: 192.168.1.0/24}"),
        )
        for name, value in cursor.items("segments by name")
    )


def _networks(cursor: Cursor, sole: str | None) -> tuple[Network, ...]:
    return tuple(_network(value, name, sole) for name, value in cursor.items("networks by name"))


def _network(cursor: Cursor, name: str, sole: str | None) -> Network:
    values = dict(cursor.known_items(_NETWORK, "a network, such as {subnet: 172.18.0.0/16}"))
    fields: dict[str, Any] = {
        "driver": NetworkDriver.BRIDGE,
        "hosts": (sole,) if sole else None,
        "subnets": (),
    }
    for key, value in values.items():
        fields[_NETWORK[key][0]] = _NETWORK[key][1](value)
    divides = fields["driver"] in (NetworkDriver.MACVLAN, NetworkDriver.IPVLAN)
    for key, other in (("device", "parent"), ("host", "hosts")):
        if key in values and other in values:
            values[other].fail(f"{key} says the same", f"one of {key} and {other}")
    wrong = "device" if divides else "parent"
    if wrong in values:
        right = "a parent, the host's device that it divides" if divides else "a device, the bridge's name"
        values[wrong].fail(f"driver {fields['driver'].value} has none", right)
    if fields["hosts"] is None:
        cursor.fail("it has no host", "host: NAME (it can be left out where one host alone has role: host)")
    return readers.make(cursor, Network, name, **fields)


def _containers(cursor: Cursor, sole: str | None) -> tuple[Container, ...]:
    return tuple(_container(value, name, sole) for name, value in cursor.items("containers by name"))


def _container(cursor: Cursor, name: str, sole: str | None) -> Container:
    fields = {"host": sole, **readers.fields(cursor, _CONTAINER, "a container, such as {networks: br0}")}
    if fields["host"] is None:
        cursor.fail("it has no host", "host: NAME (it can be left out where one host alone has role: host)")
    return readers.make(cursor, Container, name, **fields)


def _endpoints(cursor: Cursor) -> tuple[Endpoint, ...]:
    if cursor.is_mapping:
        return tuple(
            readers.make(
                value,
                Endpoint,
                name,
                **readers.fields(value, _ENDPOINT, "an endpoint, such as {address: 10.1.1.10}"),
            )
            for name, value in cursor.items("networks by name")
        )
    found = []
    for value in cursor.values("networks by name"):
        name = value.text("a network's name")
        value.also_known_as((*cursor.path, name))
        found.append(readers.make(value, Endpoint, name))
    return tuple(found)


def _cables(cursor: Cursor) -> tuple[Cable, ...]:
    if not cursor.is_list and not cursor.is_empty:
        cursor.fail("there is no list", _CABLE_RULE)
    return tuple(_cable(value) for value in cursor.values(_CABLE_RULE))


def _cable(cursor: Cursor) -> Cable:
    ends = []
    for key, value in cursor.items(_CABLE_RULE):
        node, colon, device = key.partition(":")
        if not colon:
            value.fail(f"{quoted(key)} does not name a device", _CABLE_RULE)
        ends.append(readers.make(value, CableEnd, node, _interface(value, device)))
    return readers.make(cursor, Cable, tuple(ends))


_CABLE_RULE: Final = "a list of cables, each with two keys NODE:DEVICE"

_INTERFACE: Final[Table] = {
    "segment": ("segment", readers.text),
    "address": ("addresses", readers.many(readers.interface_address, "a list of addresses")),
    "master": ("master", readers.text),
    "mac": ("mac", readers.text),
    "mtu": ("mtu", readers.number),
    "up": ("up", readers.flag),
}
_DOCKER: Final[Table] = {
    "version": ("version", readers.text),
    "ipv6": ("ipv6", readers.flag),
    "userland_proxy": ("userland_proxy", readers.flag),
    "forward_policy": ("forward_policy", readers.text),
    "forward_policy6": ("forward_policy6", readers.text),
    "backend": ("backend", readers.text),
    "ip_forward_no_drop": ("ip_forward_no_drop", readers.flag),
    "allow_direct_routing": ("allow_direct_routing", readers.flag),
    "raw_rules": ("raw_rules", readers.flag),
    "accept_fwmark": ("accept_fwmark", readers.text),
}
_ROUTES: Final = readers.many(readers.route, "a list of routes")
_LISTEN: Final = readers.many(readers.service, "a list of services such as tcp/80")
_HOST: Final[Table] = {
    "role": ("role", readers.chosen(Role)),
    "forwarding": ("forwarding", readers.families),
    "loopback": ("loopback", readers.flag),
    "interfaces": ("interfaces", _interfaces),
    "bridges": ("bridges", _interfaces),
    "routes": ("routes", _ROUTES),
    "sysctls": ("sysctls", readers.strings),
    "docker": ("docker", _docker),
    "rules": ("rules", readers.text),
    "rules6": ("rules6", readers.text),
    "listen": ("listens", _LISTEN),
}
_SEGMENT: Final[Table] = {"subnet": ("subnets", readers.many(readers.subnet, "a list of subnets"))}
_NETWORK: Final[Table] = {
    "driver": ("driver", readers.chosen(NetworkDriver)),
    "host": ("hosts", readers.many(readers.text, "a host's name")),
    "hosts": ("hosts", readers.many(readers.text, "a list of hosts")),
    "subnet": ("subnets", readers.many(readers.subnet, "a list of subnets")),
    "gateway": ("gateways", readers.many(readers.address, "a list of addresses")),
    "device": ("device", readers.text),
    "parent": ("device", readers.text),
    "default_bridge": ("default_bridge", readers.flag),
    "default_route": ("default_route", readers.flag),
    "internal": ("internal", readers.flag),
    "icc": ("icc", readers.flag),
    "masquerade": ("masquerade", readers.flag),
    "gateway_mode": ("gateway_mode", readers.text),
    "gateway_mode6": ("gateway_mode6", readers.text),
    "host_binding": ("host_binding", readers.address),
    "trusted": ("trusted", readers.many(readers.text, "a list of devices")),
    "mode": ("mode", readers.text),
    "vni": ("vni", readers.number),
    "mtu": ("mtu", readers.number),
}
_ENDPOINT: Final[Table] = {
    "address": ("addresses", readers.many(readers.address, "a list of addresses")),
    "device": ("device", readers.text),
    "mac": ("mac", readers.text),
    "host_device": ("host_device", readers.text),
}
_CONTAINER: Final[Table] = {
    "host": ("host", readers.text),
    "networks": ("endpoints", _endpoints),
    "mode": ("mode", readers.text),
    "publish": ("publish", readers.port_mappings),
    "listen": ("listens", _LISTEN),
    "routes": ("routes", _ROUTES),
    "sysctls": ("sysctls", readers.strings),
}
_TOPOLOGY: Final[Mapping[str, tuple[str, Callable[..., Any]]]] = {
    "name": ("name", readers.text),
    "title": ("title", readers.text),
    "source": ("source", readers.many(readers.text, "a list of texts")),
    "hosts": ("hosts", _hosts),
    "segments": ("segments", _segments),
    "networks": ("networks", _networks),
    "containers": ("containers", _containers),
    "cables": ("cables", _cables),
    "notes": ("notes", readers.strings),
}
_ON_HOSTS: Final = ("networks", "containers")  # these readers take the host that may be left out
