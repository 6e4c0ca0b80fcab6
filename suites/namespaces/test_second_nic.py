"""A running container gets a second network card, through the namespace of its process.

Seed document 003, section 'Container networks': nginx runs in a container; its namespace is linked into
/run/netns, one end of a veth pair is put into it and called eth1, and then `ping 10.1.0.2` and
`curl 10.1.0.2` on the host reach the container past docker0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.documented import Documented
from fixtures.iproute import addresses, devices, routes
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp

NAMES = Path("/run/netns")
SECOND = "nginx@10.1.0.2"
NAME = "ns-993"  # the document's; 993 is the number of the process there


@contextmanager
def attached(lab: Lab) -> Iterator[None]:
    """The commands of the document; the link is taken away again, which it forgets."""
    with lab.resident("nginx") as process:
        NAMES.mkdir(exist_ok=True)
        link = NAMES / NAME
        link.symlink_to(process.path)
        try:
            for command in (
                "link add eth0-ns-993 type veth peer name veth-ns-993",
                f"link set eth0-ns-993 netns {NAME}",
                f"-n {NAME} link set dev eth0-ns-993 name eth1",
                "addr add 10.1.0.1/24 dev veth-ns-993",
                f"-n {NAME} addr add 10.1.0.2/24 dev eth1",
                "link set dev veth-ns-993 up",
                f"-n {NAME} link set dev eth1 up",
            ):
                lab.run("host", f"ip {command}")
            lab.settle()
            yield
        finally:
            link.unlink()


@pytest.fixture
def running(lab: Lab, documented: Documented) -> Lab:
    """The container on docker0, before it gets its second card."""
    return lab.up(replace(documented("second-nic"), cables=()))


def test_the_card_appears_in_the_running_container(running: Lab) -> None:
    """What `ip addr` shows in the container before and after, as in the document."""
    assert devices(running, "nginx") == {"lo", "eth0"}

    with attached(running):
        inside = running.run("host", f"ip netns exec {NAME} ip -4 -brief addr")

    assert [line.split()[0].partition("@")[0] for line in inside.splitlines()] == ["lo", "eth0", "eth1"]
    assert devices(running, "nginx") == {"lo", "eth0", "eth1"}
    assert addresses(running, "nginx", "eth0") == ["172.17.0.2/16"]
    assert addresses(running, "nginx", "eth1") == ["10.1.0.2/24"]
    assert "veth-ns-993" in devices(running, "host")
    assert "eth0-ns-993" not in devices(running, "host")


@pytest.mark.parametrize("probe", [icmp(), tcp(80)], ids=str)
def test_the_host_reaches_it(running: Lab, probe: Probe) -> None:
    """`ping 10.1.0.2` and `curl 10.1.0.2` on the host: not before, but with the card."""
    before = running.ask(probe, "host", SECOND)
    with attached(running):
        after = running.ask(probe, "host", SECOND)
        way_back = running.ask(icmp(), "nginx", "host@10.1.0.1")

    assert before.outcome is Outcome.UNREACHABLE
    assert (after.outcome, after.receiver, after.replied) == (Outcome.DELIVERED, "nginx", True)
    assert str(after.seen_source).split(":")[0] == "10.1.0.1"
    assert way_back.replied
    assert way_back.seen_source == "10.1.0.2"


@pytest.mark.parametrize("probe", [icmp(), tcp(80)], ids=str)
def test_the_first_card_goes_on_working(running: Lab, probe: Probe) -> None:
    """Host and container reach each other over docker0 as before, and the default route stays there."""
    both = matrix("""
                nginx  host
        nginx   .      .
        host    .      .
    """)
    assert running.reachability(probe, ["nginx", "host"]) == both
    with attached(running):
        assert running.reachability(probe, ["nginx", "host"]) == both
        assert routes(running, "nginx") == [
            "default via 172.17.0.1 dev eth0 proto static",
            "10.1.0.0/24 dev eth1 proto kernel scope link src 10.1.0.2",
            "172.17.0.0/16 dev eth0 proto kernel scope link src 172.17.0.2",
        ]


def test_the_packets_take_the_second_card(running: Lab) -> None:
    """A packet for 10.1.0.2 passes the new cable, and none of it docker0."""
    with (
        attached(running),
        running.capture("host", "veth-ns-993", "icmp") as cable,
        running.capture("host", "docker0", "icmp") as bridge,
    ):
        assert running.ask(icmp(), "host", SECOND).replied

    assert len(cable.frames) == 2
    assert bridge.frames == ()


def test_docker_knows_nothing_of_it(running: Lab) -> None:
    """The published port still leads to the first card, and no rule of Docker's names the second one.

    The document does not ask; it follows from attaching the card behind the engine's back.
    """
    with attached(running):
        rules = running.firewall("host").save()
        published = running.explain(tcp(80), "host", "host@172.17.0.1:80")

    assert "172.17.0.2:80" in rules
    assert "10.1.0." not in rules
    assert "veth-ns-993" not in rules
    assert (published.outcome, published.receiver) == (Outcome.DELIVERED, "nginx")
    assert any("-j DNAT --to-destination 172.17.0.2:80" in rule for rule in published.rules)


def test_the_topology_describes_the_same(lab: Lab, documented: Documented) -> None:
    """Built at once from the topology, the container has the same cards and answers on both."""
    lab.up(documented("second-nic"))

    assert devices(lab, "nginx") == {"lo", "eth0", "eth1"}
    for target in ("nginx@172.17.0.2", SECOND):
        assert lab.ask(tcp(80), "host", target).replied
