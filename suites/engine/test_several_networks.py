"""A container of several networks: in which of them a real engine opens what the container publishes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from netverify.docker import Attachment, BridgeNetwork, DockerHost, PublishedPort, Version, rules
from netverify.docker.difference import differences
from netverify.docker.version import IP6TABLES, ROUTED_MODE
from netverify.kernel.docker_engine import Engine
from netverify.ruleset import Ruleset

DEFAULT = BridgeNetwork("bridge", "docker0", IPv4Network("172.17.0.0/16"), default=True)
# Of two networks with IPv6 the name decides which is the gateway.
FRONT = BridgeNetwork("a", "br-a", IPv4Network("172.18.0.0/16"), IPv6Network("fd00:18::/64"))
BESIDE = BridgeNetwork("b", "br-b", IPv4Network("172.19.0.0/16"), IPv6Network("fd00:19::/64"))
ROUTED = replace(BESIDE, gateway_mode="routed", gateway_mode6="routed")
PLACES = (
    Attachment("a", IPv4Address("172.18.0.2"), IPv6Address("fd00:18::2"), "both"),
    Attachment("b", IPv4Address("172.19.0.2"), IPv6Address("fd00:19::2"), "both"),
)
PORT = PublishedPort("a", IPv4Address("172.18.0.2"), 80, 8080, container6=IPv6Address("fd00:18::2"))


@pytest.mark.parametrize("beside", [BESIDE, ROUTED], ids=["nat", "routed"])
def test_a_network_beside_the_gateway_s(engine: Engine, version: str, beside: BridgeNetwork) -> None:
    """In one with translation nothing is opened. In a routed one ports are since 29.0, and not before."""
    running = Version.parse(version)
    if beside is ROUTED and not running.has(ROUTED_MODE):
        pytest.skip(f"Docker {version} knows no routed networks")
    host = DockerHost(
        version,
        (DEFAULT, FRONT, beside),
        (PORT,),
        ip6tables=True if running.has(IP6TABLES) else None,
        attached=PLACES,
    )
    engine.start(host)
    engine.create(host)
    for written, there in zip(rules(host), engine.iptables(), strict=True):
        # A container's networks are joined in no order, each with its own line in the raw table.
        assert differences(_sorted_raw(written), _sorted_raw(there)) == []
        assert there.has_table("filter")


def _sorted_raw(ruleset: Ruleset) -> Ruleset:
    tables = (
        replace(
            table,
            chains=tuple(replace(one, rules=tuple(sorted(one.rules, key=str))) for one in table.chains),
        )
        if table.name == "raw"
        else table
        for table in ruleset.tables
    )
    return replace(ruleset, tables=tuple(tables))
