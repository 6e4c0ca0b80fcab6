"""Snapshots of other hosts, through the connections of pytest-testinfra: ssh, docker, ansible and others.

What runs on a host is what runs here (`collect.commands`), each command as one line for its shell, with every
word quoted. A host that cannot be reached, or is lost on the way, gives no snapshot: half of one would say of
everything else that it could not be collected.
"""

from __future__ import annotations

import ast
import configparser
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from netverify.errors import InputError, MissingCapability, NetverifyError
from netverify.host import Parts
from netverify.kernel import collect, collect_engine
from netverify.topology.errors import did_you_mean, printable, quoted

SCHEMES: Final = (
    *("ssh", "safe-ssh", "paramiko", "ansible", "docker", "podman", "kubectl", "openshift", "lxc", "salt"),
    *("chroot", "local"),
)
PATIENCE: Final = "-o BatchMode=yes -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
"""ssh asks nobody for a password, and gives up a host that says nothing for a minute."""
_BEGIN: Final = "netverify: begin"  # what the host prints before is a greeting of its shell
_PATH: Final = "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C; export PATH LC_ALL; "


class Unreachable(NetverifyError):
    """A host could not be asked; `reason` says why."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{host}: unreachable: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Target:
    """A host to collect from. `shown` is its URL without a password, `label` a name for its file."""

    shown: str
    label: str
    connection: Any


@contextmanager
def targets(urls: Iterable[str], inventory: str | None = None) -> Iterator[tuple[Target, ...]]:
    """The hosts behind URLs such as ssh://root@web-7:22?sudo=true, docker://NAME or ansible://GROUP.

    `inventory` is a file or program for ansible. What URLs mean is told by the documentation of
    pytest-testinfra's connection backends. Raises InputError for a URL that means nothing, MissingCapability
    where pytest-testinfra or ansible is not installed, NetverifyError where ansible refuses.
    """
    try:
        import testinfra
    except ImportError as error:
        raise MissingCapability(
            "pytest-testinfra", str(error), "Install it: pip install 'netverify[remote]'"
        ) from error
    with tempfile.TemporaryDirectory(prefix="netverify-") as sockets:
        found: dict[str, Target] = {}
        for number, url in enumerate(dict.fromkeys(urls)):
            scheme, options = _checked(url), {}
            if scheme in ("ssh", "safe-ssh"):
                # One connection for all commands; it ends five seconds after the last one.
                path = shlex.quote(f"{sockets}/{number}").replace("%", "%%")  # testinfra formats its words
                options = {"controlpath": path, "controlpersist": 5}
                if ":" not in urlsplit(url).netloc.rpartition("@")[0]:
                    options["ssh_extra_args"] = PATIENCE
            elif scheme == "ansible":
                _require_ansible()
                options = {"ansible_inventory": inventory} if inventory is not None else {}
            try:
                connections = testinfra.get_hosts([url], **options)
            except _troubles() as error:
                raise NetverifyError(f"{_shown(url)}: {_reason(error)}") from error
            if not connections:
                raise InputError(f"{_shown(url)}: no host or group of the inventory is called so")
            for connection in connections:
                shown = _shown(url) if scheme != "ansible" else connection.backend.get_pytest_id()
                label = connection.backend.get_hostname() if scheme != "local" else platform.node()
                found.setdefault(shown, Target(shown, label, connection))
        yield _labelled(found.values())


def collect_all(hosts: Sequence[Target], workers: int) -> Iterator[tuple[Target, Parts | Unreachable]]:
    """A snapshot of each host, or why there is none, as they come in; that many hosts are asked at once."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        asked = {pool.submit(collect_from, target): target for target in hosts}
        try:
            for done in as_completed(asked):
                target = asked[done]
                error = done.exception()
                if isinstance(error, Unreachable):
                    yield target, error
                else:
                    yield target, done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def collect_from(target: Target) -> Parts:
    """A snapshot of a host. Raises Unreachable."""
    wanted = sorted(
        {command.split()[0] for command in collect.commands()} | {*collect_engine.ENGINES, "timeout"}
    )
    first = f"uname -n; uname -r; for p in {' '.join(wanted)}; "
    first += 'do command -v "$p" >/dev/null && echo "$p"; done; true'
    name, kernel, *programs = _run(target, first).stdout.splitlines()
    limit = f"timeout {collect.LIMIT:.0f} " if "timeout" in programs else ""

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        done = _run(target, f"{limit}{shlex.join(command)}")
        if limit and done.returncode == 124:
            raise subprocess.TimeoutExpired(list(command), collect.LIMIT)
        return done

    return collect.collect(
        run, name=name, source=target.shown, kernel=kernel, is_installed=programs.__contains__
    )


