"""Containers to which no rule of a network applies."""

from __future__ import annotations

import json
from typing import Any

from netverify.audit.case import Case
from netverify.audit.checks.privileges import CHECKS
from netverify.audit.finding import Severity
from netverify.audit.run import audit
from netverify.host import Parts, read_snapshot
from tests.host.samples import CONTAINERS, NETWORKS, TEXTS


def found(internal: bool = False, **host_config: Any) -> list[tuple[str, Severity]]:
    """What is said of the container, given this."""
    container = CONTAINERS[0] | {"HostConfig": {"NetworkMode": "bridge"} | host_config}
    parts = {
        "docker-containers.json": json.dumps([container]),
        "docker-networks.json": json.dumps([NETWORKS[0] | {"Internal": internal}]),
    }
    case = Case.of(read_snapshot(Parts("host", TEXTS | parts)), "host")
    return [(finding.id, finding.severity) for finding in audit(case, CHECKS).findings]


def test_an_ordinary_container() -> None:
    assert found() == []
    assert found(CapAdd=["SYS_PTRACE"]) == []


def test_a_container_on_the_hosts_network() -> None:
    assert found(NetworkMode="host") == [("container-on-host-network", Severity.LOW)]


def test_a_privileged_container() -> None:
    assert found(Privileged=True, CapAdd=["NET_ADMIN"]) == [("privileged-container", Severity.HIGH)]


def test_a_container_that_may_change_its_network() -> None:
    assert found(CapAdd=["NET_ADMIN"]) == [("container-administers-network", Severity.MEDIUM)]
    assert found(CapAdd=["ALL"]) == [("container-administers-network", Severity.MEDIUM)]
    assert found(True, CapAdd=["CAP_NET_ADMIN"]) == [("container-administers-network", Severity.HIGH)]


def test_a_container_that_may_forge_packets_where_nobody_should_get_out() -> None:
    assert found(CapAdd=["NET_RAW"]) == []
    assert found(True, CapAdd=["net_raw"]) == [("container-forges-packets", Severity.LOW)]
