"""Rules of a namespace through one backend at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netverify.errors import MissingCapability
from netverify.kernel import firewall as firewall_module
from netverify.kernel.firewall import Backend, Firewall, FirewallError, RuleBook, moved_rules, program
from tests.kernel.small_net import SmallNet, two_bridges

FORWARDING = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{rules}COMMIT\n"
OTHER = {Backend.LEGACY: Backend.NFT, Backend.NFT: Backend.LEGACY}

Wall = Callable[..., Firewall]


@pytest.fixture
def net() -> Iterator[SmallNet]:
    with two_bridges() as made:
        yield made


@pytest.fixture(params=Backend, ids=lambda backend: backend.value)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def version(request: pytest.FixtureRequest) -> int:
    chosen: int = request.param
    return chosen


@pytest.fixture
def wall(net: SmallNet, backend: Backend) -> Firewall:
    """The host's."""
    return Firewall(net.namespaces["host"], net.visitor, backend)


def chain(wall: Firewall, name: str, version: int = 4) -> list[str]:
    """The rules of a chain of table filter, in words."""
    rules = wall.rules(version=version).rules()
    return [rule.render() for place, rule in rules if (place.table, place.chain) == ("filter", name)]


# --- loading, changing, reading ----------------------------------------------------------------------------


def test_restore_run_and_read(wall: Firewall, version: int) -> None:
    wall.restore(FORWARDING.format(rules=":OWN - [0:0]\n-A FORWARD -j OWN\n"), version=version)
    wall.run("-I FORWARD -i br-a -o br-b -j ACCEPT", version=version)
    wall.run(["-A", "OWN", "-m", "comment", "--comment", "two words", "-j", "DROP"], version=version)
    assert chain(wall, "FORWARD", version) == ["-A FORWARD -i br-a -o br-b -j ACCEPT", "-A FORWARD -j OWN"]
    assert chain(wall, "OWN", version) == ['-A OWN -m comment --comment "two words" -j DROP']


def test_a_string_is_split_as_a_shell_would(wall: Firewall) -> None:
    wall.run("""-A FORWARD -m comment --comment 'two "words"' -j DROP""")
    assert chain(wall, "FORWARD") == ["""-A FORWARD -m comment --comment "two \\"words\\"" -j DROP"""]


def test_the_versions_are_apart(wall: Firewall) -> None:
    wall.run("-A FORWARD -s 10.0.0.0/8 -j DROP")
    wall.run("-A FORWARD -s fd00::/8 -j DROP", version=6)
    assert chain(wall, "FORWARD", 4) == ["-A FORWARD -s 10.0.0.0/8 -j DROP"]
    assert chain(wall, "FORWARD", 6) == ["-A FORWARD -s fd00::/8 -j DROP"]


def test_restore_replaces_the_tables_that_it_names_alone(wall: Firewall) -> None:
    wall.run("-A FORWARD -j DROP")
    wall.run("-t nat -A POSTROUTING -j MASQUERADE")
    wall.restore(FORWARDING.format(rules="-A FORWARD -i br-a -j DROP\n"))
    assert chain(wall, "FORWARD") == ["-A FORWARD -i br-a -j DROP"]
    assert "-A POSTROUTING -j MASQUERADE" in wall.save()


def test_flush(wall: Firewall, version: int) -> None:
    every = {"filter": "FORWARD", "nat": "POSTROUTING", "mangle": "FORWARD", "raw": "OUTPUT"}
    for table, where in every.items():
        wall.run(f"-t {table} -N OWN", version=version)
        wall.run(f"-t {table} -A {where} -j OWN", version=version)
        if table != "nat":  # iptables(8): nobody may drop there
            wall.run(f"-t {table} -P {where} DROP", version=version)
    wall.flush(version=version)
    left = wall.rules(version=version)
    assert list(left.rules()) == []
    assert {table.name for table in left.tables} == set(every)
    chains = [each for table in left.tables for each in table.chains]
    assert {each.policy for each in chains} == {"ACCEPT"}
    assert "OWN" not in {each.name for each in chains}


def test_flush_of_nothing(wall: Firewall) -> None:
    wall.flush()
    assert wall.rules().tables == ()


# --- the backends are never mixed up -----------------------------------------------------------------------


def test_rules_never_leak_between_backends(wall: Firewall, version: int) -> None:
    """Each backend's tool shows its own rules alone, and flushing one leaves the other's."""
    other = Firewall(wall.namespace, wall.visitor, OTHER[wall.backend])
    wall.run("-A FORWARD -i br-a -j DROP", version=version)
    assert other.rules(version=version).tables == (), "not even a table"
    other.run("-A FORWARD -i br-b -j DROP", version=version)
    assert chain(wall, "FORWARD", version) == ["-A FORWARD -i br-a -j DROP"]
    assert chain(other, "FORWARD", version) == ["-A FORWARD -i br-b -j DROP"]
    other.flush(version=version)
    assert chain(wall, "FORWARD", version) == ["-A FORWARD -i br-a -j DROP"]


def test_both_backends_apply(net: SmallNet, wall: Firewall) -> None:
    """What one of them accepts the other still drops (netfilter asks all that are registered at a hook)."""
    other = Firewall(wall.namespace, wall.visitor, OTHER[wall.backend])
    wall.run("-A FORWARD -p icmp -j ACCEPT")
    net.ping("a1", "172.18.0.2", 1, 1)
    other.run("-A FORWARD -p icmp -j DROP")
    before = other.rules()
    net.send_echo("a1", "172.18.0.2", 1, 2)
    net.settle()
    assert moved_rules("host", before, other.rules()) == (
        "host: filter FORWARD rule 1: -A FORWARD -p icmp -j DROP [1]",
    )


