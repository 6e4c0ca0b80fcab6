"""The table of everything that is looked at: how it is tried, who needs it, what is lost without it.

Within a group the order here is the order of the report. Extensions of iptables have a table of their own,
extensions.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from pathlib import Path

from netverify.kernel import sandbox
from netverify.kernel.capabilities import devices, filters, programs
from netverify.kernel.capabilities.programs import Refused
from netverify.kernel.firewall import Backend

KERNEL = "kernel"
DEVICES = "devices"
PACKETS = "packets"
FILTERS = "packet filters"
ORACLES = "optional oracles"


class Need(Enum):
    """On which machines the suites cannot do without something."""

    ALWAYS = auto()
    ROOTLESS = auto()
    """Only where netverify does not run as root."""
    BACKEND = auto()
    """Only where the check's backend is the one that the machine's `iptables` is."""
    NEVER = auto()


@dataclass(frozen=True, slots=True)
class Check:
    """One row: `probe` returns what it saw, or raises OSError or KernelError saying what is wrong.

    `inside` says whether the probe is run in a fresh network namespace with a private /run; such a probe
    cannot be run, and its row reads "no", where there are no network namespaces to be had.
    """

    name: str
    group: str
    probe: Callable[[], str]
    need: Need
    consequence: str
    remedy: str
    inside: bool = True
    backend: Backend | None = None

    def __post_init__(self) -> None:
        if (self.need is Need.BACKEND) != (self.backend is not None):
            raise ValueError(f"check {self.name!r}: a backend belongs to Need.BACKEND, and only to it")


NAMESPACES = "network namespaces"


def probe_linux() -> str:
    """The kernel's name for itself: information for whoever reads the report."""
    system = os.uname()
    if system.sysname != "Linux":
        raise Refused(f"this is {system.sysname}")
    return f"{system.sysname} {system.release} {system.machine}"


def is_rootless() -> bool:
    """Whether this process is, or was when it entered its sandbox, an ordinary user's."""
    current = sandbox.current()
    return current.rootless if current is not None else os.geteuid() != 0


def probe_network_namespaces() -> str:
    """That this runs is the proof: it runs in a namespace that was made for it."""
    return "made one, " + ("inside a user namespace" if is_rootless() else "as root")


NOBODY = 65534  # the traditional uid and gid of somebody who owns nothing


def probe_user_namespaces() -> str:
    """Make one as an ordinary user would, with the network and mount namespaces that a sandbox has."""
    if is_rootless() and sandbox.current() is not None:
        return "this process is in one"
    # In a user namespace that maps few ids nobody may not exist; then we try as we are.
    user = NOBODY if os.geteuid() == 0 and _is_mapped(NOBODY) else None
    programs.run("unshare", "--user", "--map-root-user", "--net", "--mount", "true", user=user)
    return "an ordinary user can make one"


