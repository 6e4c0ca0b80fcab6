"""`Topology` out, as a topology file: what `load` makes the same topology of.

What has its default is left out, so a dumped file reads as if a person had written it.
"""

from __future__ import annotations

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
    return yaml.dump(
        {key: value for key, value in parts.items() if value},
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
        width=_WIDTH,
    )


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
    options = ("ipv6", "userland_proxy", "forward_policy")
    return {"version": daemon.version} | _changed(daemon, {key: getattr(usual, key) for key in options})


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
}


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks; no anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the same list twice is written twice
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)
