"""The model predicts every documented topology: the same matrix, cell by cell, and the same deciding rules.

No packet is sent for the prediction; the lab's kernel is the judge.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from netverify.errors import MissingCapability
from netverify.kernel import capabilities
from netverify.kernel.lab import Lab
from netverify.model.prediction import cell, exchange, predict, predicted_world
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp
from netverify.topology.load import load
from netverify.topology.model import DockerDaemon, Route, Topology

Documented = Callable[[str], Topology]

FOLDER = Path(__file__).parents[2] / "fixtures" / "topologies"
PROBES = (icmp(), udp(7000), tcp(7000), icmp(version=6), udp(7000, version=6), tcp(7000, version=6))
UNUSUAL = {"macvlan": "macvlan", "overlay": "vxlan"}  # topologies -> what they need


def _cases() -> list[object]:
    """Every topology in which somebody has an address, with every probe that it has addresses for."""
    cases = []
    for path in sorted(FOLDER.glob("*.yaml")):
        topology = load(path).resolved()
        nodes = [node.name for node in topology.nodes()]
        versions = {v for v in (4, 6) if any(topology.addresses_of(name, v) for name in nodes)}
        probes = tuple(probe for probe in PROBES if probe.version in versions)
        marks = [pytest.mark.needs(UNUSUAL[path.stem])] if path.stem in UNUSUAL else []
        if probes:
            cases.append(pytest.param(path.stem, probes, id=path.stem, marks=marks))
    return cases


def _compare(lab: Lab, topology: Topology, probe: Probe, **question: list[str]) -> None:
    """Predicted equals observed; where one rule dropped a packet, it is the one that was predicted."""
    observed = lab.reachability(probe, **question)
    predicted = predict(topology, probe, **question)
    assert observed == predicted
    for seen, foretold in zip(observed.cells(), predicted.cells(), strict=True):
        if (
            seen.outcome is Outcome.FILTERED
            and "dropped by one of" not in seen.detail
            and " rule " in seen.detail
        ):
            assert seen.detail == foretold.detail, f"{seen.source} -> {seen.target}"


@pytest.mark.parametrize(("name", "probes"), _cases())
def test_every_topology(lab: Lab, documented: Documented, name: str, probes: tuple[Probe, ...]) -> None:
    """All pairs of every documented topology, over every protocol."""
    topology = documented(name)
    if name == "ipvlan" and not capabilities.has("ipvlan"):
        # Many kernels have none, and there is nothing to compare with; suites/modes shows what is said then.
        with pytest.raises(MissingCapability, match="ipvlan"):
            lab.up(topology)
        return
    lab.up(topology)
    for probe in probes:
        _compare(lab, topology, probe)


PORTS = {  # container port -> where it is asked for
    80: ["host:8080", "host:8090", "host@172.18.0.1:8080", "web1", "apart1"],
    81: ["host:8081"],
    82: ["host:8082", "host@172.17.0.1:8082"],
}


@pytest.mark.parametrize("proxy", [True, False], ids=["proxy", "no proxy"])
@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
@pytest.mark.parametrize("version", ["20.10", "24.0", "27.0"])
def test_published_ports(lab: Lab, documented: Documented, version: str, policy: str, proxy: bool) -> None:
    """Ports that Docker publishes, reached by the host's addresses, by everybody."""
    daemon = DockerDaemon(version, forward_policy=policy, userland_proxy=proxy)
    topology = documented("docker-published").with_host("host", docker=daemon)
    lab.up(topology)
    everybody = ["web1", "web2", "other", "sealed1", "apart1", "apart2", "host", "neighbour", "internet"]
    listeners = [name for name in everybody if name not in ("host", "neighbour", "internet")]
    for port, targets in PORTS.items():
        _compare(lab, topology, tcp(port), sources=everybody, targets=targets, listeners=listeners)
    own = ["host@127.0.0.1:8081"]
    _compare(lab, topology, tcp(81), sources=["host"], targets=own, listeners=listeners)


@pytest.mark.parametrize("probe", [icmp(), udp(7000)], ids=str)
@pytest.mark.parametrize("source", ["c17a", "neighbour", "host", "internet"])
def test_which_rules_count(lab: Lab, documented: Documented, source: str, probe: Probe) -> None:
    """The rules whose counters move are those of the traces, request and reply: no more and no less."""
    topology = documented("docker-three-bridges")
    lab.up(topology)
    world = predicted_world(topology, {}, {})
    for target in ("c17b", "c18a", "internet", "host"):
        seen = lab.explain(probe, source, target)
        foretold = cell(lab.topology, world, probe, source, target)
        assert (seen.outcome, seen.replied) == (foretold.outcome, foretold.replied), target
        assert _places(seen.rules) == _places(foretold.rules), target


