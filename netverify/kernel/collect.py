"""A snapshot of this process's network namespace, and of the containers of its Docker engine. Only reads.

Each part is what a tool prints; where a tool is missing or refuses, the snapshot says so of the part. Nothing
is loaded into the kernel: the programs of the legacy backend are started only where the kernel has tables of
that backend (they would load its modules), and those of the other never make a table by printing.
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
from netverify.kernel import collect_engine

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
    """Everything about the network of one namespace, and what the Docker engine says, where there is one."""
    collector = Collector(run)
    collector.everything()
    name = name or platform.node() or "host"
    meta = {
        "name": name,
        "collected": datetime.now(UTC).isoformat(timespec="seconds"),
        "netverify": __version__,
        "kernel": platform.release(),
        "missing": collector.missing,
    }
    return Parts(source, collector.texts | {META: json.dumps(meta)}, collector.missing, name)


def commands() -> tuple[str, ...]:
    """What `collect` runs, in order, where every tool is there, legacy tables are, and one container runs."""
    ran: list[str] = []

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        ran.append(" ".join(command))
        printed = "[]"
        if "container" in command:
            printed = json.dumps([{"Name": "CONTAINER", "State": {"Running": True, "Pid": 1}}])
        elif command[0] == "cat" or "{{.ID}}" in command:
            printed = "ID"
        return subprocess.CompletedProcess(list(command), 0, printed, "")

    Collector(run, is_installed=lambda _program: True, engine="docker").everything()
    return tuple(command.replace("/proc/1/", "/proc/PID/") for command in ran)


class Collector:
    """Takes the parts of one snapshot: `texts` by name, and why others are `missing`."""

    def __init__(
        self, run: Run, is_installed: Callable[[str], object] = shutil.which, engine: str | None = None
    ) -> None:
        """`engine` is the engine's program; without it, whichever is installed."""
        self._run = run
        self.is_installed = is_installed
        self.engine = engine
        self.texts: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def everything(self) -> None:
        """Every part, and then those of each container."""
        for part, read in _PARTS.items():
            self.take(part, read)
        texts, missing = collect_engine.collect(self.run, self.engine)
        self.texts |= texts
        self.missing |= missing

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a program; one that takes too long has failed."""
        try:
            return self._run(command)
        except subprocess.TimeoutExpired:
            said = f"took longer than {LIMIT:.0f} s"
            return subprocess.CompletedProcess(list(command), 1, "", said)

    def take(self, part: str, read: Callable[[Collector], str]) -> None:
        """One part, or the reason why it is missing."""
        try:
            self.texts[part] = read(self)
        except _Refused as refused:
            self.missing[part] = str(refused)
        except json.JSONDecodeError as error:
            self.missing[part] = f"what was printed is no JSON: {error}"

    def tool(self, *words: str) -> str:
        """What a tool prints. Raises _Refused."""
        if not self.is_installed(words[0]):
            raise _Refused(f"{words[0]} is not installed")
        done = self.run(words)
        if done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
            raise _Refused(f"{words[0]}: {said.splitlines()[0]}")
        return done.stdout


def _printed(*words: str) -> Callable[[Collector], str]:
    """A part that is what a command prints."""
    return lambda collector: collector.tool(*words)


def _legacy(program: str, tables: str) -> Callable[[Collector], str]:
    """The rules of the legacy backend, where the kernel has any: it lists its tables in a file."""

    def read(collector: Collector) -> str:
        listed = collector.run(("cat", f"/proc/thread-self/net/{tables}"))
        if listed.returncode != 0 and "No such file" not in listed.stderr:
            said = "may only be read by root" if "Permission" in listed.stderr else listed.stderr.strip()
            raise _Refused(f"/proc/net/{tables}: {said}")
        if not listed.stdout.split():
            return f"# no tables in /proc/net/{tables}\n"
        return collector.tool(program, "-c")

    return read


def _ip(*words: str) -> Callable[[Collector], str]:
    return _printed("ip", "-j", "-d", *words)


def _rules(collector: Collector) -> str:
    """The rules of both IP versions in one list, each with its family, which `ip` leaves out."""
    found = []
    for option, family in (("-4", "inet"), ("-6", "inet6")):
        printed = collector.tool("ip", "-j", "-d", option, "rule")
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


def _sysctls(collector: Collector) -> str:
    """The sysctls that decide about packets; of IPv6 none where the kernel has none."""
    printed = collector.tool("sysctl", "-a", "--pattern", r"^net\.(ipv4|ipv6|bridge|netfilter)\.")
    lines = (line for line in printed.splitlines() if _matters(line.partition(" = ")[0]))
    return "".join(f"{line}\n" for line in lines)


def _matters(name: str) -> bool:
    return name.startswith("net.bridge.") or name.endswith(_WANTED)


_PARTS: Final[Mapping[str, Callable[[Collector], str]]] = {
    "iptables-save.txt": _printed("iptables-save", "-c"),
    "iptables-legacy-save.txt": _legacy("iptables-legacy-save", "ip_tables_names"),
    "ip6tables-save.txt": _printed("ip6tables-save", "-c"),
    "ip6tables-legacy-save.txt": _legacy("ip6tables-legacy-save", "ip6_tables_names"),
    "nft.json": _printed("nft", "-j", "list", "ruleset"),
    "addr.json": _ip("addr"),
    "route.json": _ip("route", "show", "table", "all"),
    "rule.json": _rules,
    "sysctl.txt": _sysctls,
    "ipset.txt": _printed("ipset", "save"),
    "listen.txt": _printed("ss", "-lntup"),
}
