"""Does a bridge forward by default? It does; what stops it is iptables, if br_netfilter shows it the packets.

Seed document 003, section 'Connecting several network namespaces with a bridge', says that Linux disables a
bridge's forwarding by default, so that namespaces on it cannot reach each other, and that
`iptables -A FORWARD -i br0 -j ACCEPT` switches it on. The first half is wrong. Forwarding between ports is
what a bridge does. Its packets meet iptables only if the module br_netfilter is loaded and
net.bridge.bridge-nf-call-iptables is 1, and then only a FORWARD chain that drops stops them. Docker sets both
(the policy DROP, and the sysctl); so the document's machine, which runs Docker, shows what it says, and a
machine without Docker does not.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import ExpectedMatrix, matrix
from netverify.reachability.probe import Outcome, Probe, arp, icmp, tcp, udp

EVERYBODY = ("ns0", "ns1", "ns2", "host")
BRIDGE_NETFILTER = "net.bridge.bridge-nf-call-iptables"
RULE = "-A FORWARD -i br0 -j ACCEPT"

pytestmark = pytest.mark.needs("br_netfilter")


@pytest.fixture
def bridge(lab: Lab, documented: Documented) -> Lab:
    """The document's bridge, with a FORWARD chain that is watched."""
    lab.up(documented("bridge-three-namespaces"))
    lab.firewall("host").run("-P FORWARD ACCEPT")
    return lab


def passed_forward(lab: Lab) -> list[int]:
    """How many packets each rule of the FORWARD chain has counted, its policy last."""
    chain = lab.firewall("host").rules().table("filter").chain("FORWARD")
    counted = [*(rule.counters for rule in chain.rules), chain.counters]
    return [counters.packets for counters in counted if counters is not None]


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)
@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
@pytest.mark.parametrize("shown", [0, 1], ids=["br_netfilter off", "br_netfilter on"])
def test_what_decides_between_two_namespaces(bridge: Lab, shown: int, policy: str, probe: Probe) -> None:
    """Only both together stop what goes from port to port; the host's own packets are never forwarded."""
    bridge.sysctl("host", BRIDGE_NETFILTER, shown)
    bridge.firewall("host").run(f"-P FORWARD {policy}")

    seen = bridge.reachability(probe, EVERYBODY)

    def expected(source: str, target: str) -> str:
        from_port_to_port = source != target and "host" not in (source, target)
        return "F" if from_port_to_port and shown and policy == "DROP" else "."

    assert seen == ExpectedMatrix.where(EVERYBODY, EVERYBODY, expected)


def test_the_rule_of_the_document(bridge: Lab) -> None:
    """Where they are stopped, the document's rule lets them pass: by default means on a Docker host."""
    bridge.sysctl("host", BRIDGE_NETFILTER, 1)
    bridge.firewall("host").run("-P FORWARD DROP")
    before = bridge.reachability(icmp(), EVERYBODY)
    bridge.firewall("host").run(RULE)
    after = bridge.reachability(icmp(), EVERYBODY)

    assert before == matrix("""
               ns0  ns1  ns2  host
        ns0    .    F    F    .
        ns1    F    .    F    .
        ns2    F    F    .    .
        host   .    .    .    .
    """)
    assert after == matrix("""
               ns0  ns1  ns2  host
        ns0    .    .    .    .
        ns1    .    .    .    .
        ns2    .    .    .    .
        host   .    .    .    .
    """)


def test_the_rule_does_nothing_without_br_netfilter(bridge: Lab) -> None:
    """With the sysctl off no bridged packet meets the chain: the policy DROP and the rule count nothing."""
    bridge.sysctl("host", BRIDGE_NETFILTER, 0)
    bridge.firewall("host").run("-P FORWARD DROP")
    bridge.firewall("host").run(RULE)

    assert bridge.ask(icmp(), "ns0", "ns1").outcome is Outcome.DELIVERED
    assert passed_forward(bridge) == [0, 0]


def test_the_rule_counts_request_and_answer_with_br_netfilter(bridge: Lab) -> None:
    """With the sysctl on, both meet the chain with br0 as the incoming device, though nothing is routed."""
    bridge.sysctl("host", BRIDGE_NETFILTER, 1)
    bridge.firewall("host").run("-P FORWARD DROP")
    bridge.firewall("host").run(RULE)

    cell = bridge.explain(icmp(), "ns0", "ns1")

    assert cell.outcome is Outcome.DELIVERED
    assert cell.rules == (f"host: filter FORWARD rule 1: {RULE} [2]",)
    assert bridge.sysctl("host", "net.ipv4.ip_forward") == "0"


def test_the_verdict_names_the_policy(bridge: Lab) -> None:
    """What dropped the packet was the policy of FORWARD, not the bridge."""
    bridge.sysctl("host", BRIDGE_NETFILTER, 1)
    bridge.firewall("host").run("-P FORWARD DROP")

    cell = bridge.explain(icmp(), "ns0", "ns1")

    assert cell.outcome is Outcome.FILTERED
    assert cell.detail == "dropped by host: filter FORWARD policy"


def test_the_bridge_goes_on_forwarding_frames(bridge: Lab) -> None:
    """Even where no IP packet passes, ARP does: the bridge forwards as ever, and iptables drops IP alone."""
    bridge.sysctl("host", BRIDGE_NETFILTER, 1)
    bridge.firewall("host").run("-P FORWARD DROP")

    assert bridge.ask(icmp(), "ns0", "ns1").outcome is Outcome.FILTERED
    assert bridge.ask(arp(), "ns0", "ns1").replied
