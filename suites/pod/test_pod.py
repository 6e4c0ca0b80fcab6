"""A pod: a pause namespace that two services share (seed document 003, section "Kubernetes Pod")."""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, tcp

NGINX, REGISTRY = tcp(80), tcp(5000)


@pytest.fixture
def pod(lab: Lab, documented: Documented) -> Lab:
    """pause with nginx and registry in its namespace, published as 8080:80 and 5000:5000."""
    return lab.up(documented("pod"))


def test_three_containers_one_namespace(pod: Lab) -> None:
    """nginx and registry were started with --net=container:pause."""
    assert len({pod.namespace(name).inode for name in ("pause", "nginx", "registry")}) == 1
    assert pod.namespace("pause").inode != pod.namespace("host").inode


def test_services_reach_each_other_on_127_0_0_1(pod: Lab) -> None:
    """ "Programs in different containers reach each other directly on the loopback address 127.0.0.1"."""
    cell = pod.ask(NGINX, "registry", "nginx@127.0.0.1", listeners=["nginx"])
    assert (cell.outcome, cell.receiver) == (Outcome.DELIVERED, "pause")
    cell = pod.ask(REGISTRY, "nginx", "registry@127.0.0.1", listeners=["registry"])
    assert (cell.outcome, cell.receiver) == (Outcome.DELIVERED, "pause")


@pytest.mark.parametrize(
    ("probe", "port"), [(NGINX, 8080), (REGISTRY, 5000)], ids=["nginx 8080:80", "registry 5000:5000"]
)
def test_published_on_the_host(pod: Lab, probe, port: int) -> None:  # type: ignore[no-untyped-def]
    """`curl 127.0.0.1:8080` and `docker login 127.0.0.1:5000` on the host; the same from outside."""
    cell = pod.ask(probe, "host", f"host@127.0.0.1:{port}")
    assert (cell.outcome, cell.receiver) == (Outcome.DELIVERED, "pause")
    cell = pod.ask(probe, "neighbour", f"host:{port}")
    assert (cell.outcome, cell.receiver) == (Outcome.DELIVERED, "pause")
    assert (cell.seen_source or "").startswith("198.51.100.20:")


def test_from_inside_by_the_published_port(pod: Lab) -> None:
    """A member reaches its neighbour's published port through the host and its userland proxy, too."""
    assert pod.reachability(NGINX, sources=["registry", "host"], targets=["host:8080"]) == matrix("""
                  host:8080
        registry      .
        host          .
    """)


def test_a_port_that_nobody_serves_is_refused(pod: Lab) -> None:
    """Publishing opens the way; that nobody listens behind it is the pod's own answer."""
    assert pod.ask(NGINX, "host", "nginx", listeners=[]).outcome is Outcome.REFUSED
