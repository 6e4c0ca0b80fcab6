"""Processes in the namespaces of a lab, and namespaces that a lab takes in."""

from __future__ import annotations

import os
from ipaddress import ip_interface
from pathlib import Path

import pytest

from netverify.errors import InputError, KernelError
from netverify.kernel.lab import Lab
from netverify.reachability.probe import Outcome, icmp, udp
from netverify.topology.model import Host, Interface, Topology

TWO = Topology("two", hosts=(Host("a"), Host("b")))


def inode(path: str) -> int:
    return Path(path).stat().st_ino


def test_it_lives_in_the_namespace(lab: Lab) -> None:
    lab.up(TWO)
    with lab.resident("b") as process:
        assert inode(process.path) == lab.namespace("b").inode
        assert Path(f"/proc/{process.pid}/comm").read_text() == "cat\n"


def test_with_a_prefix_it_has_a_namespace_of_its_own(lab: Lab) -> None:
    lab.up(TWO)
    with lab.resident("b", ("unshare", "--net")) as process:
        own = inode(process.path)
        here = inode("/proc/self/ns/net")
        assert own not in {lab.namespace("a").inode, lab.namespace("b").inode, here}


def test_it_ends_with_the_block(lab: Lab) -> None:
    lab.up(TWO)
    with lab.resident("a") as process:
        pid = process.pid
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_ends_when_its_input_does(lab: Lab) -> None:
    """So it ends when we are killed too: the kernel closes our end of the pipe."""
    lab.up(TWO)
    with lab.resident("a") as process:
        started = process._process
        assert started is not None
        assert started.stdin is not None
        started.stdin.close()
        assert started.wait(timeout=10) == 0


@pytest.mark.parametrize(
    ("prefix", "words"),
    [(("unshare", "--no-such-option"), "unrecognized option"), (("false",), "exit code 1")],
)
def test_what_does_not_start_says_why(lab: Lab, prefix: tuple[str, ...], words: str) -> None:
    lab.up(TWO)
    with pytest.raises(KernelError, match=words), lab.resident("a", prefix):
        pytest.fail("it has started")


def test_it_has_no_number_before_it_runs(lab: Lab) -> None:
    lab.up(TWO)
    with pytest.raises(KernelError, match="not been started"):
        _ = lab.resident("a").pid


def test_adopting_a_namespace_of_the_lab_only_gives_it_another_name(lab: Lab) -> None:
    lab.up(TWO)
    with lab.resident("b") as process:
        assert lab.adopt("other", process.path) is lab.namespace("b")
    assert set(lab.channels) == {"a", "b"}
    assert lab.firewall("other") is lab.firewall("b")
    assert lab.ask(icmp(), "other", "other@127.0.0.1").receiver == "b"


def test_what_is_adopted_twice_counts_its_drops_once(lab: Lab) -> None:
    lab.up(TWO)
    lab.adopt("other", lab.namespace("b").path)
    for name in ("b", "other"):
        lab.firewall(name).run("-A INPUT -j DROP")
    cell = lab.ask(udp(53), "other", "b@127.0.0.1")
    assert cell.outcome is Outcome.FILTERED
    assert cell.detail == "dropped by b: filter INPUT rule 1: -A INPUT -j DROP"


@pytest.mark.parametrize("name", ["a", "other"])
def test_names_are_given_once(lab: Lab, name: str) -> None:
    lab.up(TWO)
    lab.adopt("other", lab.namespace("b").path)
    with pytest.raises(InputError, match=f"a namespace '{name}' in this lab already"):
        lab.adopt(name, lab.namespace("a").path)


def test_a_plan_knows_what_an_adopted_namespace_has(lab: Lab) -> None:
    """Devices that are there already keep their numbers, and new ones get others."""
    lab.up(TWO)
    with lab.resident("a", ("unshare", "--net")) as process:
        lab.run("a", f"nsenter --net={process.path} ip link add there type bridge")
        lab.adopt("container", process.path)
        _cable(lab, "container")
    assert "near@" in lab.run("a", "ip link")
    assert "far@" in lab.run("container", "ip link")
    assert lab.plan.device("container", "there") != lab.plan.device("container", "far")


def _cable(lab: Lab, node: str) -> None:
    lab.plan.veth(("a", "near"), (node, "far"))
    lab.flush()


def test_settling_makes_devices_of_programs_impatient(lab: Lab) -> None:
    lab.up(TWO)
    lab.run("a", "ip link add near type veth peer name far")
    for name in ("near", "far"):
        lab.run("a", f"ip link set {name} up")
    assert "retrans 1000" in lab.run("a", "ip ntable show dev near name arp_cache")
    lab.settle()
    assert "retrans 100 " in lab.run("a", "ip ntable show dev near name arp_cache")
    assert "LOWER_UP" in lab.run("a", "ip link show dev near")


def test_an_adopted_namespace_is_asked_by_address(lab: Lab) -> None:
    """The topology knows no address of it, so a target must name one; another name has those of its owner."""
    lab.up(
        Topology("one", hosts=(Host("a", interfaces=(Interface("eth0", (ip_interface("10.0.0.1/24"),)),)),))
    )
    with lab.resident("a", ("unshare", "--net")) as process:
        lab.adopt("container", process.path)
        lab.adopt("other", lab.namespace("a").path)
        lab.run("container", "ip link set lo up")
        assert lab.ask(icmp(), "container", "container@127.0.0.1").receiver == "container"
        assert lab.ask(icmp(), "a", "other").receiver == "a"
        with pytest.raises(InputError, match="write container@ADDRESS"):
            lab.ask(icmp(), "a", "container")
