"""The kernel takes these rules with both backends, and gives them back unchanged.

Each load happens in a network namespace of its own that ends with the process that made it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from netverify.docker import DockerHost, rules
from netverify.ruleset import Ruleset
from tests.docker.saved import chains
from tests.docker.test_engines import A1, A2, C1, D1, E1, F1, NETWORKS

COMMANDS = {"ipv4": "iptables", "ipv6": "ip6tables"}


@pytest.fixture(params=["legacy", "nft"])
def load(request, tmp_path):
    """Load a ruleset with a backend in a new namespace, and return what the kernel has then."""
    kind = request.param

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
