"""A run leaves nothing behind, however it ends: seen from the machine's own namespaces.

`make unit` gives these tests a pytest of their own that enters no sandbox (`-o netverify_sandbox=false`). In
a pytest that has entered one they hold as well, for what that one sees as the machine.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from netverify.kernel import syscalls
from netverify.kernel.namespace import Visitor
from tests import ordinary_user
from tests.outside import machine
from tests.outside.observer import Look, Observer
from tests.outside.run import PYTEST, ROOT

SUITES = (
    "suites/namespaces/test_ip_netns.py",  # mounts
    "suites/namespaces/test_process_namespaces.py",  # processes
    "suites/pod/test_pod.py::test_what_nginx_sees",  # rules
)
MORE_SUITES = (*SUITES, "suites/veth")  # two workers are soon done


@dataclass(frozen=True)
class Way:
    """A way to run the suites, and how often it is killed."""

    name: str
    arguments: tuple[str, ...]
    rootless: bool
    sandboxes: int
    kills: int

    def command(self) -> list[str]:
        words = [*PYTEST, *self.arguments]
        return ordinary_user.command(*words) if self.rootless else words


WAYS = [
    Way("root", SUITES, False, 1, 10),
    Way("ordinary user", SUITES, True, 1, 10),
    Way("root, two workers", ("-n", "2", *MORE_SUITES), False, 3, 3),
    Way("ordinary user, two workers", ("-n", "2", *MORE_SUITES), True, 3, 3),
]
SEED = os.environ.get("NETVERIFY_SEED") or str(random.SystemRandom().randrange(1 << 32))
VANDAL = Path(__file__).parents[1] / "kernel" / "sandbox_child.py"


@dataclass(frozen=True)
class Ended:
    """A run that nobody disturbed."""

    way: Way
    took: float
    look: Look
    exit_code: int
    printed: str
    left: dict[str, object]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way.name)
def ended(observer: Observer, request: pytest.FixtureRequest) -> Ended:
    way: Way = request.param
    with observer.run(way.command()) as running:
        took = running.wait_until_done()
        look = observer.look(running.pid)
        exit_code = running.end()
    return Ended(way, took, look, exit_code, running.printed.read_text(), observer.left())


def test_run_that_ends_by_itself(ended: Ended) -> None:
    assert ended.exit_code == 0, ended.printed
    assert " passed" in ended.printed
    assert "skipped" not in ended.printed
    assert ended.look == Look(processes=1, networks=1, mounts=1), (
        "at its end nothing but its sandbox was there"
    )
    assert ended.left == {}


def test_killed_run(observer: Observer, ended: Ended) -> None:
    """SIGKILL at random moments, spread over the whole run, from the start of Python to the last teardown."""
    way, took, number, most = ended.way, ended.took, 0, Look(0, 0, 0)
    while number < way.kills or most.networks <= way.sandboxes:
        assert number < 5 * way.kills, f"no kill met a lab, but at most {most}"
        dice = random.Random(f"{SEED} {way.name} {number}")
        moment = took * (number % way.kills + dice.random()) / way.kills
        with observer.run(way.command()) as running:
            if not running.stop_after(moment):
                took = moment  # it was quicker this time, and had done everything
                continue
            look = observer.look(running.pid)
            running.kill()
        told = f"NETVERIFY_SEED={SEED}, kill {number} after {moment:.3f} of {took:.3f} s: {look}"
        assert observer.left() == {}, told
        most = max(most, look, key=lambda each: each.networks)
        number += 1
    assert most.mounts == way.sandboxes


ENDLESS = """
import signal
import threading
from pathlib import Path

from netverify.topology.load import loads

BEGUN = Path(__file__).with_name("begun")


def test_endless():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    BEGUN.write_text("test ")
    threading.Event().wait()


def test_endless_program(lab):
    lab.up(loads("name: alone\\nhosts: {alone: {role: host}}", "alone.yaml"))
    lab.run("alone", ["sh", "-c", f"printf 'program ' >{BEGUN}; exec sleep infinity"])
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["-k", "program"], "program"), (["-n", "2"], "program test")],
    ids=["alone", "with workers"],
)
def test_what_would_go_on_for_ever_is_killed(
    observer: Observer, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    """A test that never ends in a pytest-xdist worker, and a program that never ends in a lab."""
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    (tmp_path / "pytest.ini").write_text("[pytest]\nnetverify_sandbox = true\n")
    (tmp_path / "test_endless.py").write_text(ENDLESS)
    with observer.run([*PYTEST, "--rootdir", str(tmp_path), *arguments, str(tmp_path)]) as running:
        assert sorted(running.read(begun, len(expected) + 1).split()) == expected.split()
        assert observer.look(running.pid).networks > len(arguments) - 1
        running.kill()
    assert observer.left() == {}


# --- the controls: what would be left behind is seen -------------------------------------------------------


def test_damage_to_the_machine_would_be_seen(root_of_something: None) -> None:
    with Visitor() as visitor:

        def somewhere_else() -> None:
            syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS)
            syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
            syscalls.mount("throwaway", "/run", "tmpfs", 0)

        def vandalise() -> None:
            for command in (
                f"{sys.executable} {VANDAL} vandalise",
                "ip -6 rule add from fd00::7 table 7",
                "ip -6 route add blackhole fd00::/64",
            ):
                subprocess.run(command.split(), check=True, cwd=ROOT)

        visitor.call(somewhere_else)
        before = visitor.call(machine.snapshot)
        visitor.call(vandalise)
        seen = set(machine.differences(before, visitor.call(machine.snapshot)))
    sources = {*machine.IP, *machine.RULES, machine.NFT, machine.NETNS, "mounts", str(machine.LOCK)}
    assert sources - seen == set()
    assert "/proc/sys/net/ipv4/ip_forward" in seen


def test_what_counts_by_itself_is_no_damage() -> None:
    assert machine.differences(machine.snapshot(), machine.snapshot()) == {}


LEAVES = """
import subprocess
import sys

from netverify.kernel import sandbox

sandbox.enter()
subprocess.Popen(["cat"], stdin=int(sys.argv[1]), start_new_session=True)
print("left", flush=True)
sys.stdin.read()
"""


def test_what_is_left_behind_would_be_seen(observer: Observer) -> None:
    """A process that outlives its parent, and with it the namespaces that it is in."""
    theirs, ours = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", LEAVES, str(theirs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[theirs],
        cwd=ROOT,
    ) as parent:
        os.close(theirs)
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"left\n"
        assert observer.look(parent.pid) == Look(processes=2, networks=1, mounts=1)
        assert parent.stdin is not None
        parent.stdin.close()
    left = observer.left(grace=0.2, freeing=0.2)
    assert set(left) == {"processes", "namespaces"}
    assert left["processes"] == {next(iter(left["processes"])): "cat "}
    assert len(left["namespaces"]) == 2, left

    os.close(ours)
    assert observer.left() == {}
