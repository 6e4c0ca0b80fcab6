"""Programs and Python packages: are they there, and do they do what netverify needs of them?

Programs are looked for on PATH alone, as the rest of this room does: a report that found them elsewhere would
promise what a lab cannot keep.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from netverify.errors import KernelError

PATIENCE = 30.0  # seconds; everything run here answers in well under one
_SBIN = (
    "/usr/local/sbin:/usr/sbin:/sbin"  # where Debian keeps them, and an ordinary user's PATH does not look
)


class Refused(KernelError):
    """What was tried did not work; the message is the reason in the words of who refused it."""


def find_program(name: str) -> str:
    """The path of a program on PATH. Raises Refused, saying where it is if it is beside the beaten track."""
    if found := shutil.which(name):
        return found
    if hidden := shutil.which(name, path=_SBIN):
        raise Refused(f"{hidden} is there, but {Path(hidden).parent} is not on PATH")
    raise Refused(f"there is no program {name} on PATH")


def run(
    name: str,
    *arguments: str,
    text: str = "",
    variables: Mapping[str, str] | None = None,
    user: int | None = None,
) -> str:
    """Run a program to its end and return what it printed. Raises Refused with its own words.

    `variables` are added to the environment; `user` is the uid and gid to run it as (None: as we are).
    """
    try:
        done = subprocess.run(
            [find_program(name), *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
            env={**os.environ, "LC_ALL": "C", **(variables or {})},
            user=user,
            group=user,
            extra_groups=None if user is None else (),
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{name} did not end within {PATIENCE:.0f} s") from error
    if done.returncode != 0:
        raise Refused(complaint(done.stderr) or f"{name}: exit code {done.returncode}")
    return done.stdout


def complaint(said: str) -> str:
    """A program's words on one line, without iptables' advice to read its manual."""
    lines = (line.strip() for line in said.splitlines())
    return " ".join(line for line in lines if line and not line.startswith(("Try `", "Error occurred at")))


def first_line(name: str, *arguments: str) -> str:
    """The first line that a program prints: for most, with `--version`, its version."""
    return run(name, *arguments).partition("\n")[0].strip()


def run_python(script: str) -> str:
    """Run a script in an interpreter of its own, which imports what this one can. Raises Refused.

    Packages that look around while they are imported (scapy reads interfaces and routes) must not do so in
    this process: it would remember a namespace that is gone a moment later.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        return run(sys.executable, "-P", "-c", script, variables={"PYTHONPATH": paths}).strip()
    except Refused as error:
        # The last line of a traceback is the reason.
        raise Refused(str(error).rpartition("  ")[2][-300:]) from error


_SCAPY = """
import scapy.all
from scapy.arch.common import compile_filter
compile_filter("udp and port 53", linktype=1)
print(scapy.VERSION)
"""

_PYTHON_IPTABLES = """
from importlib.metadata import version

import iptc
chain = iptc.Chain(iptc.Table(iptc.Table.FILTER), "INPUT")
rule = iptc.Rule()
rule.protocol = "udp"
rule.target = iptc.Target(rule, "ACCEPT")
chain.insert_rule(rule)
if [rule.protocol for rule in iptc.Chain(iptc.Table(iptc.Table.FILTER), "INPUT").rules] != ["udp"]:
    raise SystemExit("a rule that was inserted could not be read back")
print(version("python-iptables"))
"""


def probe_scapy() -> str:
    """Import scapy and compile a capture filter (which takes libpcap)."""
    return f"scapy {run_python(_SCAPY)}, with capture filters"


def probe_python_iptables() -> str:
    """Insert a rule through python-iptables, in the legacy backend, and read it back."""
    return f"python-iptables {run_python(_PYTHON_IPTABLES)} inserts and reads rules of the legacy backend"


def probe_dockerd() -> str:
    """Ask the Docker engine for its version; it is not started."""
    return first_line("dockerd", "--version")


def probe_qemu() -> str:
    """Ask this architecture's emulator for its version, and see whether it may use KVM."""
    name = f"qemu-system-{platform.machine()}"
    version = first_line(name, "--version")
    fast = "with KVM" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "without KVM: slow"
    return f"{version}, {fast}"
