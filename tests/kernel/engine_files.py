"""What an engine would print about a topology's containers, and a snapshot of its lab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from netverify.host import Parts
from netverify.kernel import collect
from netverify.kernel.lab import Lab
from netverify.topology.model import Container, Topology


def collected(lab: Lab, host: str = "host") -> Parts:
    """A snapshot of a lab's host, with its containers' namespaces and the engine's own words."""
    topology = lab.topology
    parts = collect.collect(lambda command: lab.visit(host, lambda: collect.run_here(command)), name=host)
    # An engine of the machine itself knows nothing of the lab.
    texts = {
        part: text for part, text in parts.texts.items() if not part.startswith(("docker-", "containers/"))
    }
    texts["docker-containers.json"] = json.dumps(list(containers(topology, host)))
    texts["docker-networks.json"] = json.dumps(list(networks(topology, host)))
    for container in topology.containers_on(host):
        if container.mode in ("host", "none") or container.mode.startswith("container:"):
            continue
        for part, words in (("addr", ["addr"]), ("route", ["route", "show", "table", "all"])):
            printed = lab.run(container.name, ["ip", "-j", "-d", *words])
            texts[f"containers/{container.name}/{part}.json"] = printed
    return Parts("lab", texts, parts.missing, host)


def containers(topology: Topology, host: str) -> Iterator[dict[str, Any]]:
    """`docker inspect` of every container."""
    for container in topology.containers_on(host):
        mode = container.mode or ""
        if mode.startswith("container:"):
            mode = "container:" + _identity(mode.removeprefix("container:"))
        yield {
            "Id": _identity(container.name),
            "Name": f"/{container.name}",
            "State": {"Running": True},
            "HostConfig": {"NetworkMode": mode or "bridge"},
            "NetworkSettings": {
                "Networks": dict(_attachments(topology, container)),
                "Ports": {
                    f"{one.container_port}/{one.protocol}": [
                        {"HostIp": str(one.host_address or ""), "HostPort": str(one.host_port)}
                    ]
                    for one in container.publish
                },
            },
        }


def _attachments(topology: Topology, container: Container) -> Iterator[tuple[str, dict[str, Any]]]:
    for attachment in topology.attachments(container.name):
        found: dict[str, Any] = {"MacAddress": ""}
        for address in attachment.addresses:
            keys = ("IPAddress", "IPPrefixLen") if address.version == 4 else (
                "GlobalIPv6Address", "GlobalIPv6PrefixLen",
            )  # fmt: skip
            found |= {keys[0]: str(address.ip), keys[1]: address.network.prefixlen}
        yield attachment.network.name, found


def networks(topology: Topology, host: str) -> Iterator[dict[str, Any]]:
    """`docker network inspect` of every network."""
    for network in topology.networks_on(host):
        yield {
            "Name": network.name,
            "Id": _identity(network.name),
            "Driver": network.driver.value,
            "Internal": network.internal,
            "IPAM": {"Config": [{"Subnet": str(subnet)} for subnet in network.subnets]},
            "Options": {"com.docker.network.bridge.name": network.host_device},
        }


def _identity(name: str) -> str:
    return name.encode().hex().ljust(64, "0")[:64]
