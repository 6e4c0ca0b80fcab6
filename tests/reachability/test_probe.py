from __future__ import annotations

import pytest
from hypothesis import given

from netverify.errors import InputError
from netverify.reachability.errors import ReachabilityError
from netverify.reachability.probe import Cell, Outcome, Probe, arp, icmp, tcp, udp
from tests.strategies.reachability import probes


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        (icmp(), "icmp"),
        (icmp(version=6), "icmp over IPv6"),
        (udp(53), "udp/53"),
        (tcp(80, version=6), "tcp/80 over IPv6"),
        (arp(), "arp"),
    ],
)
def test_prints_its_protocol_port_and_version(probe: Probe, text: str) -> None:
    assert str(probe) == text


@pytest.mark.parametrize(
    ("protocol", "port", "version", "says"),
    [
        ("sctp", 80, 4, "expected one of icmp, udp, tcp, arp"),
        ("tcp", None, 4, "a port belongs to udp and tcp"),
        ("icmp", 80, 4, "a port belongs to udp and tcp"),
        ("udp", 0, 4, "expected 1 to 65535"),
        ("udp", 65536, 4, "expected 1 to 65535"),
        ("icmp", None, 5, "icmp over IPv5"),
        ("arp", None, 6, "arp over IPv6"),
    ],
)
def test_refuses_what_does_not_exist(protocol: str, port: int | None, version: int, says: str) -> None:
    with pytest.raises(ReachabilityError, match=says) as caught:
        Probe(protocol, port, version)
    assert isinstance(caught.value, InputError)


@given(probes())
def test_every_probe_prints_differently(probe: Probe) -> None:
    other = Probe("udp", 4242)
    assert (str(probe) == str(other)) == (probe == other)


@pytest.mark.parametrize(
    "outcome", [Outcome.REFUSED, Outcome.PROHIBITED, Outcome.UNREACHABLE, Outcome.FILTERED]
)
def test_what_did_not_arrive_cannot_have_been_replied_to(outcome: Outcome) -> None:
    with pytest.raises(ReachabilityError, match=r"a\\x1b -> b: .*, yet replied to"):
        Cell("a\x1b", "b", outcome, replied=True)


@pytest.mark.parametrize("outcome", [Outcome.DELIVERED, Outcome.ERROR])
def test_what_arrived_or_is_unknown_may_have_been_replied_to(outcome: Outcome) -> None:
    assert Cell("a", "b", outcome, replied=True).replied
