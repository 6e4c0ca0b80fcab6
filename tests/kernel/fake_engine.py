"""A program `docker` that answers from files, with names that mean harm, and what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from netverify.kernel.lifetime import mortal

LARGE = '"},{[\\"' * 9000  # a label of more than 64 KiB that looks like JSON
NAMES = (
    "/web",
    "/x; touch PWNED",
    "/$(touch PWNED)`touch PWNED`",
    "/../../PWNED",
    "/-rf",
    "/\x1b[31mred\u202e",
    '/a"b\\c\nd',
    "/" + "long" * 20_000,
)

PROGRAM = """\
#!/bin/sh
printf '%s\\n' "${0##*/} $*" >>'@FOLDER@/asked'
case "$1 $2" in
    'info '*) cat '@FOLDER@/info.json' ;;
    'network ls') cat '@FOLDER@/networks' ;;
    'network inspect') cat '@FOLDER@/networks.json' ;;
    'ps '*) cat '@FOLDER@/containers' ;;
    'container inspect') cat '@FOLDER@/containers.json' ;;
    *) echo "unknown: $*" >&2; exit 1 ;;
esac
"""


def container(name: str, number: int, process: int, mode: str = "front") -> dict[str, Any]:
    """What `docker inspect` prints of a container, with secrets wherever people put them."""
    return {
        "Id": f"{number:02x}" * 32,
        "Created": "2026-01-01T00:00:00Z",
        "Path": "sh",
        "Args": ["-c", "echo hunter2"],
        "State": {"Status": "running", "Running": True, "Pid": process, "Health": {"Log": ["hunter2"]}},
        "Name": name,
        "Mounts": [{"Source": "/hunter2", "Options": {"Pid": "hunter2"}}],
        "Config": {
            "Hostname": "hunter2",
            "Env": ["TOKEN=hunter2", 'X={"Name": "hunter2"}'],
            "Cmd": ["--password", "hunter2"],
            "Labels": {"api_key": "hunter2", "large": LARGE, "Name": "hunter2", "State/Running": "hunter2"},
            "ExposedPorts": {"80/tcp": {}},
            "User": "",
        },
        "HostConfig": {
            "Binds": ["/hunter2:/x"],
            "NetworkMode": mode,
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
            "Privileged": False,
            "CapAdd": ["NET_ADMIN"],
            "CapDrop": None,
            "PublishAllPorts": False,
            "Links": None,
        },
        "NetworkSettings": {
            "SandboxKey": "/var/run/docker/netns/1",
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None},
            "Networks": {
                "front": {
                    "IPAMConfig": None,
                    "DriverOpts": {"secret": "hunter2"},
                    "IPAddress": f"172.18.0.{number + 2}",
                    "IPPrefixLen": 16,
                    "Gateway": "172.18.0.1",
                    "GlobalIPv6Address": "",
                    "GlobalIPv6PrefixLen": 0,
                    "MacAddress": "02:42:ac:12:00:02",
                }
            },
        },
        "State/Running": "hunter2",
    }


def network(name: str, number: int, **options: str) -> dict[str, Any]:
    """What `docker network inspect` prints of a network."""
    return {
        "Name": name,
        "Id": f"{number:064x}",
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": {"token": "hunter2"},
            "Config": [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}],
        },
        "Internal": False,
        "Containers": {"c": {"Name": "hunter2"}},
        "Options": {"com.docker.network.bridge.name": "br-front", "password": "hunter2", **options},
        "Labels": {"note": "hunter2"},
    }


INFO = {
    "ID": "hunter2",
    "Labels": ["token=hunter2"],
    "RegistryConfig": {"Mirrors": ["https://u:hunter2@mirror"]},
    "HttpProxy": "http://u:hunter2@proxy",
    "ServerVersion": "28.5.1",
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "Swarm": {"NodeID": "hunter2", "LocalNodeState": "inactive"},
    "Warnings": None,
}


def install(folder: Path, process: int, program: str = "docker") -> Path:
    """Put the program into a folder; `process` is the first one of each container. Returns what it logs."""
    folder.mkdir(exist_ok=True)
    found = [container(name, number, process) for number, name in enumerate(NAMES)]
    found.append(container("/beside", 100, process, mode="container:" + "0" * 64))
    found.append(container("/nobody", 101, 0))
    networks = [network("front", 7), network("\x1b[2J$(touch PWNED)", 8)]
    files = {
        "info.json": json.dumps(INFO),
        "containers": "".join(f"{each['Id']}\n" for each in found),
        "containers.json": json.dumps(found, indent=4),
        "networks": "".join(f"{each['Id']}\n" for each in networks),
        "networks.json": json.dumps(networks, indent=4, ensure_ascii=False),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    path = folder / program
    path.write_text(PROGRAM.replace("@FOLDER@", str(folder)))
    path.chmod(0o755)
    return folder / "asked"


@contextmanager
def first_process() -> Iterator[int]:
    """A process in a network namespace of its own, with a device in it."""
    script = "ip link set lo up && ip addr add 10.9.8.7/24 dev lo && echo ready && exec cat"
    with Popen(mortal(["unshare", "--net", "sh", "-c", script]), stdin=PIPE, stdout=PIPE) as process:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError("the namespace could not be made")
        try:
            yield process.pid
        finally:
            process.kill()