def test_namespaces_are_apart(net: SmallNet, wall: Firewall) -> None:
    wall.run("-A FORWARD -j DROP")
    assert Firewall(net.namespaces["a1"], net.visitor, wall.backend).rules().tables == ()


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [("", 4, "iptables-{}"), ("save", 4, "iptables-{}-save"), ("restore", 6, "ip6tables-{}-restore")],
)
def test_programs_are_called_by_their_full_names(
    backend: Backend, name: str, version: int, expected: str
) -> None:
    assert program(name, backend, version) == expected.format(backend.value)


def test_a_program_that_is_not_installed(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingCapability, match=f"no iptables-{backend.value}-save: .* apt-get install"):
        program("save", backend)


@pytest.mark.parametrize(
    ("said", "expected"),
    [("iptables v1.8.9 (nf_tables)", Backend.NFT), ("iptables v1.8.9 (legacy)", Backend.LEGACY)],
)
def test_the_default_is_what_the_machines_iptables_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, expected: Backend
) -> None:
    program = tmp_path / "iptables"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert firewall_module.default_backend.__wrapped__() is expected


# --- errors ------------------------------------------------------------------------------------------------


def test_a_refused_restore_names_the_line_and_its_text(wall: Firewall, version: int) -> None:
    wall.run("-A FORWARD -i br-a -j DROP", version=version)
    text = FORWARDING.format(rules="-A FORWARD -i br-b -j DROP\n-A FORWARD -m nosuchmatch -j DROP\n")
    with pytest.raises(FirewallError) as caught:
        wall.restore(text, version=version)
    family = "iptables" if version == 4 else "ip6tables"
    message = str(caught.value)
    assert message.startswith(f"host: {family}-{wall.backend.value}-restore -w: ")
    assert "nosuchmatch" in message
    assert message.endswith("[line 6: -A FORWARD -m nosuchmatch -j DROP]")
    assert chain(wall, "FORWARD", version) == ["-A FORWARD -i br-a -j DROP"], "nothing was changed"


def test_a_restore_that_the_kernel_refuses_at_commit_changes_nothing(wall: Firewall) -> None:
    """A jump to a chain that does not exist."""
    wall.run("-A FORWARD -i br-a -j DROP")
    with pytest.raises(FirewallError, match="NOWHERE"):
        wall.restore(FORWARDING.format(rules="-A FORWARD -j NOWHERE\n"))
    assert chain(wall, "FORWARD") == ["-A FORWARD -i br-a -j DROP"]


def test_a_refused_command_names_host_command_and_reason(wall: Firewall) -> None:
    with pytest.raises(FirewallError) as caught:
        wall.run("-D FORWARD -i br-a -j DROP")
    assert str(caught.value).startswith(
        f"host: iptables-{wall.backend.value} -w -D FORWARD -i br-a -j DROP: "
    )
    assert "does a matching rule exist" in str(caught.value)


# --- counters ----------------------------------------------------------------------------------------------


def test_counters_move_with_the_packets(net: SmallNet, wall: Firewall, version: int) -> None:
    protocol, target = ("icmp", "172.18.0.2") if version == 4 else ("ipv6-icmp", "fd00:18::2")
    wall.run("-P FORWARD ACCEPT", version=version)
    wall.run(f"-A FORWARD -p {protocol} -i br-a -j ACCEPT", version=version)
    before = wall.rules(version=version)
    for sequence in range(3):
        net.ping("a1", target, 1, sequence)
    policy, rule = sorted(moved_rules("host", before, wall.rules(version=version)))
    assert policy == "host: filter FORWARD policy [3]", "the replies"
    assert rule.startswith("host: filter FORWARD rule 1: -A FORWARD ")
    assert rule.endswith(" [3]")


def test_a_dropping_policy_counts_however_it_was_set(net: SmallNet, wall: Firewall) -> None:
    """The proof of silence rests on it. (A policy that nobody set counts nothing in the nft backend.)"""
    text = FORWARDING.format(rules="").replace("FORWARD ACCEPT", "FORWARD DROP")
    for number, setting in enumerate((lambda: wall.restore(text), lambda: wall.run("-P FORWARD DROP"))):
        wall.flush()
        setting()
        before = wall.rules()
        net.send_echo("a1", "172.18.0.2", 1, number)
        net.settle()
        assert moved_rules("host", before, wall.rules()) == ("host: filter FORWARD policy [1]",)


def test_the_rule_book_holds_what_drops_and_nothing_else(net: SmallNet, wall: Firewall) -> None:
    """Dropping rules and policies of both backends; what rejects is answered, and stands apart."""
    other = Firewall(wall.namespace, wall.visitor, OTHER[wall.backend])
    wall.run("-A FORWARD -p icmp -m icmp --icmp-type 8 -j DROP")
    wall.run("-A FORWARD -p udp -j REJECT --reject-with icmp-port-unreachable")
    wall.run("-A FORWARD -j ACCEPT")
    other.run("-P INPUT DROP")
    book = RuleBook([wall, other], 4)
    before = book.read()
    for sequence in range(2):
        net.send_echo("a1", "172.18.0.2", 1, sequence)
    net.send_echo("a1", "172.19.0.1", 1, 3)
    net.settle()
    after = book.read()
    dropped = {rule: count - before.dropped[rule] for rule, count in after.dropped.items()}
    assert dropped == {
        "host: filter FORWARD rule 1: -A FORWARD -p icmp -m icmp --icmp-type 8 -j DROP": 2,
        "host: filter INPUT policy": 1,
    }
    (rejecting,) = set(after.answered)
    assert rejecting.startswith("host: filter FORWARD rule 2: -A FORWARD -p udp")
    assert after.answered[rejecting] == 0
