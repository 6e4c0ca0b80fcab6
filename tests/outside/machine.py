"""What a machine's own network looks like from outside every sandbox: settings, not what the kernel counts.

Everything here only reads. What an ordinary user may not read (rules) it may not change either; then the
refusal is what is compared.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

IP = (
    "ip -details -json link",
    "ip -json addr",
    "ip -4 -json route show table all",
    "ip -6 -json route show table all",
    "ip -4 -json rule",
    "ip -6 -json rule",
)
NETNS = "ip netns list"
RULES = ("iptables-legacy-save", "iptables-nft-save", "ip6tables-legacy-save", "ip6tables-nft-save")
NFT = "nft --stateless list ruleset"
SYSCTLS = ("/proc/sys/net", "/proc/sys/user")
COUNTED = ("nf_conntrack_count",)  # numbers that stand among the sysctls and are nobody's setting
# Fields of `ip -json` that run down by themselves: lifetimes that a router or DHCP gave, a bridge's timers.
CLOCKS = ("valid_life_time", "preferred_life_time", "expires")
LOCK = Path("/run/xtables.lock")

Snapshot = dict[str, object]


def snapshot() -> Snapshot:
    """Links, addresses, routes, rules of both backends, sysctls, names of namespaces, mounts, by source."""
    found: Snapshot = {command: _without_clocks(json.loads(_run(command) or "[]")) for command in IP}
    found |= {command: _without_counters(_run(command)) for command in (*RULES, NFT)}
    found[NETNS] = _run(NETNS)
    found["mounts"] = sorted(Path("/proc/thread-self/mountinfo").read_text().splitlines())
    found[str(LOCK)] = LOCK.exists()
    found["modules"] = _modules()
    return found | _sysctls()


def differences(before: Snapshot, after: Snapshot) -> dict[str, tuple[object, object]]:
    """What is not as it was, each with what it was and what it is.

    The kernel loads a module by itself when somebody first needs it, and sysctls come with it: these were
    never otherwise. Every sysctl that was there before counts.
    """
    keys = before | after
    if before["modules"] != after["modules"]:
        keys = {key: None for key in before if key != "modules"}
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _run(command: str) -> str:
    words = command.split()
    if shutil.which(words[0]) is None:
        return ""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else done.stdout


def _without_clocks(found: Any) -> Any:
    if isinstance(found, list):
        return [_without_clocks(each) for each in found]
    if isinstance(found, dict):
        kept = {key: value for key, value in found.items() if key not in CLOCKS}
        return {key: _without_clocks(value) for key, value in kept.items() if not key.endswith("_timer")}
    return found


def _without_counters(text: str) -> list[str]:
    """Rules without the time in comments and the packets that policies counted: `:INPUT ACCEPT [7:420]`."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return [line.partition(" [")[0] if line.startswith(":") else line for line in lines]


def _modules() -> list[str]:
    listing = Path("/proc/modules")  # missing where the kernel has none
    return sorted(line.split()[0] for line in listing.read_text().splitlines()) if listing.exists() else []


def _sysctls() -> Snapshot:
    return {str(path): _value(path) for path in _files(SYSCTLS) if path.name not in COUNTED}


def _files(roots: Iterable[str]) -> Iterable[Path]:
    for root in roots:
        for folder, _, names in os.walk(root):
            yield from (Path(folder, name) for name in names)


def _value(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError as error:  # some are write-only, some have no value yet, some are root's
        return os.strerror(error.errno or 0)
