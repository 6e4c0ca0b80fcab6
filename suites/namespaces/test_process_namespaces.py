"""Namespaces that `ip netns` did not make: those of running processes, which is what containers have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.documented import Documented
from fixtures.iproute import devices
from netverify.errors import KernelError
from netverify.kernel.lab import Lab
from netverify.reachability.probe import Outcome, icmp

NAMES = Path("/run/netns")
A_NEW_NAMESPACE = ("unshare", "--net")


@contextmanager
def linked(name: str, path: str) -> Iterator[None]:
    """A link in /run/netns, as the documents make it with `ln -s`."""
    NAMES.mkdir(exist_ok=True)
    link = NAMES / name
    link.symlink_to(path)
    try:
        yield
    finally:
        link.unlink()


@pytest.fixture
def host(lab: Lab, documented: Documented) -> Lab:
    """A lab in whose namespaces nothing has a name yet; study01 stands for the host of the containers."""
    lab.up(documented("two-namespaces"))
    return lab


def test_ip_netns_does_not_find_a_container(host: Lab) -> None:
    """A process in a namespace of its own has no name; `lsns` finds it, `ip netns` does not.

    Seed document 003, section 'Container networks': Docker puts no file into /run/netns. Section 'Linux
    network namespaces' shows `lsns`.
    """
    with host.resident("study01", A_NEW_NAMESPACE) as container:
        assert host.run("study01", "ip netns list") == ""
        found = host.run("study01", "lsns --type net --noheadings --raw --output PID").split()
        assert str(container.pid) in found


def test_a_link_gives_a_container_a_name(host: Lab) -> None:
    """A link to /proc/PID/ns/net makes `ip netns` list the namespace, and enter it.

    Seed document 003, section 'Container networks'; seed document 000, section 'ip netns'.
    """
    with (
        host.resident("study01", A_NEW_NAMESPACE) as container,
        linked(f"ns-{container.pid}", container.path),
    ):
        name = f"ns-{container.pid}"

        def ip(command: str) -> str:
            return host.run("study01", f"ip {command}")

        assert ip("netns list").split() == [name]
        assert ip(f"netns pids {name}").split() == [str(container.pid)]
        assert ip(f"netns identify {container.pid}").split() == [name]
        ip(f"-n {name} link set dev lo up")
        ip(f"-n {name} link add second type bridge")
        # Entered by the link and by the number of the process, it is the same namespace.
        assert "second" in ip(f"netns exec {name} ip link")
        assert "second" in host.run("study01", f"nsenter --net --target {container.pid} ip link")
    assert devices(host, "study01") == {"lo"}


def test_a_container_can_be_adopted(host: Lab) -> None:
    """A lab takes in the namespace of a process and asks questions there, as it does of its own."""
    with host.resident("study01", A_NEW_NAMESPACE) as container:
        host.adopt("container", container.path)
        before = host.ask(icmp(), "container", "container@127.0.0.1")
        host.run("container", "ip link set dev lo up")
        after = host.ask(icmp(), "container", "container@127.0.0.1")

    assert before.outcome is Outcome.UNREACHABLE
    assert (after.outcome, after.receiver) == (Outcome.DELIVERED, "container")


def test_a_link_does_not_keep_a_namespace(host: Lab) -> None:
    """A link leads nowhere once the process is gone; what `ip netns add` made stays, since it is a mount.

    The documents do not say so: seed document 003, section 'Container networks', leaves its link behind.
    """
    with host.resident("study01", A_NEW_NAMESPACE) as container:
        path = container.path
    host.run("study01", "ip netns add kept")
    try:
        with linked("gone", path):
            assert set(host.run("study01", "ip netns list").split()) == {"gone", "kept"}
            assert "lo" in host.run("study01", "ip -n kept link")
            with pytest.raises(KernelError, match='network namespace "gone": No such file'):
                host.run("study01", "ip -n gone link")
    finally:
        host.run("study01", "ip netns delete kept")
