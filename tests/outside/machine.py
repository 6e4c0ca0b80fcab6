"""What a machine's own network looks like from outside every sandbox, and who is still running.

Everything here only reads.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

COMMANDS = (
    "ip -d -j link",
    "ip -j addr",
    "ip -4 -j route show table all",
    "ip -6 -j route show table all",
    "ip -4 -j rule",
    "ip -6 -j rule",
    "ip -j netns",
)
RULES = ("iptables-legacy-save", "iptables-nft-save", "ip6tables-legacy-save", "ip6tables-nft-save")
# Numbers that the kernel counts, not settings that somebody makes.
COUNTED = ("nf_conntrack_count", "neigh/default/gc", "fs/", "random")


def snapshot() -> dict[str, str]:
    """Links, addresses, routes, rules of both backends, sysctls of the network, and mounts."""
    found = {command: _run(command.split()) for command in COMMANDS}
    if os.geteuid() == 0:  # nobody else may read them
        found |= {name: _without_comments(_run([name])) for name in RULES if shutil.which(name)}
        if shutil.which("nft"):
            found["nft"] = _run(["nft", "-s", "list", "ruleset"])
    found |= _sysctls()
    found["mounts"] = "\n".join(sorted(Path("/proc/self/mountinfo").read_text().splitlines()))
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """What is not as it was, each with what it was and what it is."""
    keys = sorted(before | after)
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def _sysctls() -> dict[str, str]:
    values = {}
    for path in sorted(Path("/proc/sys/net").rglob("*")):
        if not path.is_file() or any(name in str(path) for name in COUNTED):
            continue
        try:
            values[str(path)] = path.read_text()
        except OSError:  # write-only, or only root may read it
            continue
    return values


def processes(mark: str) -> Iterator[int]:
    """Processes that have `mark` in their environment: what was started with it, and their children."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:  # it ended, or belongs to somebody else
                continue
            if mark.encode() in environment:
                yield int(entry.name)


def wait_for_the_end(mark: str, patience: float) -> list[int]:
    """Wait until no process with `mark` runs; returns those that still do after `patience` seconds."""
    deadline = time.monotonic() + patience
    while (left := list(processes(mark))) and (remaining := deadline - time.monotonic()) > 0:
        with ExitStack() as stack:
            poll = stack.enter_context(select.epoll())
            for pid in left:
                try:
                    fd = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue
                stack.callback(os.close, fd)
                poll.register(fd, select.EPOLLIN)
            poll.poll(remaining, 1)
    return left
