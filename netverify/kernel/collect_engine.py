"""The engine's part of a snapshot: containers, networks, the engine itself, and the inside of each container.

Docker and Podman answer the same words. Of what they print only what a packet can notice is kept: there is a
list of what is, not of what is not, so that environment variables, commands, mounts and labels with secrets
stay where they are. Inside a container nothing is started: the host's `ip` looks through the namespace of
its first process.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]

ENGINES: Final = ("docker", "podman")
AT_ONCE: Final = 100  # containers that one `inspect` is asked for


def _whole(names: str) -> Mapping[str, Any]:
    """These keys, with their values whole."""
    return dict.fromkeys(names.split(), ...)


# What is kept of each document, as a tree of keys; `...` keeps a value whole, "*" stands for every key.
_ATTACHMENT: Final = _whole(
    "NetworkID EndpointID Gateway IPAddress IPPrefixLen MacAddress IPv6Gateway GlobalIPv6Address "
    "GlobalIPv6PrefixLen"
)
_CONTAINER: Final[Mapping[str, Any]] = {
    **_whole("Id Name"),
    "State": _whole("Running Pid Status"),
    "Config": _whole("ExposedPorts User"),
    "HostConfig": _whole("NetworkMode PortBindings Privileged CapAdd CapDrop PublishAllPorts Links Sysctls"),
    "NetworkSettings": {**_whole("SandboxKey Ports"), "Networks": {"*": _ATTACHMENT}},
}
_NETWORK: Final = _whole(
    "Name Id Scope Driver EnableIPv4 EnableIPv6 IPAM Internal Attachable Ingress Options"
)
_INFO: Final[Mapping[str, Any]] = {
    **_whole(
        "ServerVersion OperatingSystem KernelVersion Architecture SecurityOptions FirewallBackend "
        "LiveRestoreEnabled IPv4Forwarding BridgeNfIptables BridgeNfIp6tables Warnings host version"
    ),
    "Swarm": _whole("LocalNodeState NodeAddr"),
}


class Refused(Exception):
    """The engine could not be asked; the message says why."""


def collect(run: Run, program: str | None = None) -> tuple[dict[str, str], dict[str, str]]:
    """The engine's parts by file name, and for what could not be collected, why."""
    texts: dict[str, str] = {}
    missing: dict[str, str] = {}
    engine = program or next((name for name in ENGINES if shutil.which(name)), None)
    if engine is None:
        reason = f"neither {' nor '.join(ENGINES)} is installed"
        return texts, dict.fromkeys(
            ("docker-info.json", "docker-networks.json", "docker-containers.json"), reason
        )
    for part, read in (
        ("docker-info.json", _info),
        ("docker-networks.json", _networks),
        ("docker-containers.json", _containers),
    ):
        try:
            texts[part] = json.dumps(read(run, engine))
        except Refused as refused:
            missing[part] = str(refused)
    for container in json.loads(texts.get("docker-containers.json", "[]")):
        inside, unseen = _inside(run, container)
        texts |= inside
        missing |= unseen
    return texts, missing


def _info(run: Run, engine: str) -> Any:
    return kept(_json(run, engine, "info", "--format", "{{json .}}"), _INFO)


def _networks(run: Run, engine: str) -> list[Any]:
    listed = _said(run, engine, "network", "ls", "--no-trunc", "--format", "{{.ID}}").split()
    return [kept(each, _NETWORK) for each in _inspected(run, engine, ("network", "inspect"), listed)]


def _containers(run: Run, engine: str) -> list[Any]:
    listed = _said(run, engine, "ps", "--no-trunc", "--format", "{{.ID}}").split()
    found = [kept(each, _CONTAINER) for each in _inspected(run, engine, ("container", "inspect"), listed)]
    for container in found:
        # Podman writes the name without the slash that Docker puts before it.
        container["Name"] = str(container.get("Name", "")).removeprefix("/")
    return found


def _inspected(run: Run, engine: str, words: Sequence[str], identities: Sequence[str]) -> list[Any]:
    """Everything that is still there: a container may end between being listed and being asked for."""
    found: list[Any] = []
    for start in range(0, len(identities), AT_ONCE):
        done = run((engine, *words, *identities[start : start + AT_ONCE]))
        try:
            document = json.loads(done.stdout or "[]")
        except json.JSONDecodeError as error:
            raise Refused(f"{engine} {' '.join(words)} printed no JSON: {error}") from error
        if done.returncode != 0 and not re.search("no such|not found", done.stderr, re.IGNORECASE):
            raise Refused(f"{engine} {' '.join(words)}: {_first_line(done)}")
        found += document
    return found


def _inside(run: Run, container: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """What `ip` says inside a container's namespace, unless it is somebody else's."""
    name = str(container.get("Name", ""))
    mode = str(container.get("HostConfig", {}).get("NetworkMode", ""))
    process = container.get("State", {}).get("Pid", 0)
    if mode == "host" or mode.startswith("container:"):
        return {}, {}
    texts: dict[str, str] = {}
    missing: dict[str, str] = {}
    for kind, words in (("addr", ("addr",)), ("route", ("route", "show", "table", "all"))):
        part = f"containers/{name}/{kind}.json"
        if not isinstance(process, int) or process <= 0:
            missing[part] = "the engine does not say which process is its first"
            continue
        done = run(("nsenter", f"--net=/proc/{process}/ns/net", "ip", "-j", "-d", *words))
        if done.returncode == 0:
            texts[part] = done.stdout if done.stdout.strip() else "[]"
        else:
            missing[part] = f"nsenter: {_first_line(done)}"
    return texts, missing


def kept(value: Any, keys: Any) -> Any:
    """A document with nothing in it but what a tree of keys names."""
    if keys is ... or not isinstance(value, dict):
        return value
    every = keys.get("*")
    return {
        key: kept(member, every if every is not None else keys[key])
        for key, member in value.items()
        if every is not None or key in keys
    }


def _json(run: Run, *words: str) -> Any:
    try:
        return json.loads(_said(run, *words))
    except json.JSONDecodeError as error:
        raise Refused(f"{' '.join(words[:2])} printed no JSON: {error}") from error


def _said(run: Run, *words: str) -> str:
    done = run(words)
    if done.returncode != 0:
        raise Refused(f"{' '.join(words[:2])}: {_first_line(done)}")
    return done.stdout


def _first_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[0]
