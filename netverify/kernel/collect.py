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
from pathlib import Path
from typing import Final

from netverify import __version__
from netverify.errors import KernelError
from netverify.host.parts import META, Parts
from netverify.kernel import collect_engine
from netverify.ruleset import Ruleset, RulesetError

BESIDES: Final = ("modprobe ip_tables", "modprobe ip6_tables")
"""What python-iptables starts when it is loaded; a snapshot has it loaded only where both modules are."""

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
"""Runs a program where the snapshot is taken."""

LIMIT: Final = 60.0  # seconds that a tool may take; `iptables-save` of 100,000 rules takes about one


class _Refused(Exception):
    """A part could not be collected; the message says why."""


def run_here(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program in this process's own namespace."""
    return subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",  # a device's name may be any bytes
        check=False,
        timeout=LIMIT,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
    )


def collect(
    run: Run = run_here,
    *,
    name: str | None = None,
    source: str = "this host",
    kernel: str | None = None,
    is_installed: Callable[[str], object] = shutil.which,
) -> Parts:
    """Everything about the network of one namespace, and what the Docker engine says, where there is one.

    Where `run` runs programs somewhere else, `name` and `kernel` are that host's (uname(2): nodename and
    release), and `is_installed` says which programs are there.
    """
    collector = Collector(run, is_installed)
    collector.everything()
    opinions = _second_opinions(collector) if run is run_here else {}
    name = name or platform.node() or "host"
    meta = {
        "name": name,
        "collected": datetime.now(UTC).isoformat(timespec="seconds"),
        "netverify": __version__,
        "kernel": kernel if kernel is not None else platform.release(),
        "missing": collector.missing,
    } | ({"second opinion": opinions} if opinions else {})
    return Parts(source, collector.texts | {META: json.dumps(meta)}, collector.missing, name)


def _second_opinions(collector: Collector) -> dict[str, str]:
    """What python-iptables says of the legacy backend's rules, where there are any.

    Rules that it reads otherwise are not believed: that part is missing then, and what rests on it unknown.
    """
    found = {}
    for part, version in (("iptables-legacy-save.txt", 4), ("ip6tables-legacy-save.txt", 6)):
        if not any(line.startswith("*") for line in collector.texts.get(part, "").split("\n")):
            continue
        names = ("ip_tables_names", "ip6_tables_names")
        if not all(Path(f"/proc/thread-self/net/{name}").exists() for name in names):
            found[part] = "not asked: python-iptables would load the kernel's module of the other IP version"
            continue
        try:
            differences = _differences(collector, part, version)
        except (KernelError, RulesetError) as error:
            found[part] = str(error)
            continue
        found[part] = "; ".join(differences[:5]) or "the same"
        if differences:
            collector.texts.pop(part, None)
            collector.missing[part] = f"two readers differ: {found[part]}"
    return found


def _differences(collector: Collector, part: str, version: int) -> tuple[str, ...]:
    from netverify.kernel import legacy_tables  # this alone starts `modprobe` for both modules

    def asked() -> tuple[str, ...]:
        saved = Ruleset.parse(collector.texts[part], family="ipv4" if version == 4 else "ipv6")
        return legacy_tables.second_opinion(saved, version=version)

    differences = asked()
    if differences:  # or an engine changed its rules between the two readings
        collector.take(part, _PARTS[part])
        differences = asked() if part in collector.texts else differences
    return differences


def commands() -> tuple[str, ...]:
    """What `collect` runs, in order, where every tool is there, legacy tables are, and one container runs.

    `sysctl -a` is only run where the command before it is refused.
    """
    ran: list[str] = []

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        ran.append(" ".join(command))
        if "--pattern" in command:  # what is run where that is not understood
            return subprocess.CompletedProcess(list(command), 1, "", "")
        printed = "[]"
        if "container" in command:
            printed = json.dumps([{"Name": "CONTAINER", "State": {"Running": True, "Pid": 1}}])
        elif command[0] == "cat" or "{{.ID}}" in command:
            printed = "ID"
        return subprocess.CompletedProcess(list(command), 0, printed, "")

    engine = next((name for name in collect_engine.ENGINES if shutil.which(name)), collect_engine.ENGINES[0])
    Collector(run, is_installed=lambda _program: True, engine=engine).everything()
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
        texts, missing = collect_engine.collect(self.run, self.engine, self.is_installed)
        self.texts |= texts
        self.missing |= missing

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a program; one that takes too long, or is not there, has failed."""
        try:
            return self._run(command)
        except FileNotFoundError:
            return subprocess.CompletedProcess(list(command), 127, "", "it is not installed")
        except subprocess.TimeoutExpired:
            said = f"took longer than {LIMIT:.0f} s"
            return subprocess.CompletedProcess(list(command), 1, "", said)

    def take(self, part: str, read: Callable[[Collector], str]) -> None:
        """One part, or the reason why it is missing."""
        try:
            text = read(self)
            if part.endswith(".json"):
                json.loads(text)
            self.texts[part] = text
        except _Refused as refused:
            self.missing[part] = str(refused)
        except (ValueError, RecursionError) as error:
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
    return lambda collector: collector.tool("ip", "-j", "-d", *words).strip() or "[]"


def _rules(collector: Collector) -> str:
    """The rules of both IP versions in one list, each with its family, which `ip` leaves out."""
    found = []
    for option, family in (("-4", "inet"), ("-6", "inet6")):
        printed = collector.tool("ip", "-j", "-d", option, "rule")
        found += [{"family": family, **rule} for rule in (json.loads(printed) if printed.strip() else [])]
    return json.dumps(found)


BRANCHES: Final = ("net.ipv4.", "net.ipv6.", "net.netfilter.")
WANTED: Final = (
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
    try:
        printed = collector.tool("sysctl", "-a", "--pattern", r"^net\.(ipv4|ipv6|bridge|netfilter)\.")
    except _Refused:  # busybox has no such option
        printed = collector.tool("sysctl", "-a")
    lines = (line for line in printed.split("\n") if _matters(line.partition(" = ")[0]))
    return "".join(f"{line}\n" for line in lines)


def _matters(name: str) -> bool:
    return name.startswith("net.bridge.") or (name.startswith(BRANCHES) and name.endswith(WANTED))


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
