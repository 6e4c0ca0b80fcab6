"""Opening two isolated bridges to each other (seed document 001, section 6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netverify.kernel.lab import Lab
from netverify.reachability.changes import changed, opened
from netverify.reachability.probe import Probe, icmp, tcp, udp
from netverify.topology.model import Topology

BR18, BR19 = "br-cbd0f56841ce", "br-9559b3f84d38"
CONTAINERS = ("c17a", "c17b", "c18a", "c18b", "c19a", "c19b", "c21a", "c21b")
PARTIES = (*CONTAINERS, "host", "neighbour", "internet")
FROM_19_TO_18 = {("c19a", "c18a"), ("c19a", "c18b"), ("c19b", "c18a"), ("c19b", "c18b")}
FROM_18_TO_19 = {(target, source) for source, target in FROM_19_TO_18}


@pytest.fixture
def four(lab: Lab, documented: Callable[[str], Topology]) -> Lab:
    """The document's host with its four bridges."""
    return lab.up(documented("docker-three-bridges"))


@pytest.mark.parametrize("probe", [icmp(), udp(7000), tcp(7000)], ids=str)
def test_both_rules_open_exactly_that_pair(four: Lab, probe: Probe) -> None:
    """The document's two commands open 172.18 and 172.19 to each other, and nothing else."""
    before = four.reachability(probe, PARTIES)
    four.firewall("host").run(f"-I DOCKER-ISOLATION-STAGE-1 -i {BR19} -o {BR18} -j ACCEPT")
    four.firewall("host").run(f"-I DOCKER-ISOLATION-STAGE-1 -i {BR18} -o {BR19} -j ACCEPT")
    after = four.reachability(probe, PARTIES)
    assert opened(before, after) == FROM_19_TO_18 | FROM_18_TO_19
    assert {new for _, _, _, new in changed(before, after)} == {"."}


@pytest.mark.parametrize("probe", [icmp(), udp(7000), tcp(7000)], ids=str)
def test_one_rule_lets_requests_through_and_no_answer(four: Lab, probe: Probe) -> None:
    """One of the two alone: requests from 172.19 arrive at 172.18, the answers are dropped on the way back.

    To an intruder that is enough: what is sent arrives. STAGE-2 drops the answer, since it comes before the
    rule that accepts what is established.
    """
    before = four.reachability(probe, PARTIES)
    four.firewall("host").run(f"-I DOCKER-ISOLATION-STAGE-1 -i {BR19} -o {BR18} -j ACCEPT")
    after = four.reachability(probe, PARTIES)
    assert changed(before, after) == {(source, target, "F", ">") for source, target in FROM_19_TO_18}


def test_docker_user_is_the_supported_way(four: Lab) -> None:
    """DOCKER-USER comes first and is the operator's own: two rules there do the same."""
    before = four.reachability(tcp(80), PARTIES)
    four.firewall("host").run(f"-I DOCKER-USER -i {BR19} -o {BR18} -j ACCEPT")
    four.firewall("host").run(f"-I DOCKER-USER -i {BR18} -o {BR19} -j ACCEPT")
    after = four.reachability(tcp(80), PARTIES)
    assert opened(before, after) == FROM_19_TO_18 | FROM_18_TO_19


def test_docker_user_can_open_one_direction_only(four: Lab) -> None:
    """With the answers accepted as established, one direction is opened and the other stays shut."""
    before = four.reachability(tcp(80), PARTIES)
    four.firewall("host").run(
        f"-I DOCKER-USER -i {BR18} -o {BR19} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    )
    four.firewall("host").run(f"-I DOCKER-USER -i {BR19} -o {BR18} -j ACCEPT")
    after = four.reachability(tcp(80), PARTIES)
    assert changed(before, after) == {(source, target, "F", ".") for source, target in FROM_19_TO_18}


def test_taking_the_rules_back_closes_again(four: Lab) -> None:
    """After `-D` of both, everything is as before."""
    before = four.reachability(udp(53), CONTAINERS)
    for pair in (f"-i {BR19} -o {BR18}", f"-i {BR18} -o {BR19}"):
        four.firewall("host").run(f"-I DOCKER-ISOLATION-STAGE-1 {pair} -j ACCEPT")
    assert changed(before, four.reachability(udp(53), CONTAINERS))
    for pair in (f"-i {BR19} -o {BR18}", f"-i {BR18} -o {BR19}"):
        four.firewall("host").run(f"-D DOCKER-ISOLATION-STAGE-1 {pair} -j ACCEPT")
    assert not changed(before, four.reachability(udp(53), CONTAINERS))
