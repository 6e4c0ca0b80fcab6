"""Audits of a real engine's host: faults are planted on it, found by name, and confirmed by a twin."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netverify.audit.finding import Confirmation, Finding
from netverify.audit.run import audit
from netverify.docker import Version
from netverify.docker.from_topology import docker_host
from netverify.kernel.confirm import confirm
from netverify.kernel.conntrack import Conntrack
from netverify.kernel.docker_engine import COMMAND, IMAGE, Engine
from netverify.kernel.lab import Lab
from netverify.kernel.twin_host import twin_of
from netverify.model.matrix import reach
from netverify.reachability.probe import Cell, icmp, tcp, udp
from suites.engine.cells import HOST, topology
from suites.engine.collecting import adopt, ask, case, plug
from suites.engine.conftest import ROOT
from suites.engine.faults import FAULTS, Fault

EXPOSES_LOOPBACK = Version(28, 0)  # until then (moby#45610)
PLANTED = "planted"
NETWORKS = {  # beside those of cells.yaml: seven kinds in all, and Docker's own `host` and `none`
    "plain": {"com.docker.network.bridge.enable_ip_masquerade": "false"},
    "bound": {"com.docker.network.bridge.host_binding_ipv4": "192.0.2.1"},
}
OTHERS: dict[str, dict[str, Any]] = {
    "plain1": {"NetworkMode": "plain"},
    "bound1": {"NetworkMode": "bound", "PortBindings": {"80/tcp": [{"HostPort": "8086"}]}},
    "shared": {"NetworkMode": "container:web1"},
    "alone": {"NetworkMode": "none"},
    "everywhere": {"NetworkMode": "host"},
}
PROBES = (
    icmp(),
    icmp(version=6),
    tcp(80),
    tcp(80, version=6),
    tcp(8080),
    tcp(8080, version=6),
    tcp(8085),
    tcp(8086),
    udp(53),
    udp(5353),
)
pytestmark = [pytest.mark.needs("br_netfilter"), pytest.mark.usefixtures("version")]


@dataclass
class Host:
    """An engine's host with a neighbour, and nothing wrong with it."""

    engine: Engine
    lab: Lab


@pytest.fixture(scope="module")
def host(version: str) -> Generator[Host]:
    """Networks of five kinds beside Docker's own, containers, publications of all kinds."""
    plan = docker_host(topology(version, proxy=True), HOST)
    with Engine(ROOT) as engine, Lab() as lab:
        engine.start(plan)
        engine.create(plan)
        plug(lab, engine)
        yield Host(engine, lab)


def found(engine: Engine) -> list[Finding]:
    """What the audit says of the host, with the twin's opinion."""
    of = case(engine)
    assert not of.snapshot.missing
    return list(confirm(of.subject, audit(of).findings).findings)


def test_a_sound_host_shows_what_its_version_exposes(host: Host, version: str) -> None:
    """Known holes, publications on loopback until 28.0, forged sources into internal networks; no more."""
    findings = found(host.engine)
    told = {finding.id for finding in findings if finding.id != "engine-with-known-hole"}
    expected = {"internal-network-spoofed-source", "source-not-checked"}
    if Version.parse(version) < EXPOSES_LOOPBACK:
        expected |= {"loopback-publication-reachable"}
    assert told == expected
    assert not [finding.id for finding in findings if finding.unknown]
    shown = {finding.confirmation for finding in findings if finding.evidence is not None}
    assert shown == {Confirmation.CONFIRMED}


