"""The lab: what it owns, how it lets go, and what it says about names that it does not know."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from netverify.errors import InputError, KernelError, MissingCapability, SandboxError
from netverify.kernel import firewall, netlink, questions, sandbox
from netverify.kernel.firewall import Backend, FirewallError
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, icmp, tcp
from netverify.topology.errors import TopologyError
from netverify.topology.load import loads
from netverify.topology.model import Endpoint, Topology

SMALL = """
name: small
hosts: {router: {role: host, forwarding: [ipv4]}}
networks:
  left: {subnet: 10.1.0.0/24, device: br-left}
  right: {subnet: 10.2.0.0/24, device: br-right}
  spare: {subnet: 10.3.0.0/24, device: br-spare}
containers:
  a: {networks: left}
  b: {networks: right}
  guest: {mode: "container:b"}
"""


def small() -> Topology:
    return loads(SMALL, "small.yaml")


def held() -> tuple[set[str], int]:
    """What this process holds that a lab could leave behind: descriptors, threads."""
    files = (path for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    return {f"{path.name} {path.readlink()}" for path in files}, threading.active_count()


# --- letting go --------------------------------------------------------------------------------------------


def use_everything(lab: Lab) -> None:
    lab.up(small())
    lab.firewall("router").run("-A FORWARD -j ACCEPT")
    with lab.capture("router", "br-left"), lab.resident("a"), lab.listen(tcp(81), "b"):
        assert lab.ask(tcp(80), "a", "b").outcome is Outcome.DELIVERED


def test_a_lab_lets_go_of_everything() -> None:
    with Lab() as lab:
        use_everything(lab)  # once before, for what a process acquires for good
    before = held()
    with Lab() as lab:
        use_everything(lab)
        assert lab in questions.OPEN
        assert held() != before
    assert held() == before
    assert lab not in questions.OPEN


def test_a_lab_that_cannot_be_built_lets_go_too() -> None:
    before = held()
    bad = small().with_host("router", rules="*filter\n-A FORWARD -j NOWHERE\nCOMMIT\n")
    with pytest.raises(FirewallError, match=r"^router: .*NOWHERE"), Lab() as lab:
        lab.up(bad)
    assert held() == before


def close_behind_its_back(lab: Lab) -> None:
    """What makes its teardown fail: the number may be somebody else's file by then."""
    lab.up(small())
    os.close(lab.namespace("a").fd)


def fail_after(deed: Callable[[Lab], object]) -> Callable[[Lab], None]:
    def failing(lab: Lab) -> None:
        deed(lab)
        raise ZeroDivisionError

    return failing


@pytest.mark.parametrize(
    ("deed", "ends_with", "context"),
    [
        (fail_after(lambda lab: lab.up(small())), ZeroDivisionError, type(None)),
        (close_behind_its_back, OSError, type(None)),
        (fail_after(close_behind_its_back), OSError, ZeroDivisionError),
    ],
    ids=["error inside", "failing teardown", "error inside and failing teardown"],
)
def test_errors_travel_and_the_rest_is_let_go(
    deed: Callable[[Lab], object], ends_with: type[Exception], context: type[Exception]
) -> None:
    before = held()
    with pytest.raises(ends_with) as caught, Lab() as lab:
        deed(lab)
    assert type(caught.value.__context__) is context
    assert held() == before
    assert lab not in questions.OPEN


