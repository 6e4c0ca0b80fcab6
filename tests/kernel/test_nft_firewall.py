"""Native nftables in a lab: loaded, counted, and believed when a probe is silent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netverify.kernel.firewall import FirewallError
from netverify.kernel.journal import story
from netverify.kernel.lab import Lab
from netverify.reachability.probe import Outcome, icmp, tcp, udp
from netverify.topology.model import Topology

pytestmark = pytest.mark.needs("nft")
Documented = Callable[[str], Topology]

FILTER = """
table inet guard {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        udp dport 7001 drop
        udp dport 7002 reject
        tcp dport 7003 return
        ip saddr 172.18.0.0/16 ip daddr 172.19.0.0/16 udp dport 7000 accept
    }
}
"""


@pytest.fixture
def guarded(lab: Lab, documented: Documented) -> Lab:
    lab.up(documented("docker-three-bridges"))
    lab.firewall("host").flush()
    lab.nft_firewall("host").load(FILTER)
    return lab


@pytest.mark.parametrize(
    ("probe", "outcome", "detail"),
    [
        (udp(7000), Outcome.DELIVERED, ""),
        (udp(7001), Outcome.FILTERED, "inet guard:forward:rule:2: udp dport 7001 counter drop"),
        (udp(7002), Outcome.PROHIBITED, ""),
        (tcp(7003), Outcome.FILTERED, "inet guard:forward:rule:4: tcp dport 7003 counter return"),
        (icmp(), Outcome.FILTERED, "policy drop"),
    ],
    ids=str,
)
def test_a_drop_is_believed_because_it_was_counted(
    guarded: Lab, probe: object, outcome: Outcome, detail: str
) -> None:
    cell = guarded.ask(probe, "c18a", "c19a")  # type: ignore[arg-type]
    assert cell.outcome is outcome
    assert detail in cell.detail


def test_the_rules_that_moved(guarded: Lab) -> None:
    cell = guarded.explain(udp(7001), "c18a", "c19a")
    # Silent questions are asked again; each time the same rule counts.
    (moved,) = (rule for rule in cell.rules if "inet guard" in rule)
    assert moved.startswith("host: inet guard:forward:rule:2: udp dport 7001 counter drop [")


def test_what_stood_there_is_left_alone(guarded: Lab) -> None:
    tables = [(table.family, table.name) for table in guarded.nft_firewall("host").everything().tables]
    guarded.nft_firewall("host").load("table ip other {\n chain c {\n counter drop\n }\n}\n")
    after = guarded.nft_firewall("host").everything()
    assert [(table.family, table.name) for table in after.tables] == [*tables, ("ip", "other")]
    assert len(after.table("ip", "other").chain("c").rules[0].statements) == 2, "it counted already"


def test_nft_says_what_it_does_not_understand(guarded: Lab) -> None:
    with pytest.raises(FirewallError, match=r"^host: nft -f -: .*syntax error"):
        guarded.nft_firewall("host").load("table inet guard {\n chian x {\n }\n}\n")


def test_a_failed_test_shows_them(guarded: Lab) -> None:
    texts = dict(story(guarded))
    assert "udp dport 7001 counter packets 0 bytes 0 drop" in texts["rules and counters: host, nft"]
