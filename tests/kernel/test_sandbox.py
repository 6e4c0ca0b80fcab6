"""`sandbox.enter()`: a place of our own, from which the machine can be neither seen nor changed.

Every test starts a fresh Python (sandbox_child.py) inside a network namespace that stands for the machine:
it has links, an address, a route, rules in both backends and sysctls that could be seen or changed. What the
real machine has is never at stake, and it does not matter whether pytest itself is in a sandbox already.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netverify.errors import SandboxError
from netverify.kernel import sandbox, syscalls
from netverify.kernel.namespace import Namespace, Visitor
from tests import ordinary_user

MS_SHARED = 1 << 20  # include/uapi/linux/mount.h
IS_REAL_ROOT = os.geteuid() == 0 and ordinary_user.is_mapped(ordinary_user.NOBODY)
CHILD = Path(__file__).with_name("sandbox_child.py")
IPTABLES = ("iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft")
FURNISH = (
    # Duplicate address detection would go on changing what `ip address` shows for a second.
    "sysctl -q net.ipv6.conf.default.accept_dad=0",
    "ip link set lo up",
    "ip link add lan0 type veth peer name lan1",
    "ip link set lan0 up",
    "ip link set lan1 up",
    "ip address add 192.0.2.7/24 dev lan0",
    "ip route add 198.51.100.0/24 via 192.0.2.1",
    "sysctl -q net.ipv4.ip_forward=0",
    *(f"{program} -A FORWARD -i lan0 -j DROP" for program in IPTABLES),
    "nft add table inet machine",
)
LOOKS = (
    "ip -details link",
    "ip address",
    "ip route show table all",
    "ip rule",
    "ip netns list",
    "nft list ruleset",
)


@dataclass(frozen=True)
class Machine:
    """A namespace that stands for the machine, seen from inside."""

    visitor: Visitor
    namespace: Namespace

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command that is nobody's child as far as sandboxes are concerned."""
        environment = {name: value for name, value in os.environ.items() if name != sandbox._PARENT}
        return self.visitor.visit(
            self.namespace,
            lambda: subprocess.run(command, capture_output=True, text=True, check=False, env=environment),
        )

    def output(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def facts(self, command: list[str]) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.output(*command))
        return facts

    def wait_for_carrier(self) -> None:
        """Wait until the kernel's link watch has seen the carrier, which changes what `ip link` shows."""
        deadline = time.monotonic() + 5
        while self.output("ip", "link").count("state UP") != 2:
            assert time.monotonic() < deadline, self.output("ip", "link")

    def state(self) -> dict[str, object]:
        """Everything of the machine that could be damaged, by where it was looked at."""
        state: dict[str, object] = {look: self.output(*look.split()) for look in LOOKS}
        for program in IPTABLES:
            # Comments have the time, and policies count packets that the machine sends of its own accord.
            lines = self.output(f"{program}-save").splitlines()
            state[program] = [line.partition(" [")[0] for line in lines if not line.startswith("#")]
        state["sysctls"] = self.visitor.visit(self.namespace, read_sysctls)
        state["mounts"] = self.visitor.call(Path("/proc/thread-self/mountinfo").read_text)
        state["/run"] = self.visitor.call(lambda: sorted(str(path) for path in Path("/run").rglob("*")))
        return state


def read_sysctls() -> dict[str, bytes]:
    """Every sysctl of the calling thread's network namespace."""
    values = {}
    for folder, _, names in os.walk("/proc/sys/net"):
        for path in (Path(folder, name) for name in names):
            try:
                values[str(path)] = path.read_bytes()
            except OSError as error:
                # Some cannot be read (route/flush), some have no value yet (stable_secret).
                values[str(path)] = os.strerror(error.errno or 0).encode()
    return values