def test_a_failing_teardown_fails_the_test(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nnetverify_sandbox = true\n")
    (tmp_path / "test_it.py").write_text(
        "import os\n"
        "from netverify.topology.load import loads\n"
        "def test_it(lab):\n"
        "    lab.up(loads('name: one\\nhosts: {one: {role: host}}', 'one.yaml'))\n"
        "    os.close(lab.namespace('one').fd)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "1 passed, 1 error" in done.stdout
    assert "Bad file descriptor" in done.stdout


def test_a_second_topology_is_refused(lab: Lab) -> None:
    lab.up(small())
    with pytest.raises(InputError, match="this lab already holds 'small'; open another lab"):
        lab.up(small())
    assert lab.ask(icmp(), "a", "b").outcome is Outcome.DELIVERED, "the first one stands"


def test_two_labs_stand_side_by_side(lab: Lab) -> None:
    lab.up(small())
    with Lab() as other:
        other.up(small())
        other.firewall("router").run("-A FORWARD -j DROP")
        assert lab.ask(icmp(), "a", "b").outcome is Outcome.DELIVERED
        assert other.ask(icmp(), "a", "b").outcome is Outcome.FILTERED


def test_outside_a_sandbox_there_is_no_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    before = held()
    monkeypatch.setattr(sandbox, "_current", None)
    with pytest.raises(SandboxError, match="labs are built only inside a sandbox"), Lab():
        pass
    assert held() == before


def test_one_namespace_can_be_let_go_of_early(lab: Lab) -> None:
    lab.up(small())
    lab.firewall("a").run("-A INPUT -j ACCEPT")
    lab.drop("a")
    assert "a" not in lab.channels
    assert [each.namespace.name for each in lab.firewalls] == []
    with pytest.raises(InputError, match="no host or container 'a' in 'small'"):
        lab.run("a", "true")
    assert lab.ask(icmp(), "b", "router").outcome is Outcome.DELIVERED, "the others stand"


# --- names -------------------------------------------------------------------------------------------------

UNKNOWN: dict[str, Callable[[Lab], object]] = {
    "namespace": lambda lab: lab.namespace("nobody"),
    "addresses": lambda lab: lab.addresses("nobody", 4),
    "visit": lambda lab: lab.visit("nobody", os.getpid),
    "run": lambda lab: lab.run("nobody", "true"),
    "resident": lambda lab: lab.resident("nobody"),
    "shell": lambda lab: lab.shell_command("nobody"),
    "netlink": lambda lab: lab.netlink("nobody", []),
    "sysctl": lambda lab: lab.sysctl("nobody", "net.ipv4.ip_forward"),
    "firewall": lambda lab: lab.firewall("nobody"),
    "source": lambda lab: lab.ask(icmp(), "nobody", "a"),
    "target": lambda lab: lab.ask(icmp(), "a", "nobody"),
    "listener": lambda lab: lab.ask(tcp(80), "a", "b", listeners=["nobody"]),
    "matrix": lambda lab: lab.reachability(icmp(), ["a", "nobody"]),
    "capture": lambda lab: lab.capture("nobody", "eth0"),
    "NAT view": lambda lab: lab.nat_view([("nobody", "eth0")]),
    "conntrack": lambda lab: lab.nat_view([("a", "eth0")], conntrack=["nobody"]),
    "listen": lambda lab: lab.listen(tcp(80), "nobody"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_a_name_that_nobody_has(lab: Lab, what: str) -> None:
    lab.up(small())
    with pytest.raises(InputError, match="topology 'small': no host or container is named 'nobody'"):
        UNKNOWN[what](lab)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("b@10.2.0", "target 'b@10.2.0': '10.2.0' is not an IP address"),
        ("b:http", "target 'b:http': 'http' is not a port from 1 to 65535"),
        ("b:0", "target 'b:0': '0' is not a port from 1 to 65535"),
        ("b@10.2.0.2:65536", "target 'b@10.2.0.2:65536': '65536' is not a port from 1 to 65535"),
    ],
)
def test_a_target_that_is_none(lab: Lab, target: str, complaint: str) -> None:
    lab.up(small())
    with pytest.raises(InputError) as caught:
        lab.ask(tcp(80), "a", target)
    assert str(caught.value) == complaint


def test_whoever_has_no_address_of_the_family_must_be_asked_by_address(lab: Lab) -> None:
    lab.up(small())
    with pytest.raises(InputError, match="b has no IPv6 address to send to; write b@ADDRESS"):
        lab.ask(icmp(version=6), "a", "b")


def test_containers_that_share_a_namespace_are_one_place(lab: Lab) -> None:
    lab.up(small())
    assert lab.namespace("guest") is lab.namespace("b")
    assert lab.firewall("guest") is lab.firewall("b")
    assert lab.ask(icmp(), "a", "guest").receiver == "b"


# --- programs, sysctls, the way in -------------------------------------------------------------------------


def test_a_program_runs_where_it_should(lab: Lab) -> None:
    lab.up(small())
    assert lab.run("a", ["ip", "-brief", "-4", "address", "show", "dev", "eth0"]).split()[2] == "10.1.0.2/24"
    assert lab.run("b", "sh -c 'echo \"two words\"; echo aside >&2'") == "two words\naside\n"
    assert lab.run("a", "cat") == "", "it has nothing to read"


def test_a_program_that_fails_says_so_in_its_own_words(lab: Lab) -> None:
    lab.up(small())
    with pytest.raises(KernelError) as caught:
        lab.run("a", "ip link show dev 'no such'")
    said = 'Device "no such" does not exist.'
    assert str(caught.value) == f"a: ip link show dev 'no such': exit code 1: {said}"
    assert "does not exist" in lab.run("a", "ip link show dev nosuch", check=False)


def test_a_program_that_is_not_there(lab: Lab) -> None:
    lab.up(small())
    with pytest.raises(
        KernelError, match=r"^a: no-such-program: exit code 12[67]: setpriv: failed to execute"
    ):
        lab.run("a", "no-such-program")


def test_a_machine_without_setpriv(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.up(small())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingCapability, match=r"no setpriv: .* apt-get install util-linux"):
        lab.run("a", "true")


def test_sysctls(lab: Lab) -> None:
    lab.up(small())
    assert lab.sysctl("router", "net.ipv4.ip_forward") == "1"
    assert lab.sysctl("a", "net.ipv4.ip_forward") == "0"
    assert lab.sysctl("router", "net/ipv4/ip_forward", 0) == "0"
    assert lab.ask(icmp(), "a", "b").outcome is Outcome.FILTERED
    for value in (None, 1):
        with pytest.raises(InputError, match=r"^sysctl net\.ipv4\.no_such: this kernel, or this namespace"):
            lab.sysctl("a", "net.ipv4.no_such", value)
    with pytest.raises(InputError, match="the kernel does not let it be read: Permission denied"):
        lab.sysctl("a", "net.ipv4.route.flush")
    with pytest.raises(InputError, match="the kernel refuses the value 'maybe': Invalid argument"):
        lab.sysctl("a", "net.ipv4.ip_forward", "maybe")


def test_the_way_in_leads_inside(lab: Lab) -> None:
    lab.up(small())
    words = lab.shell_command("a").split()
    assert words[0] == "nsenter"
    assert words[-1] == f"--net=/proc/{os.getpid()}/fd/{lab.namespace('a').fd}"
    # Who is in the user namespace already cannot enter it once more (setns(2), EINVAL).
    assert words[1:-1] == (
        [f"--user=/proc/{os.getpid()}/ns/user", "--preserve-credentials"] if lab.rootless else []
    )
    inside = subprocess.run(
        ["nsenter", words[-1], "ip", "-brief", "-4", "address"], capture_output=True, text=True, check=True
    )
    assert "10.1.0.2/24" in inside.stdout


# --- changes at run time -----------------------------------------------------------------------------------


def plugged_into_spare() -> Endpoint:
    """The second endpoint of `a`, were it on the spare network as well."""
    with_spare = loads(SMALL.replace("a: {networks: left}", "a: {networks: [left, spare]}"), "small.yaml")
    return with_spare.resolved().container("a").endpoints[1]


def test_a_container_is_plugged_in_and_out(lab: Lab) -> None:
    lab.up(small())
    second = plugged_into_spare()
    lab.connect("a", second)
    address = second.addresses[0]
    assert lab.ask(icmp(), "router", f"a@{address}").outcome is Outcome.DELIVERED
    lab.disconnect("a", second)
    assert lab.ask(icmp(), "router", f"a@{address}").outcome is Outcome.UNREACHABLE
    assert lab.ask(icmp(), "router", "a").outcome is Outcome.DELIVERED


def test_unknown_networks_and_containers_are_named(lab: Lab) -> None:
    lab.up(small())
    (endpoint,) = lab.topology.container("b").endpoints
    with pytest.raises(TopologyError, match="nobody"):
        lab.connect("nobody", endpoint)
    with pytest.raises(InputError, match="there would be two devices named"):
        lab.connect("b", endpoint)


def test_a_refused_connection_leaves_no_plan(lab: Lab) -> None:
    """eth0 is there already; under another name the same connection is possible."""
    lab.up(small())
    second = plugged_into_spare()
    with pytest.raises(InputError, match="a: there would be two devices named 'eth0'"):
        lab.connect("a", replace(second, device="eth0"))
    lab.connect("a", second)
    assert lab.ask(icmp(), "router", f"a@{second.addresses[0]}").outcome is Outcome.DELIVERED


def test_devices_are_planned_and_sent_once(lab: Lab) -> None:
    lab.up(small())
    index = lab.plan.bridge("a", "br-new")
    lab.flush()
    lab.flush()
    assert lab.plan.device("a", "br-new") == index
    assert "br-new" in lab.run("a", "ip -brief link")
    with pytest.raises(InputError, match=r"a: no device named 'br-old' \(there are: br-new, eth0, lo\)"):
        lab.plan.device("a", "br-old")


def test_a_refused_request_names_the_namespace(lab: Lab) -> None:
    lab.up(small())
    with pytest.raises(KernelError, match=r"^namespace 'b': delete device 99: No such device$"):
        lab.netlink("guest", [netlink.delete_link(99)])


# --- backends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", Backend)
def test_the_chosen_backend_is_used(backend: Backend) -> None:
    with Lab(backend) as lab:
        lab.up(small())
        assert lab.backend is lab.firewall("router").backend is backend
        lab.firewall("router").run("-A FORWARD -i br-left -p icmp --icmp-type echo-request -j DROP")
        assert lab.reachability(icmp(), ["a", "b"]) == matrix("""
                 a   b
            a    .   F
            b    .   .
        """)


def test_without_a_choice_it_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in Backend:
        monkeypatch.setattr("netverify.kernel.lab.default_backend", lambda backend=backend: backend)
        assert Lab().backend is backend
    assert firewall.default_backend() in Backend


def test_rules_of_both_backends_count_as_proof(lab: Lab) -> None:
    lab.up(small())
    walls = [lab.firewall("router", backend) for backend in Backend]
    walls[0].run("-A FORWARD -s 10.1.0.0/24 -j DROP")
    walls[1].run("-A FORWARD -s 10.2.0.0/24 -p tcp --dport 80 -j DROP")
    assert set(lab.firewalls) == set(walls)
    for source, target in (("a", "b"), ("b", "a")):
        cell = lab.explain(tcp(80), source, target)
        assert cell.outcome is Outcome.FILTERED
        assert any(" -j DROP [" in rule for rule in cell.rules), cell
