"""Names of namespaces: what `ip netns` makes, lists and takes away.

The names are files below /run/netns, and the sandbox has a /run of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.documented import Documented
from netverify.errors import KernelError
from netverify.kernel.lab import Lab

NAMES = Path("/run/netns")


@pytest.fixture
def shell(lab: Lab, documented: Documented) -> Callable[[str], str]:
    """Somewhere to type commands, in a sandbox where `ip netns` knows no names yet."""
    lab.up(documented("two-namespaces"))
    assert lab.run("study01", "ip netns list") == ""
    return lambda command: lab.run("study01", command)


def test_a_name_is_a_file(shell: Callable[[str], str]) -> None:
    """`ip netns add` puts a name into /run/netns; delete takes it away again.

    Seed document 004, section 'Working with network namespaces': its record of add, list, exec, delete, list.
    Seed document 003, section 'Linux network namespaces': the directory. What was made is a new namespace
    with nothing in it but lo, which is down.
    """
    shell("ip netns add study03")
    try:
        assert shell("ip netns list").split() == ["study03"]
        assert [file.name for file in NAMES.iterdir()] == ["study03"]
        inside = shell("ip netns exec study03 ip -oneline link")
        assert inside.count("\n") == 1
        assert "lo: <LOOPBACK>" in inside
        assert "state DOWN" in inside
        assert shell("ip -n study03 -oneline link") == inside
    finally:
        shell("ip netns delete study03")

    assert shell("ip netns list") == ""
    assert list(NAMES.iterdir()) == []


def test_the_name_must_be_right(shell: Callable[[str], str]) -> None:
    """Deleting a name that is not there changes nothing (seed document 004, the same section).

    The document mistypes `study` for `study01` and gets "Cannot remove namespace file".
    """
    shell("ip netns add study03")
    try:
        with pytest.raises(KernelError, match=r'Cannot remove namespace file ".*/netns/study"'):
            shell("ip netns delete study")
        assert shell("ip netns list").split() == ["study03"]
    finally:
        shell("ip netns delete study03")


def test_a_namespace_of_the_lab_can_be_given_a_name(lab: Lab, shell: Callable[[str], str]) -> None:
    """A link in /run/netns is enough: `ip netns` then works with a namespace that it did not make.

    Seed document 000, section 'ip netns'.
    """
    NAMES.mkdir(exist_ok=True)
    link = NAMES / "second"
    link.symlink_to(lab.namespace("study02").path)
    try:
        assert shell("ip netns list").split() == ["second"]
        shell("ip -n second link set dev lo up")
    finally:
        link.unlink()

    assert "UP" in lab.run("study02", "ip -oneline link show dev lo")
    assert "DOWN" in lab.run("study01", "ip -oneline link show dev lo")
