"""What holds for the rules of every host."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.docker import BridgeNetwork, Daemon, DockerHost, bindings, listeners, rules
from netverify.docker.difference import differences
from netverify.docker.version import USER_CHAIN_WITHOUT_RETURN
from netverify.ruleset import Ruleset
from tests.docker.saved import chains
from tests.strategies.docker import docker_hosts, networks

FIRST = BridgeNetwork("first", "br-first", IPv4Network("192.168.0.0/24"), IPv6Network("fd00:ffff::/64"))
STAGE_1, STAGE_2 = "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2"
PAIRS, INTERNAL, FORWARD = "DOCKER-ISOLATION", "DOCKER-INTERNAL", "DOCKER-FORWARD"


def texts(ruleset: Ruleset, chain: str, table: str = "filter") -> list[str]:
    return [str(rule).removeprefix(f"-A {chain} ") for rule in ruleset.chain(table, chain).rules]


def subnet(network: BridgeNetwork, family: str):
    return network.subnet if family == "ipv4" else network.subnet6


def separated(ruleset: Ruleset, one: BridgeNetwork, other: BridgeNetwork) -> bool:
    """Whether the rules hold what stops a packet from `one` to an unpublished port on `other`."""
    filtering = ruleset.table("filter")
    if not one.internal and not other.internal:
        if filtering.has_chain(PAIRS):
            return f"-i {one.bridge} -o {other.bridge} -j DROP" in texts(ruleset, PAIRS)
        if f"! -i {other.bridge} -o {other.bridge} -j DROP" in texts(ruleset, "DOCKER"):
            return True
        jumps = f"-i {one.bridge} ! -o {one.bridge} -j {STAGE_2}" in texts(ruleset, STAGE_1)
        return jumps and f"-o {other.bridge} -j DROP" in texts(ruleset, STAGE_2)
    first = next(name for name in (PAIRS, INTERNAL, STAGE_1) if filtering.has_chain(name))
    leaving = f"! -d {subnet(one, ruleset.family)} -i {one.bridge}"
    entering = f"! -s {subnet(other, ruleset.family)} "
    return any(
        text.endswith("-j DROP")
        and (
            (one.internal and text.startswith(leaving))
            or (other.internal and text.startswith(entering) and f"-o {other.bridge} " in text)
        )
        for text in texts(ruleset, first)
    )


@given(docker_hosts())
def test_every_pair_of_bridges_is_separated_both_ways(host):
    for ruleset in rules(host):
        if ruleset.tables:
            carried = [network for network in host.networks if subnet(network, ruleset.family) is not None]
            stages = ruleset.table("filter").has_chain(STAGE_1)
            for one, other in permutations(carried, 2):
                version = 4 if ruleset.family == "ipv4" else 6
                if other.mode(version) == "nat-unprotected" and not stages and not one.internal:
                    continue  # since 29.0 its ports are open to other networks too
                assert separated(ruleset, one, other), (one, other)


@given(docker_hosts())
def test_forward_looks_at_isolation_before_it_accepts_anything(host):
    for ruleset in rules(host):
        if not ruleset.tables:
            continue
        chains_there = ruleset.table("filter")
        own = FORWARD if chains_there.has_chain(FORWARD) else "FORWARD"
        first = next(name for name in (PAIRS, INTERNAL, STAGE_1) if chains_there.has_chain(name))
        for number, text in enumerate(texts(ruleset, own)):
            if text.endswith("-j ACCEPT") and "RELATED,ESTABLISHED" not in text:
                assert f"-j {first}" in texts(ruleset, own)[:number]


@given(docker_hosts())
def test_written_rules_are_read_back_as_they_were(host):
    for ruleset in rules(host):
        assert Ruleset.parse(ruleset.render(), family=ruleset.family) == ruleset
        assert all(match.is_known for _, rule in ruleset.rules() for match in rule.matches)


@given(docker_hosts())
def test_no_rule_stands_twice_in_a_chain(host):
    for ruleset in rules(host):
        for place, found in chains(ruleset).items():
            assert len(set(found)) == len(found), place


@given(docker_hosts(), networks(lowest=100))
def test_removing_what_was_created_leaves_what_was_there(host, network):
    # The jumps in PREROUTING, OUTPUT and FORWARD come with the first network that needs them, and stay.
    before = Daemon.started(replace(host, networks=(FIRST, *host.networks)))
    after = before.with_network(network).without_network(network.name)
    assert chains(after.ipv4) == chains(before.ipv4)
    assert chains(after.ipv6) == chains(before.ipv6)
    assert after.host == before.host


@given(docker_hosts())
def test_publishing_one_by_one_is_publishing_at_start(host):
    daemon = Daemon.started(replace(host, published=()))
    for container in dict.fromkeys((port.network, port.container) for port in host.published):
        daemon = daemon.with_ports(*(p for p in host.published if (p.network, p.container) == container))
    assert (daemon.ipv4, daemon.ipv6) == rules(host)
    stopped = daemon.without_ports(*host.published)
    for after, before in zip((stopped.ipv4, stopped.ipv6), rules(replace(host, published=())), strict=True):
        # A table that was touched once, for sctp or to protect ports, stays, with nothing in it.
        assert differences(before, after) == []


@given(docker_hosts(), st.randoms(use_true_random=False))
def test_a_restart_in_any_order_gives_the_same_rules(host, random):
    daemon = Daemon.started(host)
    names = [network.name for network in host.networks]
    random.shuffle(names)
    again = daemon.restarted(names)
    for before, after in ((daemon.ipv4, again.ipv4), (daemon.ipv6, again.ipv6)):
        old, new = chains(before), chains(after)
        assert {place: sorted(found) for place, found in old.items()} == {
            place: sorted(found) for place, found in new.items()
        }


@given(docker_hosts())
def test_a_persons_own_rules_survive_a_start(host):
    rules_before = Ruleset.parse(
        "*filter\n:INPUT DROP\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n:DOCKER-USER -\n"
        "-A INPUT -i lo -j ACCEPT\n-A FORWARD -i wg0 -j ACCEPT\n"
        "-A DOCKER-USER -s 192.0.2.1/32 -j DROP\nCOMMIT\n"
    )
    after = Daemon.started(host, ipv4=rules_before).ipv4
    end = [] if host.engine.has(USER_CHAIN_WITHOUT_RETURN) else ["-j RETURN"]
    assert texts(after, "DOCKER-USER") == ["-s 192.0.2.1/32 -j DROP", *end]
    assert "-i wg0 -j ACCEPT" in texts(after, "FORWARD")
    assert after.chain("filter", "INPUT") == rules_before.chain("filter", "INPUT")


@settings(max_examples=200)
@given(docker_hosts())
def test_every_binding_has_its_socket_and_every_translation_its_binding(host):
    sockets = {(socket.protocol, socket.address, socket.port) for socket in listeners(host)}
    for binding in filter(lambda one: one.is_on_host, bindings(host)):
        assert (binding.protocol, binding.host_address, binding.host_port) in sockets
    translated = [
        rule for ruleset in rules(host) for _, rule in ruleset.rules() if rule.target.name == "DNAT"
    ]
    filtered = {4: host.iptables, 6: host.filters_ipv6}
    expected = [
        one
        for one in bindings(host)
        if one.is_on_host and one.is_translated and filtered[one.container.version]
    ]
    assert len(translated) == len(expected)


def test_a_host_without_networks_has_the_chains_alone():
    ipv4, ipv6 = rules(DockerHost("24.0"))
    assert texts(ipv4, "FORWARD") == ["-j DOCKER-USER"]
    assert [*map(texts, [ipv4] * 2, [STAGE_1, STAGE_2])] == [["-j RETURN"]] * 2
    assert ipv6 == Ruleset("ipv6")
