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

from netverify.host.kept import CONTAINER, INFO, NETWORK, kept

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]

ENGINES: Final = ("docker", "podman")
NO_ENGINE: Final = f"neither {' nor '.join(ENGINES)} is installed"
AT_ONCE: Final = 100  # containers that one `inspect` is asked for


# daemon/names/names.go of moby: RestrictedNameChars. Podman's are the same.
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_IDENTITY: Final = re.compile(r"[a-zA-Z0-9]+")


class Refused(Exception):
    """The engine could not be asked; the message says why."""


def collect(
    run: Run, program: str | None = None, is_installed: Callable[[str], object] = shutil.which
) -> tuple[dict[str, str], dict[str, str]]:
    """The engine's parts by file name, and for what could not be collected, why.

    `program` is the engine's; without it, the first that is installed and answers.
    """
    texts: dict[str, str] = {}
    missing: dict[str, str] = {}
    there = (program,) if program is not None else tuple(name for name in ENGINES if is_installed(name))
    if not there:
        parts = ("docker-info.json", "docker-networks.json", "docker-containers.json")
        return texts, dict.fromkeys(parts, NO_ENGINE)
    engine = there[0]
    for candidate in there:
        try:
            texts["docker-info.json"] = json.dumps(_info(run, candidate))
        except Refused as refused:
            missing.setdefault("docker-info.json", str(refused))
        else:
            engine = candidate
            missing.clear()
            break
    for part, read in (("docker-networks.json", _networks), ("docker-containers.json", _containers)):
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
    return kept(_json(run, engine, "info", "--format", "{{json .}}"), INFO)


def _networks(run: Run, engine: str) -> list[Any]:
    listed = _identities(run, engine, "network", "ls", "--no-trunc", "--format", "{{.ID}}")
    return [kept(each, NETWORK) for each in _inspected(run, engine, ("network", "inspect"), listed)]


def _containers(run: Run, engine: str) -> list[Any]:
    listed = _identities(run, engine, "ps", "--no-trunc", "--format", "{{.ID}}")
    found = [kept(each, CONTAINER) for each in _inspected(run, engine, ("container", "inspect"), listed)]
    for position, container in enumerate(found):
        if not isinstance(container, dict):
            raise Refused(f"{engine} container inspect printed something else than containers")
        container["Name"] = _name(container, position)
    return found


def _name(container: Mapping[str, Any], position: int) -> str:
    """A container's name without the slash that Docker puts before it.

    No engine gives a name that is no word; of one that is none nothing becomes a file's name.
    """
    name, identity = (_text(container.get(key)) for key in ("Name", "Id"))
    name = name.removeprefix("/")
    if _NAME.fullmatch(name) and len(name) <= 200:
        return name
    return f"container-{identity[:12] if _IDENTITY.fullmatch(identity) else position}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _identities(run: Run, *words: str) -> list[str]:
    listed = _said(run, *words).split()
    if not all(map(_IDENTITY.fullmatch, listed)):
        raise Refused(f"{' '.join(words[:2])} printed what is no identity")
    return listed


def _inspected(run: Run, engine: str, words: Sequence[str], identities: Sequence[str]) -> list[Any]:
    """Everything that is still there: a container may end between being listed and being asked for."""
    found: list[Any] = []
    for start in range(0, len(identities), AT_ONCE):
        done = run((engine, *words, *identities[start : start + AT_ONCE]))
        if done.returncode != 0 and not re.search("no such|not found", done.stderr, re.IGNORECASE):
            raise Refused(f"{engine} {' '.join(words)}: {_first_line(done)}")
        document = _loaded(done.stdout or "[]", f"{engine} {' '.join(words)}")
        if not isinstance(document, list):
            raise Refused(f"{engine} {' '.join(words)} printed no JSON: no list")
        found += document
    return found


def _inside(run: Run, container: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """What `ip` says inside a container's namespace, unless it is somebody else's."""
    name = str(container.get("Name", ""))
    mode = _text(_object(container.get("HostConfig")).get("NetworkMode"))
    process = _object(container.get("State")).get("Pid", 0)
    if mode == "host" or mode.startswith("container:"):
        return {}, {}
    texts: dict[str, str] = {}
    missing: dict[str, str] = {}
    for kind, words in (("addr", ("addr",)), ("route", ("route", "show", "table", "all"))):
        part = f"containers/{name}/{kind}.json"
        if not isinstance(process, int) or isinstance(process, bool) or process <= 0:
            missing[part] = "the engine does not say which process is its first"
            continue
        done = run(("nsenter", f"--net=/proc/{process}/ns/net", "ip", "-j", "-d", *words))
        if done.returncode != 0:
            missing[part] = f"nsenter: {_first_line(done)}"
            continue
        try:
            texts[part] = json.dumps(_loaded(done.stdout.strip() or "[]", "ip"))
        except Refused as refused:
            missing[part] = str(refused)
    return texts, missing


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(run: Run, *words: str) -> Any:
    return _loaded(_said(run, *words), " ".join(words[:2]))


def _loaded(text: str, words: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{words} printed no JSON: {error}") from error


def _said(run: Run, *words: str) -> str:
    done = run(words)
    if done.returncode != 0:
        raise Refused(f"{' '.join(words[:2])}: {_first_line(done)}")
    return done.stdout


def _first_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[0]
