"""`Topology` out, as a topology file: what `load` makes the same topology of.

What has its default is left out, so a dumped file reads as if a person had written it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from netverify.topology.model import (
    Cable,
    Container,
    DockerDaemon,
    Endpoint,
    Host,
    Interface,
    Network,
    Role,
    Topology,
)

_WIDTH: Final = 110
_FITS: Final = 95  # characters of a mapping or list that stands on one line, its indent left out


def dump(topology: Topology) -> str:
    """The text of a topology file; `loads(dump(topology)) == topology`."""
    parts = {
        "name": topology.name,
        "title": topology.title,
        "source": list(topology.source),
        "segments": {segment.name: _slim(subnet=_several(segment.subnets)) for segment in topology.segments},
        "hosts": {host.name: _host(host) for host in topology.hosts},
        "networks": {network.name: _network(network) for network in topology.networks},
        "containers": {container.name: _container(container) for container in topology.containers},
        "cables": [_cable(cable) for cable in topology.cables],
        "notes": dict(topology.notes),
    }
    document = _represent({key: value for key, value in parts.items() if value})
    for key, section in document.value:
        for entry in _children(section):
            for part in _children(entry) if key.value == "cables" else [entry]:
                _compact(part)
    return yaml.serialize(document, Dumper=yaml.SafeDumper, allow_unicode=True, width=_WIDTH)


def _host(host: Host) -> dict[str, Any]:
    return _slim(
        role=None if host.role is Role.NETNS else host.role.value,
        forwarding=sorted(host.forwarding),
        loopback=None if host.loopback else False,
        docker=None if host.docker is None else _docker(host.docker),
        interfaces=_interfaces(host.interfaces),
        bridges=_interfaces(host.bridges),
        routes=list(map(str, host.routes)),
        sysctls=dict(host.sysctls),
        rules=host.rules,
        rules6=host.rules6,
        listen=_services(host.listens),
    )


def _docker(daemon: DockerDaemon) -> dict[str, Any]:
    usual = DockerDaemon()
    options = {part.name: getattr(usual, part.name) for part in dataclasses.fields(usual)}
    del options["version"]
    return {"version": daemon.version} | _changed(daemon, options)


def _interfaces(interfaces: Iterable[Interface]) -> dict[str, Any]:
    return {interface.device: _interface(interface) for interface in interfaces}


def _interface(interface: Interface) -> dict[str, Any]:
    return _slim(
        segment=interface.segment,
        address=_several(interface.addresses),
        master=interface.master,
        mac=interface.mac,
        mtu=interface.mtu,
        up=None if interface.up else False,
    )


def _network(network: Network) -> dict[str, Any]:
    return _slim(
        driver=network.driver.value,
        host=network.hosts[0] if len(network.hosts) == 1 else None,
        hosts=list(network.hosts) if len(network.hosts) > 1 else None,
        device=network.device if network.has_bridge else None,
        parent=None if network.has_bridge else network.device,
        mode=network.mode,
        subnet=_several(network.subnets),
        gateway=_several(network.gateways),
        vni=network.vni,
        mtu=network.mtu,
        host_binding=None if network.host_binding is None else str(network.host_binding),
        trusted=_several(network.trusted),
    ) | _changed(network, _FLAGS)


def _container(container: Container) -> dict[str, Any]:
    return _slim(
        host=container.host,
        mode=None if container.mode == "networks" else container.mode,
        networks=_endpoints(container),
        publish=list(map(str, container.publish)),
        listen=_services(container.listens),
        routes=list(map(str, container.routes)),
        sysctls=dict(container.sysctls),
    )


def _endpoints(container: Container) -> dict[str, Any] | list[str]:
    """The names alone where there is nothing to say but them."""
    described = {endpoint.network: _endpoint(endpoint) for endpoint in container.endpoints}
    return described if any(described.values()) else list(described)


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return _slim(
        address=_several(endpoint.addresses),
        device=endpoint.device,
        mac=endpoint.mac,
        host_device=endpoint.host_device,
    )


def _cable(cable: Cable) -> dict[str, Any]:
    return {str(end): _interface(end.interface) for end in cable.ends}


def _services(listens: Iterable[tuple[str, int]]) -> list[str]:
    return [f"{protocol}/{port}" for protocol, port in listens]


def _several(values: Iterable[object]) -> str | list[str] | None:
    """One value alone, a list of several, nothing for none."""
    texts = list(map(str, values))
    return texts[0] if len(texts) == 1 else texts or None


def _slim(**fields: Any) -> dict[str, Any]:
    """Without what says nothing: None, and empty lists and mappings (an empty text says something)."""
    return {key: value for key, value in fields.items() if value is not None and value not in ([], {})}


def _changed(part: object, usual: Mapping[str, object]) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    fields = {key: getattr(part, key) for key in usual}
    return {key: value for key, value in fields.items() if value != usual[key]}


_FLAGS: Final = {
    "default_bridge": False,
    "default_route": True,
    "internal": False,
    "icc": True,
    "masquerade": True,
    "gateway_mode": "nat",
    "gateway_mode6": "nat",
}


def _represent(value: object) -> yaml.Node:
    """A value as a YAML node: texts of several lines as blocks, the rest as it comes, in block style."""
    if isinstance(value, dict):
        pairs = [(_represent(key), _represent(member)) for key, member in value.items()]
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=False)
    if isinstance(value, list):
        return yaml.SequenceNode("tag:yaml.org,2002:seq", list(map(_represent, value)), flow_style=False)
    if isinstance(value, str):
        return yaml.ScalarNode("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)
    kind, text = ("bool", "true" if value else "false") if isinstance(value, bool) else ("int", str(value))
    return yaml.ScalarNode(f"tag:yaml.org,2002:{kind}", text)


def _compact(node: yaml.Node) -> int:
    """Put what fits on a line into flow style; return about how long the node is."""
    if isinstance(node, yaml.ScalarNode):
        return _WIDTH if "\n" in node.value else len(node.value) + 4  # quotes and separators
    length = 2 + sum(map(_compact, _children(node)))
    if isinstance(node, yaml.MappingNode):
        length += sum(len(key.value) + 2 for key, _ in node.value)
    if isinstance(node, yaml.CollectionNode):
        node.flow_style = length <= _FITS
    return min(length, _WIDTH)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [value for _, value in node.value]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
