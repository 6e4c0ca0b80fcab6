"""A pod: a pause container whose namespace two services share (seed document 003, section "Kubernetes Pod").

pause stands on docker0 and publishes 8080:80 and 5000:5000; nginx serves on port 80 and registry on port 5000
in its namespace. The host is on a LAN with a neighbour.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import addresses, devices
from netverify.kernel.lab import Lab
from netverify.kernel.service import PortTaken
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, tcp
from netverify.topology.model import DockerDaemon

NGINX, REGISTRY = tcp(80), tcp(5000)
MEMBERS = ("pause", "nginx", "registry")
PUBLISHED = pytest.mark.parametrize(
    ("probe", "service", "port"),
    [
        pytest.param(NGINX, "nginx", 8080, id="nginx 8080:80"),
        pytest.param(REGISTRY, "registry", 5000, id="registry 5000:5000"),
    ],
)


@pytest.fixture
def pod(lab: Lab, documented: Documented) -> Lab:
    """The document's pod on a host with Docker's userland proxy, as by default."""
    return lab.up(documented("pod"))


def test_three_containers_one_namespace(pod: Lab) -> None:
    """nginx and registry run with --net=container:pause: what they have of a network is pause's."""
    assert len({pod.namespace(name).inode for name in MEMBERS}) == 1
    assert pod.namespace("pause").inode != pod.namespace("host").inode
    for name in MEMBERS:
        assert devices(pod, name) == {"lo", "eth0"}
        assert addresses(pod, name, "eth0") == ["172.17.0.2/16"]


@pytest.mark.parametrize(
    ("probe", "source", "target"),
    [
        pytest.param(NGINX, "registry", "nginx", id="registry to nginx"),
        pytest.param(REGISTRY, "nginx", "registry", id="nginx to registry"),
    ],
)
def test_services_reach_each_other_on_127_0_0_1(pod: Lab, probe: Probe, source: str, target: str) -> None:
    """Programs in different containers of a pod reach each other directly on the loopback address.

    It is the pod's loopback: on the host, 127.0.0.1 and the service's own port lead nowhere.
    """
    with pod.capture("pause", "eth0") as card:
        cell = pod.ask(probe, source, f"{target}@127.0.0.1", [target])
    assert (cell.receiver, cell.replied) == ("pause", True)
    assert (cell.seen_source or "").startswith("127.0.0.1:")
    assert not card.frames
    if probe is NGINX:  # the registry's port is published under the same number
        assert pod.ask(probe, "host", "host@127.0.0.1", [target]).outcome is Outcome.REFUSED


@PUBLISHED
def test_published_on_the_host(pod: Lab, probe: Probe, service: str, port: int) -> None:
    """`curl 127.0.0.1:8080` and `docker login 127.0.0.1:5000` on the host; from outside the same ports."""
    targets = [f"host@127.0.0.1:{port}", f"host:{port}", f"host@172.17.0.1:{port}"]
    inside = pod.reachability(probe, sources=["host", "nginx"], targets=targets[1:], listeners=[service])
    assert inside.delivered() == {(source, target) for source in ("host", "nginx") for target in targets[1:]}
    for source, target in (("host", targets[0]), ("neighbour", targets[1])):
        cell = pod.ask(probe, source, target, [service])
        assert (cell.outcome, cell.receiver, cell.replied) == (Outcome.DELIVERED, "pause", True)


@pytest.mark.parametrize(
    ("proxy", "over_loopback", "over_the_card", "from_inside"),
    [
        pytest.param(True, "172.17.0.1", "198.51.100.10", "172.17.0.1", id="with the userland proxy"),
        pytest.param(False, "172.17.0.1", "172.17.0.1", "172.17.0.1", id="without"),
    ],
)
def test_what_nginx_sees(
    lab: Lab, documented: Documented, proxy: bool, over_loopback: str, over_the_card: str, from_inside: str
) -> None:
    """`curl 127.0.0.1:8080` works with and without Docker's userland proxy, by different ways.

    With it, 127.0.0.1 is the proxy's: a connection of its own from the bridge's address. Without it, the
    rules do it: DNAT, route_localnet, MASQUERADE and hairpin ports. The document has the default and does not
    mention it. A caller from outside keeps his own address with both.
    """
    lab.up(documented("pod").with_host("host", docker=DockerDaemon("24.0", userland_proxy=proxy)))
    seen = {
        (source, target): (lab.ask(NGINX, source, target, ["nginx"]).seen_source or "").partition(":")[0]
        for source, target in (
            ("host", "host@127.0.0.1:8080"),
            ("host", "host:8080"),
            ("registry", "host:8080"),
            ("neighbour", "host:8080"),
        )
    }
    assert seen == {
        ("host", "host@127.0.0.1:8080"): over_loopback,
        ("host", "host:8080"): over_the_card,
        ("registry", "host:8080"): from_inside,
        ("neighbour", "host:8080"): "198.51.100.20",
    }


def test_nothing_else_is_published(pod: Lab) -> None:
    """Neither the services' other ports nor the ports of others: the neighbour finds 8080 and 5000 only."""
    targets = ["host:8080", "host:80", "host:5000", "host:5001"]
    assert pod.reachability(NGINX, sources=["neighbour"], targets=targets, listeners=["nginx"]) == matrix("""
                   host:8080  host:80  host:5000  host:5001
        neighbour      .         R         R          R
    """)


def test_a_pod_has_each_port_once(pod: Lab) -> None:
    """A second service on nginx's port does not start: all containers of a pod share one set of ports."""
    with pod.listen(NGINX, "nginx"):
        with pytest.raises(PortTaken), pod.listen(NGINX, "registry"):
            pass
        with pod.listen(REGISTRY, "registry"):
            pass


def test_a_port_that_nobody_serves_is_refused(pod: Lab) -> None:
    """Publishing opens the way, as the counters show; that nobody is behind it is the pod's own answer."""
    cell = pod.explain(NGINX, "neighbour", "host:8080", listeners=[])
    assert cell.outcome is Outcome.REFUSED
    assert any("--dport 8080 -j DNAT --to-destination 172.17.0.2:80" in rule for rule in cell.rules)
