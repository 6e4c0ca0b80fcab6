"""The kernel takes these rules with both backends, and gives them back unchanged.

Each load happens in a network namespace of its own that ends with the process that made it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address

import pytest

from netverify.docker import DockerHost, MeshPort, nft_rules, rules, sandbox_rules, task_rules
from netverify.ruleset import NftChain, NftRuleset, Ruleset
from suites.engine.hosts import hosts
from tests.docker.saved import chains
from tests.docker.test_engines import A1, A2, C1, D1, E1, F1, NETWORKS

COMMANDS = {"ipv4": "iptables", "ipv6": "ip6tables"}


@pytest.fixture(params=["legacy", "nft"])
def load(request, tmp_path):
    """Load a ruleset with a backend in a new namespace, and return what the kernel has then."""
    kind, run = request.param, runner(tmp_path)
    return loader(run, kind)


def runner(tmp_path):
    def run(script: str, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["unshare", "-rn", "sh", "-ec", script],
            input=text,
            capture_output=True,
            text=True,
            env={**os.environ, "XTABLES_LOCKFILE": str(tmp_path / "xtables.lock"), "LC_ALL": "C"},
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def load_nft_alone(tmp_path):
    """The same with iptables-nft alone, for the long lists."""
    return loader(runner(tmp_path), "nft")


def loader(run, kind: str):
    missing = shutil.which("unshare") is None
    probe = None if missing else run(f"iptables-{kind}-restore", "*filter\nCOMMIT\n")
    if probe is None or probe.returncode:
        reason = f"no iptables-{kind} in a namespace here: {'no unshare' if probe is None else probe.stderr}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)

    def load(ruleset: Ruleset) -> Ruleset:
        command = COMMANDS[ruleset.family]
        done = run(f"{command}-{kind}-restore && {command}-{kind}-save", ruleset.render())
        assert done.returncode == 0, done.stderr
        return Ruleset.parse(done.stdout, family=ruleset.family)

    return load


SCTP = replace(A1[0], container_port=36412, host_port=36412, protocol="sctp")


@pytest.mark.parametrize("version", ["20.10", "27.5"])
@pytest.mark.parametrize("proxy", [True, False])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_rules_come_back_as_they_were_written(load, version, proxy, family):
    networks = tuple(
        replace(one, host_ipv6=IPv6Address("2001:db8::1")) if one.subnet6 and version == "27.5" else one
        for one in (*NETWORKS[:-1], replace(NETWORKS[-1], host_ipv4=IPv4Address("192.0.2.1")))
    )
    published = (*A1, *A2, *C1, *D1, *E1, *F1, SCTP)
    host = DockerHost(version, networks, published, userland_proxy=proxy, ip6tables=True)
    ipv4, ipv6 = rules(host)
    written = ipv4 if family == "ipv4" else ipv6
    assert chains(load(written)) == chains(written)


NEWER = [(version, case) for version in ("18.04", "28.1.1", "28.5.2", "29.7.2") for case in hosts(version)]


@pytest.mark.parametrize(("version", "case"), NEWER)
def test_every_generation_comes_back_as_it_was_written(load_nft_alone, version, case):
    for written in rules(hosts(version)[case]):
        if written.tables:
            assert chains(load_nft_alone(written)) == chains(written)


def test_a_mesh_s_rules_within_namespaces_come_back_as_they_were_written(load):
    """But for the one of the sandbox that asks IPVS, which not every kernel has."""
    ports = (MeshPort(8090, 80), MeshPort(5300, 53, "udp"))
    task = task_rules(IPv4Address("10.0.0.5"), ports)
    assert chains(load(task)) == chains(task)
    sandbox = sandbox_rules(IPv4Interface("10.0.0.2/24"), IPv4Address("10.0.0.3"), 256, ports)
    assert "-m ipvs" in str(sandbox.chain("nat", "POSTROUTING").rule(1))
    without = sandbox.with_rule_removed("nat", "POSTROUTING", 1)
    assert chains(load(without)) == chains(without)


@pytest.mark.needs("nft")
@pytest.mark.parametrize("case", hosts("29.7.2"))
def test_the_nftables_backend_comes_back_as_it_was_written(case):
    """But for the order of elements in sets, of which the kernel keeps none."""
    host = replace(hosts("29.7.2")[case], backend="nftables", accept_fwmark="0x1/3")
    written = nft_rules(host)
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-ec", "nft -j -f - && nft -j list ruleset"],
        input=written.render(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = NftRuleset.parse(done.stdout)
    for table in written.tables:
        there = found.table(table.family, table.name)
        for chain in table.chains:
            assert there.chain(chain.name).hook == chain.hook
            assert _words(there.chain(chain.name)) == _words(chain)
        for one in table.sets:
            assert {*map(str, there.set(one.name).elements)} == {*map(str, one.elements)}


def _words(chain: NftChain) -> list[list[str]]:
    """Each rule's words, those of a set in alphabetical order."""
    sets = re.compile(r"\{ (.*?) \}")
    return [
        sets.sub(lambda found: ", ".join(sorted(found[1].split(", "))), str(rule)).split()
        for rule in chain.rules
    ]
