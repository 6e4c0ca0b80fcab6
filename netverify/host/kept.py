"""What is kept of an engine's words: a list of what is, not of what is not.

Environment variables, commands, mounts and labels are where people put secrets; none of them is noticed by a
packet, and none gets into a snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from netverify.host.parts import Parts


def _whole(names: str) -> Mapping[str, Any]:
    """These keys, with their values whole."""
    return dict.fromkeys(names.split(), ...)


# What is kept of each document, as a tree of keys: `...` keeps a value whole, a key that ends in * stands for
# all that begin so. The members of a list are what the tree says of the list.
_ATTACHMENT: Final = _whole(
    "NetworkID EndpointID Gateway IPAddress IPPrefixLen MacAddress IPv6Gateway GlobalIPv6Address "
    "GlobalIPv6PrefixLen"
)
CONTAINER: Final[Mapping[str, Any]] = {
    **_whole("Id Name"),
    "State": _whole("Running Pid Status"),
    "Config": _whole("ExposedPorts User"),
    "HostConfig": _whole("NetworkMode PortBindings Privileged CapAdd CapDrop PublishAllPorts Links Sysctls"),
    "NetworkSettings": {**_whole("SandboxKey Ports"), "Networks": {"*": _ATTACHMENT}},
}
# The options of the drivers bridge, macvlan, ipvlan and overlay; those of other drivers may be credentials.
_OPTIONS: Final = _whole(
    "com.docker.network.* parent macvlan_mode ipvlan_mode ipvlan_flag encrypted isolate mode mtu vlan metric "
    "no_default_route"
)
NETWORK: Final[Mapping[str, Any]] = {
    **_whole("Name Id Scope Driver EnableIPv4 EnableIPv6 Internal Attachable Ingress"),
    "Options": _OPTIONS,
    "IPAM": _whole("Driver Config"),
    # Podman with netavark (libnetwork/types/network.go of containers/common)
    **_whole("name id driver network_interface internal ipv6_enabled subnets"),
    "options": _OPTIONS,
    # Podman with CNI (containernetworking/cni SPEC.md)
    "plugins": {**_whole("type bridge isGateway ipMasq hairpinMode master"), "ipam": _whole("type ranges")},
}
INFO: Final[Mapping[str, Any]] = {
    **_whole(
        "ServerVersion OperatingSystem KernelVersion Architecture SecurityOptions FirewallBackend "
        "LiveRestoreEnabled IPv4Forwarding BridgeNfIptables BridgeNfIp6tables Warnings"
    ),
    "Swarm": _whole("LocalNodeState NodeAddr"),
    # what Podman says instead: libpod/define/info.go
    "version": _whole("APIVersion Version"),
    "host": {
        **_whole("arch kernel os networkBackend rootlessNetworkCmd"),
        "security": _whole("rootless"),
    },
}


def kept(value: Any, keys: Any) -> Any:
    """A document with nothing in it but what a tree of keys names; None where it has another shape."""
    if keys is ...:
        return value
    if isinstance(value, list):
        return [kept(member, keys) for member in value]
    if not isinstance(value, dict):
        return None
    found = ((key, member, _branch(keys, key)) for key, member in value.items())
    return {key: kept(member, branch) for key, member, branch in found if branch is not None}


def _branch(keys: Mapping[str, Any], key: str) -> Any:
    """What a tree says of a key: a tree, `...`, or None."""
    if not key.endswith("*") and key in keys:
        return keys[key]
    starts = (each for each in keys if each.endswith("*") and key.startswith(each[:-1]))
    return next((keys[each] for each in starts), None)


def leaves(keys: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """A tree as the paths of what it keeps whole: `State/Running`."""
    for key, branch in keys.items():
        if branch is ...:
            yield above + key
        else:
            yield from leaves(branch, f"{above}{key}/")


_TREES: Final = {
    "docker-containers.json": CONTAINER,
    "docker-networks.json": NETWORK,
    "docker-info.json": INFO,
}


def without_secrets(parts: Parts) -> Parts:
    """A snapshot that was made by other means, with no more of the engine's words than is kept here.

    Raises SnapshotError for JSON that is damaged.
    """
    texts = {
        part: json.dumps(kept(parts.document(part).value, _TREES[part])) if part in _TREES else text
        for part, text in parts.texts.items()
    }
    return replace(parts, texts=texts)