def part_from_the_real_machine() -> None:
    """Give the thread that starts the children a /run and mounts of its own, for a broken sandbox to harm."""
    syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("machine", "/run", "tmpfs", 0)
    # On a machine with systemd every mount is shared: one that is not made private would show on the machine.
    syscalls.mount("none", "/", "", syscalls.MS_REC | MS_SHARED)


@pytest.fixture(scope="module")
def new_machine() -> Iterator[Callable[[], Machine]]:
    if os.geteuid() != 0:
        sandbox.enter()
    made: list[Namespace] = []
    with Visitor() as visitor:
        visitor.call(part_from_the_real_machine)

        def make() -> Machine:
            [(namespace, _)] = visitor.create(["machine"], lambda: None)
            made.append(namespace)
            machine = Machine(visitor, namespace)
            for command in FURNISH:
                machine.output(*command.split())
            machine.wait_for_carrier()
            return machine

        yield make
    for namespace in made:
        namespace.close()


@pytest.fixture(scope="module")
def machine(new_machine: Callable[[], Machine]) -> Machine:
    return new_machine()


def as_root(*deeds: str) -> list[str]:
    return [sys.executable, str(CHILD), *deeds]


def as_ordinary_user(*deeds: str) -> list[str]:
    return ordinary_user.command(*as_root(*deeds))


As = Callable[..., list[str]]


@pytest.fixture(scope="module", params=[as_root, as_ordinary_user], ids=["root", "ordinary_user"])
def who(request: pytest.FixtureRequest) -> As:
    chosen: As = request.param
    return chosen


@pytest.fixture(scope="module")
def facts(machine: Machine, who: As) -> dict[str, Any]:
    """What a process finds that entered a sandbox."""
    return machine.facts(who("look"))


def test_ordinary_user_is_one(machine: Machine) -> None:
    """The helper's own proof: the user that it makes has no power over the machine."""
    identity = machine.output(*ordinary_user.command("sh", "-c", "id -u; grep CapEff /proc/self/status"))
    assert identity.split() == [str(ordinary_user.NOBODY), "CapEff:", "0" * 16]
    done = machine.run(*ordinary_user.command("ip", "link", "set", "lan0", "down"))
    assert done.returncode != 0
    assert "not permitted" in done.stderr


def test_namespaces_are_our_own(machine: Machine, facts: dict[str, Any]) -> None:
    assert facts["before"]["net"] == f"net:[{machine.namespace.inode}]"
    assert facts["after"]["net"] != facts["before"]["net"]
    assert facts["after"]["mnt"] != facts["before"]["mnt"]


def test_user_namespace_only_where_it_is_needed(facts: dict[str, Any]) -> None:
    is_root = facts["uid"] == 0
    assert (facts["after"]["user"] == facts["before"]["user"]) is is_root
    # Root of a user namespace (pytest's own, in a rootless run) lives in one without making one.
    assert facts["rootless"] is not (is_root and IS_REAL_ROOT)


def test_inside_we_are_root_and_outside_who_we_were(facts: dict[str, Any]) -> None:
    assert facts["uid inside"] == 0
    assert facts["outer uid"] == facts["outer gid"] == facts["uid"]


def test_machine_is_invisible(machine: Machine, facts: dict[str, Any]) -> None:
    assert "lan0" in machine.output("ip", "link")
    assert facts["links"] == ["lo"]
    assert facts["routes"] == ""
    assert not any("lan0" in rules for rules in facts["saved"].values())


def test_run_is_private_and_writable(machine: Machine, facts: dict[str, Any]) -> None:
    # iptables-legacy leaves its lock there.
    assert set(facts["run"]) == {"ours", "xtables.lock"}
    assert not machine.visitor.call(Path("/run/ours").exists)


@pytest.mark.parametrize("program", IPTABLES)
def test_rules_can_be_loaded(facts: dict[str, Any], program: str) -> None:
    assert "--dport 80" not in facts["saved"][program]
    assert "--dport 80 -j ACCEPT" in facts["loaded"][program]


