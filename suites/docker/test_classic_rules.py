"""The rules themselves: what netverify writes for the document's host is what the document printed."""

from __future__ import annotations

from collections.abc import Callable

from netverify import docker
from netverify.docker.from_topology import docker_host
from netverify.kernel.lab import Lab
from netverify.ruleset import Ruleset
from netverify.topology.model import Topology

# The rules of seed document 001, section 5.2, in its order.
PRINTED = """
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.19.0.0/16 ! -o br-9559b3f84d38 -j MASQUERADE
-A POSTROUTING -s 172.21.0.0/16 ! -o br-cfcd23a5f04c -j MASQUERADE
-A POSTROUTING -s 172.18.0.0/16 ! -o br-cbd0f56841ce -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER -i br-cbd0f56841ce -j RETURN
-A DOCKER -i br-9559b3f84d38 -j RETURN
-A DOCKER -i br-cfcd23a5f04c -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A FORWARD -o br-cbd0f56841ce -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-cbd0f56841ce -j DOCKER
-A FORWARD -i br-cbd0f56841ce ! -o br-cbd0f56841ce -j ACCEPT
-A FORWARD -i br-cbd0f56841ce -o br-cbd0f56841ce -j ACCEPT
-A FORWARD -o br-9559b3f84d38 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-9559b3f84d38 -j DOCKER
-A FORWARD -i br-9559b3f84d38 ! -o br-9559b3f84d38 -j ACCEPT
-A FORWARD -i br-9559b3f84d38 -o br-9559b3f84d38 -j ACCEPT
-A FORWARD -o br-cfcd23a5f04c -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-cfcd23a5f04c -j DOCKER
-A FORWARD -i br-cfcd23a5f04c ! -o br-cfcd23a5f04c -j ACCEPT
-A FORWARD -i br-cfcd23a5f04c -o br-cfcd23a5f04c -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -i br-cbd0f56841ce ! -o br-cbd0f56841ce -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -i br-9559b3f84d38 ! -o br-9559b3f84d38 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -i br-cfcd23a5f04c ! -o br-cfcd23a5f04c -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -o br-cbd0f56841ce -j DROP
-A DOCKER-ISOLATION-STAGE-2 -o br-9559b3f84d38 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -o br-cfcd23a5f04c -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""


def test_the_kernel_holds_what_was_written(lab: Lab, documented: Callable[[str], Topology]) -> None:
    """What is loaded comes back from the kernel, rule by rule, in either backend."""
    lab.up(documented("docker-three-bridges"))
    written, _ = docker.rules(docker_host(lab.topology, "host"))
    assert by_chain(lab.firewall("host").rules()) == by_chain(written)


def test_the_document_s_rules(documented: Callable[[str], Topology]) -> None:
    """Chain by chain, the document's iptables-save (section 5.2).

    Only nat POSTROUTING differs, and only in order: a container network that is removed and made again is
    put there last and elsewhere first, so the document's order tells of a past that no topology holds.
    """
    written, _ = docker.rules(docker_host(documented("docker-three-bridges").resolved(), "host"))
    mine, printed = by_chain(written), by_chain(Ruleset.parse(PRINTED, family="ipv4"))
    place = ("nat", "POSTROUTING")
    assert sorted(mine.pop(place)) == sorted(printed.pop(place))
    assert mine == printed


def by_chain(rules: Ruleset) -> dict[tuple[str, str], list[str]]:
    """Every chain's policy and rules, as text; chains without either are left out."""
    return {
        (table.name, chain.name): [chain.policy or "-", *(rule.render() for rule in chain.rules)]
        for table in rules.tables
        for chain in table.chains
        if table.name in ("nat", "filter")
    }
