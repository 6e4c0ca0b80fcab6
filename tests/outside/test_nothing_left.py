"""A run leaves nothing behind, however it ends: seen from the machine's own namespaces.

These tests must not run inside a sandbox: `make unit` gives them a pytest of their own, with
`-o netverify_sandbox=false`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from netverify.kernel import sandbox
from tests import ordinary_user
from tests.outside import machine

ROOT = Path(__file__).parents[2]
RUN = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
SUITES = ("suites/veth", "suites/docker/test_unblocking.py", "suites/docker/test_network_options.py")
PATIENCE = 20.0  # seconds until the last process must be gone
SEED = int(os.environ.get("NETVERIFY_SEED", random.SystemRandom().randrange(1 << 32)))


@pytest.fixture(autouse=True)
def outside() -> None:
    if sandbox.current() is not None:
        pytest.skip("looks at the machine's own namespaces: run it with -o netverify_sandbox=false")


@pytest.fixture
def undisturbed() -> Iterator[str]:
    """A mark for what the test starts; afterwards nothing with it runs, and the machine is as before."""
    mark = f"NETVERIFY_MARK={uuid.uuid4()}"
    before = machine.snapshot()
    yield mark
    left = machine.wait_for_the_end(mark, PATIENCE)
    assert not left, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
    assert machine.differences(before, machine.snapshot()) == {}


def start(mark: str, *arguments: str, rootless: bool) -> subprocess.Popen[str]:
    """Run the suites in a session of their own, as root or as an ordinary user."""
    name, _, value = mark.partition("=")
    words = [*RUN, *arguments, *SUITES]
    return subprocess.Popen(
        ordinary_user.command(*words) if rootless and os.geteuid() == 0 else words,
        cwd=ROOT,
        env={**os.environ, name: value, "CI": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
@pytest.mark.parametrize("rootless", [False, True], ids=["as we are", "ordinary user"])
def test_a_run_that_ends_by_itself(undisturbed: str, workers: tuple[str, ...], rootless: bool) -> None:
    process = start(undisturbed, *workers, rootless=rootless)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert " passed" in printed


def kill_at_a_random_moment(mark: str, number: int, *arguments: str, longest: float) -> None:
    """SIGKILL for the first process alone: what it started has to notice by itself."""
    moment = random.Random(f"{SEED}-{number}-{arguments}").uniform(0.1, longest)
    print(f"NETVERIFY_SEED={SEED}: kill {number} after {moment:.3f} s")  # noqa: T201 - to repeat a failure
    process = start(mark, *arguments, rootless=bool(number % 2))
    try:
        process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", range(20))
def test_a_run_that_is_killed(undisturbed: str, number: int) -> None:
    kill_at_a_random_moment(undisturbed, number, longest=2.5)


@pytest.mark.parametrize("number", range(4))
def test_a_run_with_workers_that_is_killed(undisturbed: str, number: int) -> None:
    kill_at_a_random_moment(undisturbed, number, "-n", "2", longest=4.0)


def test_damage_would_be_seen(tmp_path: Path) -> None:
    """The control: the observer does see a link, a rule, a sysctl, a mount, and a process that stays."""
    script = """
import sys; sys.path.insert(0, sys.argv[1])
import subprocess
from netverify.kernel import sandbox
sandbox.enter()
from tests.outside import machine
before = machine.snapshot()
for command in ("ip link add leftover type bridge", "ip addr add 192.0.2.1/24 dev leftover",
                "iptables-legacy -A INPUT -j ACCEPT", "iptables-nft -A INPUT -j ACCEPT",
                "sysctl -qw net.ipv4.ip_forward=1", "mount -t tmpfs leftover /mnt"):
    subprocess.run(command.split(), check=True)
after = machine.snapshot()
print(*machine.differences(before, after), sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    seen = done.stdout.splitlines()
    assert {"ip -d -j link", "ip -j addr", "mounts", "/proc/sys/net/ipv4/ip_forward"} <= set(seen)
    assert {"iptables-legacy-save", "iptables-nft-save"} <= set(seen)

    mark = f"NETVERIFY_MARK={uuid.uuid4()}"
    name, _, value = mark.partition("=")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env={**os.environ, name: value}) as stays:
        assert machine.wait_for_the_end(mark, 0.3) == [stays.pid]
        assert stays.stdin is not None
        stays.stdin.close()
    assert machine.wait_for_the_end(mark, PATIENCE) == []