def test_sysctls_can_be_set(machine: Machine, facts: dict[str, Any]) -> None:
    assert facts["forward"] == "1"
    assert machine.output("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"


def test_second_enter_does_nothing(facts: dict[str, Any]) -> None:
    assert facts["again"] is True
    assert facts["namespaces again"] == facts["after"]
    assert facts["current"] is True


def test_sandboxes_nest(machine: Machine, who: As) -> None:
    """A child of a sandboxed process enters a sandbox of its own, with all that belongs to it."""
    facts = machine.facts(who("enter", "descend", "look"))
    assert facts["before"]["net"] != f"net:[{machine.namespace.inode}]"
    assert facts["after"]["net"] != facts["before"]["net"]
    assert facts["after"]["user"] == facts["before"]["user"]
    assert facts["links"] == ["lo"]
    assert "parent" not in facts["run"]
    assert all("--dport 80" in rules for rules in facts["loaded"].values())
    assert facts["forward"] == "1"


def test_worker_with_threads_enters_too(machine: Machine, who: As) -> None:
    """A pytest-xdist worker has threads before any plugin runs; in its parent's sandbox they do no harm."""
    facts = machine.facts(who("enter", "descend", "start_thread", "look"))
    assert facts["after"]["net"] != facts["before"]["net"] != f"net:[{machine.namespace.inode}]"
    assert facts["links"] == ["lo"]


# --- the machine afterwards --------------------------------------------------------------------------------


def test_machine_is_as_before(new_machine: Callable[[], Machine], who: As) -> None:
    machine = new_machine()
    before = machine.state()
    machine.output(*who("enter", "vandalise"))
    assert machine.state() == before


def test_damage_would_be_seen(new_machine: Callable[[], Machine]) -> None:
    """The control of the test above: without a sandbox the same deeds show wherever it looks."""
    machine = new_machine()
    before = machine.state()
    machine.output(*as_root("vandalise"))
    after = machine.state()
    assert [look for look in before if before[look] == after[look]] == []


# --- where there is no sandbox to be had -------------------------------------------------------------------


def test_second_thread_of_root_is_refused(machine: Machine) -> None:
    """The kernel would leave one thread on the machine; inside a user namespace there is no machine."""
    refusal = machine.facts(as_root("start_thread", "fail"))
    assert ("already runs several threads" in refusal["message"]) is IS_REAL_ROOT
    assert refusal["moved"] is refusal["current"] is not IS_REAL_ROOT


def test_a_variable_from_another_sandbox_is_not_believed(machine: Machine) -> None:
    """It came along into a shell of the machine's own, where a second thread matters."""
    inherited = ["env", f"{sandbox._PARENT}=1", *as_root("start_thread", "fail")]
    refusal = machine.facts(inherited)
    assert ("already runs several threads" in refusal["message"]) is IS_REAL_ROOT


def test_second_thread_of_ordinary_user_is_refused(machine: Machine) -> None:
    refusal = machine.facts(as_ordinary_user("start_thread", "fail"))
    assert refusal["uid"] != 0
    assert "already runs several threads" in refusal["message"]
    assert refusal["moved"] is refusal["current"] is False


def test_forbidden_user_namespaces_are_named_with_the_remedy(machine: Machine) -> None:
    limit = Path("/proc/sys/user/max_user_namespaces")
    before = limit.read_text()
    refusal = machine.facts(as_root("forbid", "fail"))
    assert refusal["uid"] == 1000
    assert "/proc/sys/user/max_user_namespaces is 0" in refusal["message"]
    assert "sysctl -w user.max_user_namespaces=" in refusal["message"]
    assert refusal["moved"] is refusal["current"] is False
    assert limit.read_text() == before


def test_labs_are_refused_outside_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_current", None)
    assert sandbox.current() is None
    with pytest.raises(SandboxError, match="still in the machine's own network namespace"):
        sandbox.require()
