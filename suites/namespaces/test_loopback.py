"""The loopback device of a new namespace."""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import routes, shown
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)
def test_loopback_is_down_until_it_is_set_up(lab: Lab, documented: Documented, probe: Probe) -> None:
    """A new namespace cannot reach even itself; with lo up, it can.

    Seed document 004, section 'Configuring a network namespace': ping says "Network is unreachable", and
    answers after `ip link set dev lo up`. Seed document 000, section 'ip netns', says the same of lo.
    Bringing it up in one namespace does nothing in another.
    """
    lab.up(documented("two-namespaces"))
    itself = "study01@127.0.0.1"

    before = lab.ask(probe, "study01", itself)
    lab.run("study01", "ip link set dev lo up")
    after = lab.ask(probe, "study01", itself)

    assert before.outcome is Outcome.UNREACHABLE, before
    assert "ENETUNREACH" in before.detail
    assert after.outcome is Outcome.DELIVERED, after
    assert after.replied
    assert lab.ask(probe, "study02", "study02@127.0.0.1").outcome is Outcome.UNREACHABLE


def test_loopback_gets_its_address_by_being_set_up(lab: Lab, documented: Documented) -> None:
    """Nobody gives lo its address: the kernel does when lo comes up (seed document 004, the same section).

    The documents' listings of a new namespace show no address and the state DOWN, those after `ip link set
    dev lo up` show 127.0.0.1/8.
    """
    lab.up(documented("two-namespaces"))

    (new,) = shown(lab, "study01", "addr")
    lab.run("study01", "ip link set dev lo up")
    (up,) = shown(lab, "study01", "addr")

    assert (new["ifname"], new["operstate"], new["addr_info"]) == ("lo", "DOWN", [])
    assert "UP" in up["flags"]
    assert [address["local"] for address in up["addr_info"]] == ["127.0.0.1"]


def test_loopback_leads_nowhere_else(lab: Lab, documented: Documented) -> None:
    """With lo up, a namespace still reaches nobody else (seed document 004, the same section).

    The document pings 192.168.1.123 and gets "Network is unreachable". Here that address even exists, in the
    namespace next door.
    """
    lab.up(documented("two-namespaces"))
    for name in ("study01", "study02"):
        lab.run(name, "ip link set dev lo up")
    lab.run("study02", "ip addr add 192.168.1.123/32 dev lo")

    seen = lab.reachability(icmp(), sources=["study01", "study02"], targets=["study02@192.168.1.123"])

    assert seen == matrix("""
                  study02@192.168.1.123
        study01   U
        study02   .
    """)
    assert routes(lab, "study01") == []
