"""Docker's classic isolation: docker0, three bridges, STAGE-1 and STAGE-2 (seed document 001, section 5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netverify.kernel.lab import Lab
from netverify.reachability.matrix import ExpectedMatrix, matrix
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp
from netverify.topology.model import DockerDaemon, PortMapping, Topology

CONTAINERS = ("c17a", "c17b", "c18a", "c18b", "c19a", "c19b", "c21a", "c21b")
PARTIES = (*CONTAINERS, "host", "neighbour", "internet")
BRIDGE = {"17": "docker0", "18": "br-cbd0f56841ce", "19": "br-9559b3f84d38", "21": "br-cfcd23a5f04c"}

Documented = Callable[[str], Topology]


@pytest.mark.parametrize("probe", [icmp(), udp(7000), tcp(7000)], ids=str)
def test_four_bridges_are_apart(lab: Lab, documented: Documented, probe: Probe) -> None:
    """Containers reach their own bridge and the outside, and no other bridge (section 5.2).

    The document's FORWARD has policy ACCEPT: a LAN neighbour that knows the way reaches every container, on
    every port. Only a missing route protects them from the internet.
    """
    lab.up(documented("docker-three-bridges"))
    assert lab.reachability(probe, PARTIES) == matrix("""
                   c17a c17b c18a c18b c19a c19b c21a c21b host neighbour internet
        c17a        .    .    F    F    F    F    F    F    .    .         .
        c17b        .    .    F    F    F    F    F    F    .    .         .
        c18a        F    F    .    .    F    F    F    F    .    .         .
        c18b        F    F    .    .    F    F    F    F    .    .         .
        c19a        F    F    F    F    .    .    F    F    .    .         .
        c19b        F    F    F    F    .    .    F    F    .    .         .
        c21a        F    F    F    F    F    F    .    .    .    .         .
        c21b        F    F    F    F    F    F    .    .    .    .         .
        host        .    .    .    .    .    .    .    .    .    .         .
        neighbour   .    .    .    .    .    .    .    .    .    .         .
        internet    U    U    U    U    U    U    U    U    .    .         .
    """)


def test_forward_policy_drop_closes_the_lan(lab: Lab, documented: Documented) -> None:
    """With policy DROP, as the daemon sets it when it turns forwarding on itself, the LAN is shut out too."""
    daemon = DockerDaemon("24.0", forward_policy="DROP")
    lab.up(documented("docker-three-bridges").with_host("host", docker=daemon))
    seen = lab.reachability(tcp(80), sources=["neighbour"], targets=[*CONTAINERS, "host"])
    assert seen == ExpectedMatrix.where(
        ["neighbour"], [*CONTAINERS, "host"], lambda _, target: "." if target == "host" else "F"
    )
    cell = lab.explain(tcp(80), "neighbour", "c18a")
    assert cell.detail == "dropped by host: filter FORWARD policy"


def test_two_networks(lab: Lab, documented: Documented) -> None:
    """b1 on docker1 and b2 on docker0 do not reach each other although the host forwards (section 5.1)."""
    topology = documented("docker-two-networks")
    lab.up(topology)
    first, second = (container.name for container in topology.containers[:2])
    assert lab.reachability(icmp(), [first, second, "host"]) == matrix(f"""
                   {first} {second} host
        {first}       .       F      .
        {second}      F       .      .
        host          .       .      .
    """)


@pytest.mark.parametrize("source", ["17", "18", "19", "21"])
@pytest.mark.parametrize("target", ["17", "18", "19", "21"])
def test_which_rules_decide(lab: Lab, documented: Documented, source: str, target: str) -> None:
    """STAGE-1 sends what leaves a bridge to STAGE-2, which drops what would enter another (section 5.2)."""
    lab.up(documented("docker-three-bridges"))
    cell = lab.explain(icmp(), f"c{source}a", f"c{target}b")
    moved = {line.rpartition(" [")[0].partition(": -A ")[2] for line in cell.rules}
    stage1 = f"DOCKER-ISOLATION-STAGE-1 -i {BRIDGE[source]} ! -o {BRIDGE[source]} -j DOCKER-ISOLATION-STAGE-2"
    stage2 = f"DOCKER-ISOLATION-STAGE-2 -o {BRIDGE[target]} -j DROP"
    if source == target:
        # br_netfilter shows the bridged packet to FORWARD, where neither stage holds it up.
        assert cell.outcome is Outcome.DELIVERED
        assert not {stage1, stage2} & moved
        assert f"FORWARD -i {BRIDGE[source]} -o {BRIDGE[source]} -j ACCEPT" in moved
    else:
        assert cell.outcome is Outcome.FILTERED
        assert {stage1, stage2} <= moved
        assert stage2 in cell.detail


def test_isolation_cuts_what_is_established(lab: Lab, documented: Documented) -> None:
    """STAGE-1 stands before the conntrack ACCEPT, so it also cuts flows that it let through before."""
    lab.up(documented("docker-three-bridges"))
    firewall = lab.firewall("host")
    rules = firewall.rules()
    forward = [rule.target.name for rule in rules.chain("filter", "FORWARD").rules if rule.target]
    assert forward.index("DOCKER-ISOLATION-STAGE-1") < forward.index("ACCEPT")
    # Only one direction is opened: the request gets through, its answer does not.
    firewall.run(f"-I DOCKER-ISOLATION-STAGE-1 -i {BRIDGE['18']} -o {BRIDGE['19']} -j ACCEPT")
    assert lab.reachability(icmp(), sources=["c18a"], targets=["c19a"]).symbol("c18a", "c19a") == ">"


# --- every single rule -------------------------------------------------------------------------------------

# What can be taken out of the classic rules without anything changing, and why.
REDUNDANT = {
    "-A FORWARD -j DOCKER-USER": "the chain is empty but for RETURN",
    "-A DOCKER-USER -j RETURN": "the end of a chain returns by itself",
    "-A DOCKER-ISOLATION-STAGE-1 -j RETURN": "the end of a chain returns by itself",
    "-A DOCKER-ISOLATION-STAGE-2 -j RETURN": "the end of a chain returns by itself",
    "-A FORWARD -o docker0 -j DOCKER": "nothing is published on this bridge",
    "-A FORWARD -o br-9559b3f84d38 -j DOCKER": "nothing is published on this bridge",
    "-A FORWARD -o br-cfcd23a5f04c -j DOCKER": "nothing is published on this bridge",
    "-A POSTROUTING -s 172.18.0.2/32 -d 172.18.0.2/32 -p udp -m udp --dport 7000 -j MASQUERADE": (
        "with the userland proxy a container reaches its own published port through the proxy"
    ),
    "-A DOCKER -i br-cbd0f56841ce -j RETURN": "the only DNAT rule says `! -i br-cbd0f56841ce` itself",
}

# The neighbouring rules whose order matters; all other neighbours commute.
ORDERED = {
    ("DOCKER-ISOLATION-STAGE-1", "-j RETURN"): "a RETURN that comes early ends the stage",
    ("DOCKER-ISOLATION-STAGE-2", "-j RETURN"): "a RETURN that comes early ends the stage",
    ("DOCKER", "-j DNAT"): "the bridges' RETURN keeps their containers from being sent to another bridge",
}


def seen(lab: Lab) -> ObservedMatrix:
    """Everybody to everybody, and to the published port of c18a."""
    return lab.reachability(udp(7000), sources=PARTIES, targets=[*PARTIES, "host:7070"])


def facts(observed: ObservedMatrix) -> dict[tuple[str, str], tuple[object, ...]]:
    """What a change of rules could change: fate, receiver, and the source address that NAT left."""
    assert not observed.errors()
    return {
        (cell.source, cell.target): (
            cell.outcome,
            cell.replied,
            cell.receiver,
            (cell.seen_source or "").rpartition(":")[0],
        )
        for cell in observed.cells()
    }


@pytest.fixture
def classic(lab: Lab, documented: Documented) -> Lab:
    """The four bridges with policy DROP and one published port, so that most rules have something to do."""
    return lab.up(
        documented("docker-three-bridges")
        .with_host("host", docker=DockerDaemon("24.0", forward_policy="DROP"))
        .with_container("c18a", publish=(PortMapping.parse("7070:7000/udp"),))
    )


def test_removing_any_rule_changes_something_or_is_redundant(classic: Lab) -> None:
    """Each rule of the classic ruleset is taken out alone; the redundant ones are named above with why."""
    firewall = classic.firewall("host")
    rules = firewall.rules()
    before = facts(seen(classic))
    redundant = set()
    for place, rule in rules.rules():
        firewall.restore(rules.with_rule_removed(place.table, place.chain, place.number).render())
        if facts(seen(classic)) == before:
            redundant.add(rule.render())
    assert redundant == set(REDUNDANT)


def test_swapping_neighbouring_rules_changes_something_or_commutes(classic: Lab) -> None:
    """Each pair of neighbouring rules changes places; the pairs whose order matters are named above."""
    firewall = classic.firewall("host")
    rules = firewall.rules()
    before = facts(seen(classic))
    ordered = set()
    for table in rules.tables:
        for chain in table.chains:
            for number in range(1, len(chain.rules)):
                firewall.restore(
                    rules.with_rules_swapped(table.name, chain.name, number, number + 1).render()
                )
                if facts(seen(classic)) != before:
                    later = chain.rule(number + 1)
                    ordered.add((chain.name, f"-j {later.target.name if later.target else ''}"))
    assert ordered == set(ORDERED)