def _places(rules: tuple[str, ...]) -> set[str]:
    return {line.rpartition(" [")[0] for line in rules}


RULES = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i eth0 -p tcp -m tcp --dport 81 -j DNAT --to-destination 192.168.88.11:80
-A PREROUTING -i eth0 -p tcp -m tcp --dport 82 -j REDIRECT --to-ports 80
-A PREROUTING -d 172.22.36.0/26 -i eth0 -p tcp -m tcp --dport 83 -j NETMAP --to 192.168.88.0/26
-A POSTROUTING -s 192.168.88.0/24 -o eth0 -j MASQUERADE
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m multiport --dports 84,90:95 -j MARK --set-xmark 0x5/0xff
-A PREROUTING -m mark --mark 0x5 -j CONNMARK --save-mark
-A OUTPUT -p udp -m udp --dport 7000 -j MARK --set-xmark 0x1
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:OWN - [0:0]
:NET - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A INPUT -s 172.22.36.50/32 -p tcp -m tcp --dport 80 -g OWN
-A INPUT -p tcp -m tcp --dport 85 -j REJECT --reject-with tcp-reset
-A INPUT -p udp -m udp --dport 7001 -j REJECT --reject-with icmp-admin-prohibited
-A INPUT -p udp -m udp --dport 7002 -j REJECT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT
-A FORWARD -m connmark --mark 0x5 -j NET
-A FORWARD -i br01 ! -o br01 -p udp -j NET
-A FORWARD -i br01 -o br01 -j ACCEPT
-A FORWARD -i eth0 -o br01 -p icmp -j REJECT --reject-with icmp-host-prohibited
-A OWN -m iprange --src-range 172.22.36.40-172.22.36.60 -m comment --comment "own network" -j RETURN
-A NET -d 192.168.88.12/32 -j DROP
-A NET -m addrtype --dst-type UNICAST -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize(
    "probe", [icmp(), udp(7000), udp(7001), udp(7002), tcp(80), tcp(84), tcp(85)], ids=str
)
def test_a_firewall_of_many_parts(lab: Lab, documented: Documented, probe: Probe) -> None:
    """Goto, marks, connection marks, rejections and all kinds of translation, together on one host."""
    topology = documented("port-mapping").with_host("host", rules=RULES)
    way = Route.parse("192.168.88.0/24 via 172.22.36.202")
    topology = topology.with_host("neighbour", routes=(way,))
    lab.up(topology)
    names = ["ns01", "ns02", "host", "neighbour"]
    _compare(lab, topology, probe, sources=names, targets=names)


def test_every_kind_of_translation(lab: Lab, documented: Documented) -> None:
    """DNAT, REDIRECT, NETMAP and MASQUERADE, with the address that the receiver sees."""
    topology = documented("port-mapping").with_host("host", rules=RULES)
    lab.up(topology)
    world = predicted_world(topology, {}, {})
    for target in ("host:81", "host:82", "host:83"):
        seen = lab.ask(tcp(80), "neighbour", target)
        foretold = cell(lab.topology, world, tcp(80), "neighbour", target)
        assert (seen.outcome, seen.replied, seen.receiver) == (
            foretold.outcome,
            foretold.replied,
            foretold.receiver,
        )
    found = exchange(lab.topology, world, udp(7000), "ns01", "neighbour")
    assert found is not None
    assert str(found.request.final.source_address) == "172.22.36.202"
    seen = lab.ask(udp(7000), "ns01", "neighbour")
    assert seen.seen_source is not None
    assert seen.seen_source.startswith("172.22.36.202")


@pytest.mark.needs("br_netfilter")
@pytest.mark.parametrize("probe", [icmp(), tcp(80)], ids=str)
@pytest.mark.parametrize("shown", ["0", "1"])
@pytest.mark.parametrize(
    "rule", ["-A FORWARD -i br0 -j ACCEPT", "-A FORWARD -m physdev --physdev-in veth0-br -j ACCEPT"]
)
def test_bridged_packets(lab: Lab, documented: Documented, shown: str, probe: Probe, rule: str) -> None:
    """With and without br_netfilter, by the bridge's name and by the port's."""
    rules = f"*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n{rule}\nCOMMIT\n"
    sysctls = {"net.bridge.bridge-nf-call-iptables": shown}
    topology = documented("bridge-three-namespaces").with_host("host", rules=rules, sysctls=sysctls)
    lab.up(topology)
    _compare(lab, topology, probe)
