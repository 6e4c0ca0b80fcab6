"""The engine's part of a snapshot: what is kept, what is left out, and what is said of what cannot be had."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from netverify.host import read_json, read_snapshot
from netverify.host.parts import Parts
from netverify.kernel import collect_engine

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