def test_model_twin_and_packets_agree_on_every_cell(host: Host) -> None:
    """With a container on two networks, one in another's namespace, one on the host's, and one on none."""
    for number, (name, options) in enumerate(NETWORKS.items(), 40):
        pool = {"Config": [{"Subnet": f"172.{number - 15}.0.0/16"}]}
        request = {"Name": name, "Driver": "bridge", "IPAM": pool, "Options": options}
        host.engine.call("POST", "/networks/create", request)
    for name, config in OTHERS.items():
        body: dict[str, Any] = {
            "Image": IMAGE,
            "Cmd": list(COMMAND),
            "StopSignal": "SIGKILL",
            "HostConfig": config,
            "ExposedPorts": {port: {} for port in config.get("PortBindings", ())},
        }
        host.engine.run_container(name, body)
    host.engine.call("POST", "/networks/four/connect", {"Container": "web2"})
    told: list[str] = []
    try:
        subject = case(host.engine).subject
        adopt(host.lab, host.engine, subject)
        with twin_of(subject) as twin:
            assert not twin.not_twinned
            for probe in PROBES:
                foretold = reach(subject, probe)
                pairs = [(pair.cell.source, pair.cell.target, pair.address) for pair in foretold.pairs]
                there = ask(host.lab, host.engine, subject, probe, pairs)
                for pair, real, twinned in zip(foretold.pairs, there, twin.ask(probe, pairs), strict=True):
                    said = {_said(pair.cell), _said(real), "nothing" if twinned is None else _said(twinned)}
                    if len(said) > 1:
                        told.append(f"{probe}: {pair.cell} / {real} / {twinned}")
    finally:
        for name in OTHERS:
            host.engine.remove_container(name)
        for name in NETWORKS:
            host.engine.call("DELETE", f"/networks/{name}")
        host.engine.call("POST", "/networks/four/disconnect", {"Container": "web2"})
    assert not told, "\n".join(told)


def _said(cell: Cell) -> str:
    return f"{cell.outcome.value}, {'answered' if cell.replied else 'no answer'}"


def test_auditing_a_running_host_changes_nothing_on_it(host: Host, tmp_path: Path) -> None:
    """`audit --live --twin` beside the engine: its rules, counters apart, links and connections stay."""
    client = tmp_path / "docker"
    python = f"{sys.executable} -m suites.engine.client {host.engine.socket_path}"
    client.write_text(f'#!/bin/sh\ncd {Path(__file__).parents[2]} && exec {python} "$@"\n')
    client.chmod(0o755)
    path = f"PATH={tmp_path}:{os.environ['PATH']}"
    before = _state(host)
    command = [
        "env",
        path,
        sys.executable,
        "-m",
        "netverify",
        "audit",
        "--live",
        "--twin",
        "--format",
        "json",
    ]
    said = host.lab.run("host", command, check=False)
    found = json.loads(said)["findings"]
    after, connections = _state(host)
    assert after == before[0]
    assert connections <= before[1], "those that time ended are fewer, and new ones would be the audit's"
    assert not [finding["id"] for finding in found if finding["unknown"]]
    assert {each["confirmation"] for each in found if each["evidence"] is not None} == {"confirmed"}


def _state(host: Host) -> tuple[list[str], set[str]]:
    """The engine's rules without their counters, its links, addresses and routes, and known connections."""
    listed = [host.lab.run("host", ["ip", "-j", *words]) for words in (["addr"], ["route"], ["rule"])]
    with Conntrack(host.lab.visitor, host.lab.namespace("host")) as conntrack:
        # Without what the kernel itself says to routers and neighbours (IGMP, ICMPv6).
        known = [each for each in conntrack.entries() if each.protocol in ("tcp", "udp")]
    connections = {str((each.original, each.reply)) for each in known}
    return [*(rules.render() for rules in host.engine.iptables()), *listed], connections


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found_and_confirmed(host: Host, version: str, fault: Fault) -> None:
    """By the id of its finding; where there is a packet to show, the twin says the same."""
    with planted(host.engine, Version.parse(version), fault):
        findings = [finding for finding in found(host.engine) if finding.id == fault.id]
    assert findings, f"{fault.name}: no finding {fault.id}"
    shown = [finding for finding in findings if finding.evidence is not None]
    assert {finding.confirmation for finding in shown} <= {Confirmation.CONFIRMED}, shown
    assert all(finding.remedy for finding in findings)


@contextmanager
def planted(engine: Engine, version: Version, fault: Fault) -> Iterator[None]:
    """The host with a fault; afterwards its rules, sysctls and containers are as they were."""
    before = engine.iptables()
    try:
        if fault.container is not None:
            engine.run_container(PLANTED, fault.container(version))
        commands = fault.commands(version)
        if commands:
            engine.run("sh", "-ec", commands)
        yield
    finally:
        if fault.undo:
            engine.run("sh", "-ec", fault.undo)
        if fault.container is not None:
            engine.remove_container(PLANTED)
        engine.load(*before)