def _run(target: Target, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of sh on a host. Raises Unreachable where the connection fails."""
    # ssh says 255 where it failed itself; so do `ip` and others, which is another matter.
    line = f"echo {shlex.quote(_BEGIN)}; {_PATH}{line}; s=$?; [ $s -ne 255 ] || s=254; exit $s"
    try:
        done = target.connection.run(f"sh -c {shlex.quote(line)}")
        out, err = (raw.decode("utf-8", "replace") for raw in (done.stdout_bytes, done.stderr_bytes))
    except _troubles() as error:
        raise Unreachable(target.shown, _reason(error)) from error
    _, begun, out = out.partition(f"{_BEGIN}\n")
    if not begun:  # nothing of it ran
        reason = (err.strip() or f"exit code {done.rc}").splitlines()[0]
        raise Unreachable(target.shown, printable(reason)[:300])
    return subprocess.CompletedProcess([line], done.rc, out, err)


def _troubles() -> tuple[type[Exception], ...]:
    """What testinfra's backends raise when they cannot connect: they have no exception of their own."""
    paramiko = sys.modules.get("paramiko")
    more = (paramiko.SSHException,) if paramiko is not None else ()
    known = (RuntimeError, AssertionError, OSError, ValueError, KeyError, ImportError, EOFError)
    return (*known, configparser.Error, *more)


def _reason(error: Exception) -> str:
    """The first line of what a backend's program said, or of the exception."""
    result = error.args[0] if error.args else None
    raw: bytes = getattr(result, "stderr_bytes", b"")
    shown = re.search(r"_stderr=(b(['\"]).*\2)\)$", str(error), re.MULTILINE)  # an assertion of testinfra's
    if not raw and shown is not None:
        raw = ast.literal_eval(shown[1])
    # ssh ends its lines with \r, and names the host that the URL has named already.
    text = raw.decode("utf-8", "replace").strip() or str(error).strip() or type(error).__name__
    return printable(text.splitlines()[-1 if raw else 0].strip())[:300]


def _checked(url: str) -> str:
    """The scheme of a URL. Raises InputError."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise InputError(
            f"{quoted(url)} is no URL; expected such as ssh://root@HOST, docker://NAME or local://"
        )
    if scheme not in SCHEMES:
        known = did_you_mean(scheme, SCHEMES)
        raise InputError(f"{quoted(_shown(url))}: there is no connection {quoted(scheme)}; expected {known}")
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError as error:
        raise InputError(f"{quoted(_shown(url))}: {error}") from error
    if host.startswith("-"):  # a program would take it for an option
        raise InputError(f"{quoted(_shown(url))}: no host's name begins with `-`")
    if not host and scheme not in ("local", "ansible"):
        raise InputError(f"{quoted(_shown(url))}: which host? Expected {scheme}://HOST")
    return scheme


def _shown(url: str) -> str:
    """A URL without password and options, as it may be printed."""
    plain = re.sub(r"^([^/@]*://[^/@:]*):[^@]*@", r"\1@", url).partition("?")[0]
    return printable(plain)


def _require_ansible() -> None:
    if shutil.which("ansible-inventory") is None:
        raise MissingCapability(
            "ansible", "the program ansible-inventory is not on PATH", "Install it: pip install ansible-core"
        )


def _labelled(found: Iterable[Target]) -> tuple[Target, ...]:
    """The hosts, each with a label of its own that is a file's name and nothing else."""
    labels: set[str] = set()
    result = []
    for target in found:
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", target.label).lstrip(".-")[:100] or "host"
        label, number = plain, 1
        while label.lower() in labels:
            number += 1
            label = f"{plain}-{number}"
        labels.add(label.lower())
        result.append(Target(target.shown, label, target.connection))
    return tuple(result)


def file_in(folder: str, target: Target) -> str:
    """Where a host's snapshot goes in a folder."""
    return str(Path(folder) / f"{target.label}.json")
