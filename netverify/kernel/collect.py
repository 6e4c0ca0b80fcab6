"""A snapshot of the network namespace that this process is in. Only reads.

Each part is what a tool prints; where a tool is missing or refuses, the snapshot says so of the part.
Nothing is loaded into the kernel: the programs of the legacy backend are started only where the kernel has
tables of that backend (they would load its modules), and those of the other never make a table by printing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from netverify import __version__
from netverify.host.parts import META, Parts

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
"""Runs a program where the snapshot is taken."""

LIMIT: Final = 60.0  # seconds that a tool may take; `iptables-save` of 100,000 rules takes about one


class _Refused(Exception):
    """A part could not be collected; the message says why."""


def run_here(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program in this process's own namespace."""
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=LIMIT, env={**os.environ, "LC_ALL": "C"}
    )


def collect(run: Run = run_here, *, name: str | None = None, source: str = "this host") -> Parts:
    """Everything about the network of one namespace; the engine's parts are not collected here."""
    texts: dict[str, str] = {}
    missing: dict[str, str] = {}
    for part, read in _PARTS.items():
        try:
            texts[part] = read(run)
        except _Refused as refused:
            missing[part] = str(refused)
        except subprocess.TimeoutExpired as error:
            missing[part] = f"{error.cmd[0]} took longer than {LIMIT:.0f} s"
    name = name or platform.node() or "host"
    texts[META] = json.dumps(
        {
            "name": name,
            "collected": datetime.now(UTC).isoformat(timespec="seconds"),
            "netverify": __version__,
            "kernel": platform.release(),
            "missing": missing,
        }
    )
    return Parts(source, texts, missing, name)


def _tool(run: Run, *words: str) -> str:
    """What a tool prints. Raises _Refused."""
    if shutil.which(words[0]) is None:
        raise _Refused(f"{words[0]} is not installed")
    done = run(words)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise _Refused(f"{words[0]}: {said}")
    return done.stdout


def _saved(program: str) -> Callable[[Run], str]:
    """The rules of the host's own iptables."""
    return lambda run: _tool(run, program, "-c")


def _legacy(program: str, tables: str) -> Callable[[Run], str]:
    """The rules of the legacy backend, where the kernel has any: it lists its tables in a file."""

    def read(run: Run) -> str:
        listed = run(("cat", f"/proc/thread-self/net/{tables}"))
        if listed.returncode != 0 and "Permission" in listed.stderr:
            raise _Refused(f"/proc/net/{tables} may only be read by root")
        if not listed.stdout.split():
            return f"# no tables in /proc/net/{tables}\n"
        return _tool(run, program, "-c")

    return read


def _ip(*words: str) -> Callable[[Run], str]:
    return lambda run: _tool(run, "ip", "-j", "-d", *words)


def _rules(run: Run) -> str:
    """The rules of both IP versions in one list, each with its family, which `ip` leaves out."""
    found = []
    for option, family in (("-4", "inet"), ("-6", "inet6")):
        printed = _tool(run, "ip", "-j", "-d", option, "rule")
        found += [{"family": family, **rule} for rule in (json.loads(printed) if printed.strip() else [])]
    return json.dumps(found)


_WANTED: Final = (
    ".forwarding",
    ".rp_filter",
    ".route_localnet",
    ".accept_local",
    ".src_valid_mark",
    ".arp_ignore",
    ".arp_announce",
    ".proxy_arp",
    ".accept_ra",
    ".disable_ipv6",
    ".proxy_ndp",
    "net.ipv4.ip_forward",
    "net.ipv4.ip_nonlocal_bind",
    "net.netfilter.nf_conntrack_tcp_loose",
)


def _sysctls(run: Run) -> str:
    """The sysctls that decide about packets; of IPv6 none where the kernel has none."""
    printed = _tool(run, "sysctl", "-a", "--pattern", r"^net\.(ipv4|ipv6|bridge|netfilter)\.")
    lines = (line for line in printed.splitlines() if _matters(line.partition(" = ")[0]))
    return "".join(f"{line}\n" for line in lines)


def _matters(name: str) -> bool:
    return name.startswith("net.bridge.") or name.endswith(_WANTED)


_PARTS: Final[Mapping[str, Callable[[Run], str]]] = {
    "iptables-save.txt": _saved("iptables-save"),
    "iptables-legacy-save.txt": _legacy("iptables-legacy-save", "ip_tables_names"),
    "ip6tables-save.txt": _saved("ip6tables-save"),
    "ip6tables-legacy-save.txt": _legacy("ip6tables-legacy-save", "ip6_tables_names"),
    "nft.json": lambda run: _tool(run, "nft", "-j", "list", "ruleset"),
    "addr.json": _ip("addr"),
    "route.json": _ip("route", "show", "table", "all"),
    "rule.json": _rules,
    "sysctl.txt": _sysctls,
    "ipset.txt": lambda run: _tool(run, "ipset", "save"),
    "listen.txt": lambda run: _tool(run, "ss", "-lntup"),
}
