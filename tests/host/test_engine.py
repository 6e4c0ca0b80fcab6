"""What the engine says of itself and of what it gives its containers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netverify.host import Parts, SnapshotError, read_snapshot
from netverify.host.engine import Engine
from tests.host.samples import CONTAINERS, INFO, NETWORKS, TEXTS


def engine(document: Any) -> Engine | None:
    return read_snapshot(Parts("host", TEXTS | {"docker-info.json": json.dumps(document)})).engine


def test_docker() -> None:
    assert engine(INFO) == Engine("docker", "28.2.1", firewall_backend="iptables")


def test_an_engine_that_says_little() -> None:
    assert engine({"ServerVersion": "18.06.3-ce", "SecurityOptions": None}) == Engine("docker", "18.06.3-ce")


def test_rootless_docker_and_a_swarm() -> None:
    found = engine(INFO | {"SecurityOptions": ["name=rootless"], "Swarm": {"LocalNodeState": "active"}})
    assert found is not None
    assert (found.rootless, found.in_swarm) == (True, True)


def test_podman() -> None:
    document = {
        "host": {"security": {"rootless": True}, "networkBackend": "netavark"},
        "version": {"Version": "4.3.1"},
    }
    assert engine(document) == Engine("podman", "4.3.1", True, "netavark")


def test_what_was_not_collected_is_missing() -> None:
    texts = {name: text for name, text in TEXTS.items() if name not in ("docker-info.json", "meta.json")}
    snapshot = read_snapshot(Parts("host", texts))
    assert (snapshot.engine, snapshot.kernel) == (None, "")
    assert "docker-info.json" in snapshot.missing


def test_damage_is_named() -> None:
    with pytest.raises(SnapshotError, match=r"docker-info\.json"):
        engine(INFO | {"SecurityOptions": [3]})


def test_the_kernel() -> None:
    assert read_snapshot(Parts("host", TEXTS)).kernel == "6.1.0-18-amd64"


def test_what_a_container_was_given() -> None:
    (web,) = read_snapshot(Parts("host", TEXTS)).containers
    assert web.exposed == (("tcp", 80), ("tcp", 443))
    assert web.capabilities == {"NET_ADMIN"}
    assert not web.privileged
    given = json.loads(json.dumps(CONTAINERS))
    given[0]["HostConfig"] |= {"Privileged": True, "CapAdd": ["cap_net_raw"]}
    texts = TEXTS | {"docker-containers.json": json.dumps(given)}
    (web,) = read_snapshot(Parts("host", texts)).containers
    assert (web.privileged, web.capabilities) == (True, {"NET_RAW"})


def test_options_of_a_network() -> None:
    option = "com.docker.network.bridge.enable_icc"
    given = [NETWORKS[0] | {"Options": {option: "false"}, "EnableIPv6": True, "Ingress": True}]
    texts = TEXTS | {"docker-networks.json": json.dumps(given)}
    (network,) = read_snapshot(Parts("host", texts)).networks
    assert (network.option(option), network.option("other", "x")) == ("false", "x")
    assert (network.ipv6, network.is_ingress) == (True, True)
