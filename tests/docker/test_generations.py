"""Goldens: every generation's rules over the product of its options, IPv4 and IPv6, one file a generation
and set.

Rewrite them with `pytest tests/docker --update-golden`, and read the difference.
"""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from netverify.docker import (
    GENERATIONS,
    Generation,
    Ingress,
    nft_rules,
    rules,
)
from netverify.docker.version import ACCEPT_FWMARK
from netverify.ruleset import NftRuleset
from suites.engine.hosts import hosts
from tests.docker.saved import saved_text

# Of each generation the newest release that was read (or run), and for A two, since single rules changed.
VERSIONS = {"A0": "18.04", "A": "27.5.1", "B0": "28.0.0", "B1": "28.1.1", "B2": "28.5.2", "C": "29.7.2"}
CASES = [(name, case) for name, version in VERSIONS.items() for case in hosts(version)]


@pytest.mark.parametrize(("generation", "case"), CASES)
def test_iptables(golden, generation, case):
    ipv4, ipv6 = rules(hosts(VERSIONS[generation])[case])
    golden(f"docker/{generation}/{case}.rules", saved_text({"ipv4": ipv4, "ipv6": ipv6}))


def nft_text(found: NftRuleset) -> str:
    """Much as `nft list ruleset` shows it: for readers; what is loaded is `render()`."""
    lines = []
    for table in found.tables:
        lines.append(f"table {table.family} {table.name} {{")
        for one in table.sets:
            lines += [f"  map {one.name} {{ {', '.join(map(str, one.elements))} }}"]
        for chain in table.chains:
            hook = chain.hook
            kind = "" if hook is None else f" # {hook.type} {hook.hook} {hook.priority} policy {hook.policy}"
            lines += [f"  chain {chain.name} {{{kind}", *(f"    {rule}" for rule in chain.rules), "  }"]
        lines.append("}")
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("case", hosts("29.7.2"))
def test_nftables(golden, case):
    host = replace(hosts("29.7.2")[case], backend="nftables")
    found = nft_rules(host)
    golden(f"docker/N/{case}.nft", nft_text(found))
    assert rules(host) == (replace(rules(host)[0], tables=()), replace(rules(host)[1], tables=()))
    assert NftRuleset.parse(found.render()) == found
    assert json.loads(found.render())


@pytest.mark.parametrize(
    "generation", [one for one in GENERATIONS if one.backend == "iptables"], ids=lambda g: g.name
)
def test_swarm_ingress(golden, generation: Generation):
    host = hosts(VERSIONS[generation.name])["no networks"]
    gateway = replace(
        hosts(VERSIONS[generation.name])["ip6tables off"].networks[1],
        name="docker_gwbridge",
        bridge="docker_gwbridge",
        subnet6=None,
        icc=False,
    )
    swarm = replace(
        host, networks=(gateway,), ingress=Ingress(IPv4Address("172.18.0.2"), ((8080, "tcp"), (53, "udp")))
    )
    golden(f"docker/{generation.name}/swarm.rules", saved_text({"ipv4": rules(swarm)[0]}))


@pytest.mark.parametrize("backend", ["iptables", "nftables"])
def test_accepted_marks(golden, backend):
    host = replace(hosts("29.7.2")["default bridge,ipv6"], accept_fwmark="0x1/3", backend=backend)
    assert host.engine.has(ACCEPT_FWMARK)
    if backend == "nftables":
        golden("docker/N/fwmark.nft", nft_text(nft_rules(host)))
    else:
        ipv4, ipv6 = rules(host)
        golden("docker/C/fwmark.rules", saved_text({"ipv4": ipv4, "ipv6": ipv6}))


def test_no_raw_rules():
    host = hosts("28.5.2")["no raw rules"]
    assert not any(ruleset.has_table("raw") for ruleset in rules(host))
    assert all(ruleset.has_table("raw") for ruleset in rules(replace(host, raw_rules=True)))