def _is_mapped(uid: int) -> bool:
    """Whether a uid exists in this process's user namespace (user_namespaces(7): first, outside, length)."""
    ranges = (map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return any(first <= uid < first + length for first, _outside, length in ranges)


def _module(name: str) -> str:
    ubuntu = "(Ubuntu: linux-modules-extra-$(uname -r))"
    return f"let root run `modprobe {name}`, or use a kernel that has it {ubuntu}"


def _device(kind: str, need: Need, consequence: str, module: str = "") -> Check:
    probe = partial(devices.probe_device, kind)
    return Check(kind, DEVICES, probe, need, consequence, _module(module or kind))


def _backend(program: str, backend: Backend, module: str) -> Check:
    family = "IPv6" if program.startswith("ip6") else "IPv4"
    return Check(
        program,
        FILTERS,
        partial(filters.probe_iptables, program),
        Need.BACKEND,
        f"{family} rules can be neither loaded nor compared with `--backend {backend.value}`",
        f"apt-get install iptables; {_module(module)}",
        backend=backend,
    )


_INSTALL = "apt-get install"
_SETUP = "run `make .venv/ready`, which installs the Python packages and what they are built from"

CHECKS = (
    Check(
        "Linux",
        KERNEL,
        probe_linux,
        Need.ALWAYS,
        "there is no network to prove anything about; the model, audits and reports work",
        "use a Linux machine",
        inside=False,
    ),
    Check(
        NAMESPACES,
        KERNEL,
        probe_network_namespaces,
        Need.ALWAYS,
        "no lab can be built and no suite runs",
        "run as root, or let ordinary users make user namespaces; in a container, run it with --privileged",
    ),
    Check(
        "user namespaces",
        KERNEL,
        probe_user_namespaces,
        Need.ROOTLESS,
        "everything has to run as root",
        "let root run `sysctl -w user.max_user_namespaces=65536`, on Debian also "
        "`sysctl -w kernel.unprivileged_userns_clone=1`, on Ubuntu "
        "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
        inside=False,
    ),
    Check(
        "sysctls",
        KERNEL,
        devices.probe_sysctl,
        Need.ALWAYS,
        "no host of a lab can be made to forward",
        "mount /proc so that it can be written to; in a container, run it with --privileged",
    ),
    Check(
        "IPv6",
        KERNEL,
        devices.probe_ipv6,
        Need.ALWAYS,
        "nothing is proven about IPv6",
        "start the kernel without ipv6.disable=1",
    ),
    Check(
        "gc_thresh3",
        KERNEL,
        devices.probe_neighbours,
        Need.ALWAYS,
        "large matrices fill the table of neighbours, and their cells read ERROR",
        "let root run `sysctl -w net.ipv4.neigh.default.gc_thresh3=16384`, and the same with ipv6",
    ),
    _device("veth", Need.ALWAYS, "no lab can be built"),
    _device("bridge", Need.ALWAYS, "no network with the driver `bridge` can be built"),
    Check(
        "br_netfilter",
        DEVICES,
        devices.probe_br_netfilter,
        Need.ALWAYS,
        "nothing is proven about rules for packets between containers on one bridge (icc=false)",
        _module("br_netfilter"),
    ),
    _device("macvlan", Need.ALWAYS, "no network with the driver `macvlan` can be built"),
    _device("ipvlan", Need.NEVER, "no network with the driver `ipvlan` can be built"),
    _device("vxlan", Need.ALWAYS, "no network with the driver `overlay` can be built"),
    _device("vlan", Need.NEVER, "twins of hosts with VLAN devices leave these out", "8021q"),
    _device("dummy", Need.NEVER, "twins of hosts with dummy devices leave these out"),
    Check(
        "iptables",
        FILTERS,
        filters.probe_default_backend,
        Need.ALWAYS,
        "netverify does not know which backend this machine uses; name one with `--backend`",
        f"{_INSTALL} iptables",
    ),
    _backend("iptables-legacy", Backend.LEGACY, "ip_tables"),
    _backend("iptables-nft", Backend.NFT, "nft_compat"),
    _backend("ip6tables-legacy", Backend.LEGACY, "ip6_tables"),
    _backend("ip6tables-nft", Backend.NFT, "nft_compat"),
    Check(
        "nft",
        FILTERS,
        filters.probe_nft,
        Need.NEVER,
        "rules that were made with nft can be neither loaded nor read",
        f"{_INSTALL} nftables; {_module('nf_tables')}",
    ),
    Check(
        "ip sets",
        FILTERS,
        filters.probe_ip_set,
        Need.NEVER,
        "rules that look into ip sets (those of Docker 28.0.0) cannot be tried",
        _module("ip_set_hash_ip"),
    ),
    Check(
        "conntrack netlink",
        FILTERS,
        devices.probe_conntrack,
        Need.ALWAYS,
        "the connection table cannot be shown beside what NAT did to a packet",
        _module("nf_conntrack_netlink"),
    ),
    Check(
        "python-iptables",
        FILTERS,
        programs.probe_python_iptables,
        Need.BACKEND,
        "rules of the legacy backend cannot be edited from Python",
        f"{_SETUP}; {_INSTALL} iptables",
        backend=Backend.LEGACY,
    ),
    Check(
        "AF_PACKET",
        PACKETS,
        devices.probe_af_packet,
        Need.ALWAYS,
        "nothing can be captured, and ARP cannot be probed",
        "use a kernel with CONFIG_PACKET; in a container, run it with --privileged",
    ),
    Check(
        "scapy",
        PACKETS,
        programs.probe_scapy,
        Need.ALWAYS,
        "captures cannot be filtered, read or saved",
        f"{_SETUP}; {_INSTALL} libpcap0.8",
    ),
    Check(
        "dockerd",
        ORACLES,
        programs.probe_dockerd,
        Need.NEVER,
        "the rules that netverify says Docker writes are not compared with those of a Docker engine here",
        f"{_INSTALL} docker.io",
        inside=False,
    ),
    Check(
        "qemu",
        ORACLES,
        programs.probe_qemu,
        Need.NEVER,
        "nothing is tried on other kernels than this one",
        f"{_INSTALL} qemu-system",
        inside=False,
    ),
)
