"""The engine's part of a snapshot: what is kept, what is left out, and what is said of what cannot be had."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from netverify.host import read_json, read_snapshot
from netverify.host.parts import Parts
from netverify.kernel import collect_engine
from netverify.model import sources
from netverify.model.matrix import reach
from netverify.reachability.probe import tcp
from tests.host.samples import TEXTS

CONTAINER = {
    "Id": "c0ffee",
    "Name": "/web",
    "Args": ["--password=hunter2"],
    "State": {"Running": True, "Pid": 4711, "Status": "running"},
    "Config": {"Env": ["TOKEN=hunter2"], "Labels": {"api_key": "hunter2"}, "ExposedPorts": {"80/tcp": {}}},
    "Mounts": [{"Source": "/etc/hunter2"}],
    "HostConfig": {"NetworkMode": "front", "Binds": ["/hunter2:/x"], "Privileged": False},
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]},
        "Networks": {
            "front": {
                "IPAddress": "172.18.0.2",
                "IPPrefixLen": 16,
                "Gateway": "172.18.0.1",
                "MacAddress": "02:42:ac:12:00:02",
                "DriverOpts": {"secret": "hunter2"},
            }
        },
    },
}
NETWORK = {
    "Name": "front",
    "Id": "abcdef0123456789",
    "Driver": "bridge",
    "Internal": False,
    "IPAM": {"Config": [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]},
    "Options": {},
    "Labels": {"note": "hunter2"},
    "Containers": {"c0ffee": {"Name": "web"}},
}
INFO = {"ServerVersion": "26.1.5", "RegistryConfig": {"auth": "hunter2"}, "HttpProxy": "http://u:hunter2@p"}


class Engine:
    """Answers as the docker program does."""

    def __init__(self, **changes: tuple[int, str, str]) -> None:
        self.asked: list[Sequence[str]] = []
        self.answers: Mapping[str, tuple[int, str, str]] = {
            "info": (0, json.dumps(INFO), ""),
            "network ls": (0, "abcdef0123456789\n", ""),
            "network inspect": (0, json.dumps([NETWORK]), ""),
            "ps": (0, "c0ffee\n", ""),
            "container inspect": (0, json.dumps([CONTAINER]), ""),
            "nsenter": (0, "[]", ""),
            **{name.replace("_", " "): answer for name, answer in changes.items()},
        }

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.asked.append(command)
        words = " ".join(command[1:3]) if command[0] == "docker" else command[0]
        code, out, err = next(a for name, a in self.answers.items() if words.startswith(name))
        return subprocess.CompletedProcess(command, code, out, err)


def collected(engine: Engine) -> tuple[dict[str, str], dict[str, str]]:
    return collect_engine.collect(engine, "docker")


def test_a_snapshot_reads_it() -> None:
    texts, missing = collected(Engine())
    parts = Parts("test", {**texts, "addr.json": "[]"}, missing, "host")
    snapshot = read_snapshot(read_json(parts.as_json(), "host.json"))
    (container,) = snapshot.containers
    assert (container.name, container.mode) == ("web", "front")
    assert str(container.attachments[0].addresses[0]) == "172.18.0.2/16"
    assert container.publications[0].host_port == 8080
    assert snapshot.networks[0].bridge == "br-abcdef012345"


def test_secrets_are_left_out() -> None:
    texts, _missing = collected(Engine())
    assert texts
    assert not any("hunter2" in text for text in texts.values())
    kept: Any = json.loads(texts["docker-containers.json"])
    assert kept[0]["Config"] == {"ExposedPorts": {"80/tcp": {}}}


def test_a_container_is_only_looked_into() -> None:
    engine = Engine()
    collected(engine)
    inside = [command for command in engine.asked if command[0] == "nsenter"]
    assert [command[1] for command in inside] == ["--net=/proc/4711/ns/net"] * 2
    assert all(command[2] == "ip" for command in inside)


def test_a_container_that_ended_meanwhile_is_no_fault() -> None:
    ended = (1, "[]", "Error response from daemon: No such container: c0ffee")
    texts, missing = collected(Engine(container_inspect=ended))
    assert json.loads(texts["docker-containers.json"]) == []
    assert missing == {}


def test_an_engine_that_refuses() -> None:
    refusal = (1, "", "permission denied while trying to connect to the Docker daemon socket\nmore")
    texts, missing = collected(Engine(info=refusal, network_ls=refusal, ps=refusal))
    assert texts == {}
    assert missing["docker-info.json"].startswith("docker info: permission denied")
    assert set(missing) == {"docker-info.json", "docker-networks.json", "docker-containers.json"}


def test_what_is_no_json_is_said() -> None:
    _texts, missing = collected(Engine(network_inspect=(0, "oops", "")))
    assert missing["docker-networks.json"].startswith("docker network inspect printed no JSON")


def test_a_namespace_that_cannot_be_seen() -> None:
    _texts, missing = collected(
        Engine(nsenter=(1, "", "nsenter: cannot open /proc/4711/ns/net: Permission denied"))
    )
    assert set(missing) == {"containers/web/addr.json", "containers/web/route.json"}
    assert "Permission denied" in missing["containers/web/addr.json"]


PODMAN_NETWORK = {
    "name": "front",
    "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
    "driver": "bridge",
    "network_interface": "podman1",
    "created": "2026-01-01T00:00:00Z",
    "subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}],
    "ipv6_enabled": False,
    "internal": True,
    "dns_enabled": True,
    "labels": {"note": "hunter2"},
    "options": {"isolate": "true", "token": "hunter2"},
    "ipam_options": {"driver": "host-local"},
}
CNI_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "podman",
    "args": {"secret": "hunter2"},
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni-podman0",
            "isGateway": True,
            "ipMasq": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]]},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
PODMAN_CONTAINER = {
    **CONTAINER,
    "Name": "web",
    "Config": {"Env": ["TOKEN=hunter2"], "CreateCommand": ["podman", "run", "-e", "TOKEN=hunter2"]},
    "HostConfig": {"NetworkMode": "bridge", "CapAdd": ["CAP_NET_ADMIN"]},
}
PODMAN_INFO = {
    "host": {
        "hostname": "hunter2",
        "networkBackend": "netavark",
        "security": {"rootless": True, "capabilities": "hunter2"},
    },
    "registries": {"search": ["hunter2"]},
    "version": {"Version": "4.3.1", "BuiltTime": "hunter2"},
}


class Podman(Engine):
    """Answers as the podman program does; Docker is not installed there."""

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        assert command[0] != "docker"
        return super().__call__(["docker" if command[0] == "podman" else command[0], *command[1:]])


def podman_parts(network: Any) -> Parts:
    engine = Podman(
        info=(0, json.dumps(PODMAN_INFO), ""),
        network_inspect=(0, json.dumps([network]), ""),
        container_inspect=(0, json.dumps([PODMAN_CONTAINER]), ""),
    )
    texts, missing = collect_engine.collect(engine, is_installed=lambda program: program == "podman")
    assert missing == {}
    assert not any("hunter2" in text for text in texts.values())
    return Parts("test", {**texts, "addr.json": "[]"}, missing, "host")


def test_podman_with_netavark() -> None:
    snapshot = read_snapshot(podman_parts(PODMAN_NETWORK))
    (network,), (container,), engine = snapshot.networks, snapshot.containers, snapshot.engine
    assert (network.name, network.bridge, network.internal) == ("front", "podman1", True)
    assert [str(subnet) for subnet in network.subnets] == ["10.89.0.0/24"]
    assert network.option("isolate") == "true"
    assert (container.name, container.capabilities) == ("web", {"NET_ADMIN"})
    assert engine is not None
    assert (engine.program, engine.version, engine.rootless) == ("podman", "4.3.1", True)


def test_podman_with_cni() -> None:
    (network,) = read_snapshot(podman_parts(CNI_NETWORK)).networks
    assert (network.name, network.driver, network.bridge) == ("podman", "bridge", "cni-podman0")
    assert [str(subnet) for subnet in network.subnets] == ["10.88.0.0/16"]
    assert not network.internal


def test_of_two_engines_the_one_that_answers() -> None:
    class Both(Engine):
        def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
            if command[0] == "docker":
                return subprocess.CompletedProcess(command, 1, "", "Cannot connect to the Docker daemon")
            return super().__call__(["docker" if command[0] == "podman" else command[0], *command[1:]])

    texts, missing = collect_engine.collect(Both(), is_installed=bool)
    assert missing == {}
    assert "docker-containers.json" in texts


def test_names_that_are_no_words_become_no_files() -> None:
    containers = [
        {**CONTAINER, "Id": f"{number}" * 12 + "ff", "Name": name}
        for number, name in enumerate(("/../../x", "/-rf", "/a b", "/\x1b[31m", "/" + "x" * 201))
    ]
    texts, missing = collected(Engine(container_inspect=(0, json.dumps(containers), "")))
    assert missing == {}
    names = [container["Name"] for container in json.loads(texts["docker-containers.json"])]
    assert names == ["container-" + f"{number}" * 12 for number in range(5)]
    assert {part for part in texts if "/" in part} == {
        f"containers/{name}/{kind}.json" for name in names for kind in ("addr", "route")
    }


def test_identities_that_are_options_are_not_passed_on() -> None:
    engine = Engine(ps=(0, "--format=x\n", ""), network_ls=(0, "ab;reboot\n", ""))
    _texts, missing = collected(engine)
    assert missing["docker-containers.json"] == "docker ps printed what is no identity"
    assert missing["docker-networks.json"] == "docker network printed what is no identity"
    assert not any("inspect" in command for command in engine.asked)


def test_a_rootless_engine_leaves_its_containers_unknown() -> None:
    """Its bridges are in another namespace: nothing that concerns its containers is taken for known."""
    info = json.dumps(INFO | {"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]})
    texts = dict(TEXTS) | {"docker-info.json": info}
    subject = sources.snapshot(Parts("x", texts))
    cells = reach(subject, tcp(80), ["lan", "host"], ["web", "host"])
    assert [bool(pair.lacks) for pair in cells.pairs] == [True, False, True, False]
    known = reach(sources.snapshot(Parts("x", TEXTS)), tcp(80), ["lan", "host"], ["web", "host"])
    assert not known.lacks
