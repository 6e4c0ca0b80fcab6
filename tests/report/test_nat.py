"""The table of one flow's addresses, without a kernel."""

from __future__ import annotations

from ipaddress import ip_address

from netverify.reachability.flow import (
    ConntrackEntry,
    ConntrackTuple,
    Direction,
    Leg,
    ObservedFlow,
    Sighting,
    TrackedConnection,
    TransportAddress,
)
from netverify.report.nat import nat_table


def at(text: str) -> TransportAddress:
    host, _, port = text.partition("/")
    return TransportAddress(ip_address(host), int(port) if port else None)


def seen(point: str, leg: Leg, way: Direction, source: str, destination: str, **more) -> Sighting:
    return Sighting(point, leg, way, at(source), at(destination), **{"time_ns": 0, **more})


def lines(flow: ObservedFlow) -> list[str]:
    return nat_table(flow).splitlines()


CLIENT, PUBLIC, GATEWAY, SERVER = "10.0.0.7/40000", "192.0.2.1/8080", "172.17.0.1/40000", "172.17.0.2/80"
ENTRY = ConntrackEntry(
    original=ConntrackTuple("tcp", at(CLIENT), at(PUBLIC)),
    reply=ConntrackTuple("tcp", at(SERVER), at(GATEWAY)),
    status=frozenset({"SEEN_REPLY", "ASSURED", "SRC_NAT", "DST_NAT", "CONFIRMED"}),
    state="ESTABLISHED",
    mark=42,
)


def test_a_published_port_from_outside():
    flow = ObservedFlow(
        title="TCP handshake from port 40000",
        points=("uplink", "docker0"),
        sightings=(
            seen("uplink", Leg.REQUEST, Direction.IN, CLIENT, PUBLIC),
            seen("docker0", Leg.REQUEST, Direction.OUT, GATEWAY, SERVER),
            seen("docker0", Leg.REPLY, Direction.IN, SERVER, GATEWAY),
            seen("uplink", Leg.REPLY, Direction.OUT, PUBLIC, CLIENT),
        ),
        tracked_in=("host",),
        connections=(TrackedConnection("host", ENTRY),),
    )
    inward = (
        "source rewritten 10.0.0.7:40000 -> 172.17.0.1:40000; "
        "destination rewritten 192.0.2.1:8080 -> 172.17.0.2:80"
    )
    outward = (
        "source rewritten 172.17.0.2:80 -> 192.0.2.1:8080; "
        "destination rewritten 172.17.0.1:40000 -> 10.0.0.7:40000"
    )
    words = "tcp ESTABLISHED ASSURED SRC_NAT DST_NAT mark 0x2a"
    assert lines(flow) == [
        "TCP handshake from port 40000",
        "point           direction    source            destination       note",
        "uplink          request in   10.0.0.7:40000    192.0.2.1:8080",
        f"docker0         request out  172.17.0.1:40000  172.17.0.2:80     {inward}",
        "docker0         reply in     172.17.0.2:80     172.17.0.1:40000",
        f"uplink          reply out    192.0.2.1:8080    10.0.0.7:40000    {outward}",
        f"conntrack host  original     10.0.0.7:40000    192.0.2.1:8080    {words}",
        "conntrack host  reply        172.17.0.2:80     172.17.0.1:40000  expected of the answer",
    ]


def test_a_point_that_nothing_passed_says_so():
    flow = ObservedFlow(
        "", ("here", "there"), (seen("here", Leg.REQUEST, Direction.IN, "10.0.0.1", "10.0.0.2"),)
    )
    assert lines(flow) == [
        "point  direction   source    destination  note",
        "here   request in  10.0.0.1  10.0.0.2",
        "there  request     -         -            not seen",
        "here   reply       -         -            not seen",
        "there  reply       -         -            not seen",
    ]


def test_an_empty_conntrack_table_is_told_from_one_that_nobody_read():
    read = ObservedFlow("", ("here",), (), tracked_in=("host",))
    unread = ObservedFlow("", ("here",), ())
    assert lines(read)[-1].split() == ["conntrack", "host", "-", "-", "-", "no", "entry"]
    assert "conntrack" not in nat_table(unread)


def test_errors_counts_and_rewritten_identifiers_are_notes():
    flow = ObservedFlow(
        "",
        ("a", "b"),
        (
            seen("a", Leg.REQUEST, Direction.IN, "fd00::1", "fd00::2", identifier=38),
            seen("b", Leg.REQUEST, Direction.OUT, "fd00::1", "fd00::2", identifier=1025, count=3),
            seen("b", Leg.ERROR, Direction.IN, "fd00::9", "fd00::1", note="Port unreachable"),
        ),
    )
    assert lines(flow)[2].endswith("fd00::2      ICMP id rewritten 38 -> 1025; 3 packets")
    assert lines(flow)[-1].split(maxsplit=5)[1:] == ["error", "in", "fd00::9", "fd00::1", "Port unreachable"]


def test_columns_fit_their_widest_cell():
    long = "a point with quite a long name"
    flow = ObservedFlow(
        "", (long, "b"), (seen("b", Leg.REQUEST, Direction.IN, "2001:db8::1/1", "2001:db8::2/2"),)
    )
    starts = {line.index(text) for line, text in zip(lines(flow)[:2], ("source", "[2001"), strict=True)}
    assert starts == {len(long) + 2 + len("request in") + 2}
