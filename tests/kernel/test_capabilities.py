from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from netverify.errors import MissingCapability
from netverify.kernel import capabilities, firewall, sandbox
from netverify.kernel.capabilities import checks, devices, examination, filters
from netverify.kernel.capabilities.checks import CHECKS, Need
from netverify.kernel.capabilities.examination import Throwaway, examine
from netverify.kernel.capabilities.extensions import EXTENSIONS, Extension
from netverify.report import doctor
from netverify.report.doctor import Capability
from netverify.ruleset.vocabulary import MATCHES, TARGETS
from tests import ordinary_user

LEGACY, NFT, LEGACY6, NFT6 = filters.PROGRAMS
BY_NAME = {check.name: check for check in CHECKS}


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what was found, for this test alone."""
    monkeypatch.setattr(capabilities, "_found", {})


# --- what is there -----------------------------------------------------------------------------------------


def test_everything_that_the_suites_need_is_here() -> None:
    found = capabilities.detect()
    assert [item.name for item in found] == list(capabilities.NAMES)
    assert {item.name: item.detail for item in doctor.missing(found)} == {}


def test_names_and_groups() -> None:
    assert len(set(capabilities.NAMES)) == len(capabilities.NAMES) == len(CHECKS) + len(EXTENSIONS)
    groups = [capabilities._GROUPS[name] for name in capabilities.NAMES]
    # Each group stands together: the table prints one heading for it.
    assert list(dict.fromkeys(groups)) == [group for group, _ in groupby(groups)]


@pytest.mark.parametrize("extension", EXTENSIONS, ids=lambda extension: extension.name)
def test_extension_is_one_that_rulesets_know(extension: Extension) -> None:
    kind, name = extension.name.split()
    assert name in {"match": MATCHES, "target": TARGETS}[kind]
    assert f"{'-m' if kind == 'match' else '-j'} {name}" in extension.rule


def test_default_backend_is_seen_by_trying() -> None:
    assert capabilities.find("iptables").detail == f"iptables is iptables-{firewall.default_backend().value}"


def test_neighbour_limit_is_what_the_machine_says() -> None:
    """gc_thresh3 is a sysctl of the first namespace only; the figure has to be the same from any other."""
    tables = {table.family: table for table in capabilities.neighbour_tables()}
    assert tables.keys() >= {socket.AF_INET, socket.AF_INET6}
    shown = subprocess.run(
        ["ip", "ntable", "show", "name", "arp_cache"], capture_output=True, text=True, check=True
    )
    assert f"thresh3 {tables[socket.AF_INET].limit} " in shown.stdout


# --- asking ------------------------------------------------------------------------------------------------


def test_one_question_runs_one_check(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def recording(check: checks.Check) -> checks.Check:
        def probe() -> str:
            ran.append(check.name)
            return check.probe()

        return replace(check, probe=probe)

    monkeypatch.setattr(examination, "CHECKS", tuple(map(recording, CHECKS)))
    monkeypatch.setattr(examination, "try_extensions", lambda _: pytest.fail("extensions were not asked for"))
    assert capabilities.has("macvlan")
    assert ran == ["macvlan"]
    assert capabilities.require("macvlan").available
    assert ran == ["macvlan"], "what was found holds for the process"


def test_unknown_name_suggests_one() -> None:
    with pytest.raises(ValueError, match="no capability is called 'macvlann'; did you mean 'macvlan'"):
        capabilities.has("macvlann")


def test_extension_in_one_program() -> None:
    assert capabilities.has("match icmp6", NFT6)
    assert not capabilities.has("match icmp6", NFT)
    with pytest.raises(ValueError, match="ask about an extension"):
        capabilities.has("macvlan", NFT)
    with pytest.raises(ValueError, match="one of iptables-legacy, "):
        capabilities.has("match tcp", "iptables")


def test_missing_capability_has_reason_and_remedy(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(devices.DEVICES, "macvlan", lambda _: (devices._plain("no-such-kind", []),))
    assert not capabilities.has("macvlan")
    with pytest.raises(
        MissingCapability, match=r"no macvlan: .*Unknown device type.*modprobe macvlan"
    ) as caught:
        capabilities.require("macvlan")
    assert caught.value.capability == "macvlan"
    assert "modprobe macvlan" in caught.value.remedy


def test_require_of_one_program_names_it(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Extension("match tcp", "filter INPUT", "-m no_such_match", "x_tables")
    monkeypatch.setattr(examination, "EXTENSIONS", (bad,))
    with pytest.raises(MissingCapability, match=r"no match tcp: iptables-nft does not take it.*no_such"):
        capabilities.require("match tcp", NFT)


# --- where little or nothing can be tried ------------------------------------------------------------------


def test_without_namespaces_all_else_is_still_told() -> None:
    place = Throwaway(None, "no user namespaces for you")
    found = examination.examine_in(place, capabilities.NAMES)
    assert found.keys() == set(capabilities.NAMES)
    assert found[checks.NAMESPACES].detail == "no user namespaces for you"
    assert found["veth"].detail == "not tried: there are no network namespaces"
    assert found["match tcp"].detail == "not tried: no user namespaces for you"
    assert found["Linux"].available
    assert doctor.exit_code(tuple(found.values())) == doctor.NOT_READY
    assert "no user namespaces for you" in doctor.render(tuple(found.values()))


@pytest.mark.parametrize(
    ("need", "rootless", "backend", "needed"),
    [
        (Need.ALWAYS, False, None, True),
        (Need.NEVER, True, None, False),
        (Need.ROOTLESS, True, None, True),
        (Need.ROOTLESS, False, None, False),
        (Need.BACKEND, False, firewall.Backend.NFT, True),
        (Need.BACKEND, False, firewall.Backend.LEGACY, False),
    ],
)
def test_need(
    monkeypatch: pytest.MonkeyPatch,
    need: Need,
    rootless: bool,
    backend: firewall.Backend | None,
    needed: bool,
) -> None:
    monkeypatch.setattr(examination, "is_rootless", lambda: rootless)
    monkeypatch.setattr(examination, "default_backend", lambda: firewall.Backend.NFT)
    assert examination._is_needed(replace(BY_NAME["veth"], need=need, backend=backend)) is needed


def test_no_iptables_no_backend_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> firewall.Backend:
        raise MissingCapability("iptables", "none", "install it")

    monkeypatch.setattr(examination, "default_backend", none)
    assert not examination._is_needed(BY_NAME["iptables-nft"])
    assert examination._is_needed(BY_NAME["iptables"])


def test_backend_belongs_to_its_need() -> None:
    with pytest.raises(ValueError, match="a backend belongs to"):
        replace(BY_NAME["veth"], need=Need.BACKEND)


CHILD = str(Path(__file__).with_name("sandbox_child.py"))


def machine_of_a_process(*command: str) -> tuple[Capability, ...]:
    """What a process finds that is in no sandbox."""
    environment = {name: value for name, value in os.environ.items() if name != sandbox._PARENT}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return doctor.read_json(done.stdout)


@pytest.mark.parametrize("deeds", [["diagnose"], ["start_thread", "diagnose"]], ids=" ".join)
def test_ordinary_user_finds_the_same(deeds: list[str]) -> None:
    """In no sandbox, with and without threads: a child process looks."""
    found = machine_of_a_process(*ordinary_user.command(sys.executable, CHILD, *deeds))
    assert [item.name for item in found] == list(capabilities.NAMES)
    assert {item.name: item.detail for item in doctor.missing(found)} == {}
    ours = {item.name: item.available for item in capabilities.detect()}
    assert {item.name: item.available for item in found} == ours
    details = {item.name: item.detail for item in found}
    assert details[checks.NAMESPACES] == "made one, inside a user namespace"
    assert details["user namespaces"] == "this process is in one"


def test_user_who_may_make_no_namespaces_is_told_why() -> None:
    found = {item.name: item for item in machine_of_a_process(sys.executable, CHILD, "forbid", "diagnose")}
    for name in (checks.NAMESPACES, "user namespaces"):
        assert not found[name].available
        assert found[name].needed
    assert "max_user_namespaces is 0" in found[checks.NAMESPACES].detail
    assert not any(found[name].available for name in ("veth", "iptables", "match tcp"))
    assert found["Linux"].available


# --- nothing is left behind --------------------------------------------------------------------------------


def traces() -> dict[str, object]:
    """What looking could leave behind in this process's own namespaces."""
    saved = [
        subprocess.run([f"{program}-save"], capture_output=True, text=True, check=True).stdout.count("\n-A ")
        for program in filters.PROGRAMS
    ]
    return {
        "namespaces": [str(Path("/proc/self/ns", name).readlink()) for name in ("net", "mnt", "user")],
        "links": socket.if_nameindex(),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "threads": threading.active_count(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "rules": saved,
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "sets": subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout,
    }


def test_looking_leaves_no_trace() -> None:
    before = traces()
    examine([name for name in capabilities.NAMES if name not in ("scapy", "python-iptables")])
    assert traces() == before
