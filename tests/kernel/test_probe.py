"""The prober itself: sound answers, and ERROR wherever the question was not really asked."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from netverify.kernel import build, neighbours
from netverify.kernel.engines import engine
from netverify.kernel.engines.icmp import IcmpEngine
from netverify.kernel.engines.tcp import TcpEngine
from netverify.kernel.engines.udp import UdpEngine
from netverify.kernel.lab import Lab
from netverify.kernel.probe import Book
from netverify.kernel.tally import Tally
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, arp, icmp, tcp, udp
from netverify.topology.load import loads
from netverify.topology.model import Topology

EVERY_PROTOCOL = [icmp(), udp(7000), tcp(7000)]
ENGINES = {"icmp": IcmpEngine, "udp": UdpEngine, "tcp": TcpEngine}


def two_bridges(each: int = 2, *, forwarding: bool = True) -> Topology:
    containers = "\n".join(
        f"  {name}{number}: {{networks: [{name}]}}" for name in "ab" for number in range(1, each + 1)
    )
    return loads(
        f"""
name: two-bridges
hosts:
  host: {{role: host, forwarding: [{"ipv4" if forwarding else ""}]}}
networks:
  a: {{subnet: 10.0.0.0/16, device: br-a}}
  b: {{subnet: 10.1.0.0/16, device: br-b}}
containers:
{containers}
""",
        "two-bridges.yaml",
    )


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_everybody_reaches_everybody(lab: Lab, probe: Probe) -> None:
    lab.up(two_bridges())
    seen = lab.reachability(probe, ["a1", "a2", "b1", "host"])
    assert seen == matrix("""
              a1  a2  b1  host
        a1    .   .   .   .
        a2    .   .   .   .
        b1    .   .   .   .
        host  .   .   .   .
    """)
    assert seen.cell("a1", "b1").receiver == "b1"


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_a_dropping_rule_is_filtered_and_named(lab: Lab, probe: Probe) -> None:
    lab.up(two_bridges())
    lab.firewall("host").run("-A FORWARD -i br-a -o br-b -j DROP")
    cell = lab.explain(probe, "a1", "b1")
    assert cell.outcome is Outcome.FILTERED
    assert cell.detail == "dropped by host: filter FORWARD rule 1: -A FORWARD -i br-a -o br-b -j DROP"
    # Two rounds: the first one, and the one that proves the silence.
    assert "host: filter FORWARD rule 1: -A FORWARD -i br-a -o br-b -j DROP [2]" in cell.rules


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_a_dropping_policy_is_filtered(lab: Lab, probe: Probe) -> None:
    lab.up(two_bridges())
    lab.firewall("host").run("-P FORWARD DROP")
    cell = lab.ask(probe, "a1", "b1")
    assert (cell.outcome, cell.detail) == (Outcome.FILTERED, "dropped by host: filter FORWARD policy")


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_a_host_that_does_not_forward_is_filtered_by_the_kernel_check(lab: Lab, probe: Probe) -> None:
    lab.up(two_bridges(forwarding=False))
    cell = lab.ask(probe, "a1", "b1")
    assert cell.outcome in (Outcome.FILTERED, Outcome.UNREACHABLE)
    assert cell.outcome is not Outcome.FILTERED or "does not forward" in cell.detail


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
@pytest.mark.parametrize(
    ("reject", "outcome"),
    [
        ("icmp-port-unreachable", Outcome.PROHIBITED),
        ("icmp-admin-prohibited", Outcome.PROHIBITED),
        ("icmp-net-unreachable", Outcome.UNREACHABLE),
    ],
)
def test_reject_answers(lab: Lab, probe: Probe, reject: str, outcome: Outcome) -> None:
    lab.up(two_bridges())
    lab.firewall("host").run(f"-A FORWARD -o br-b -j REJECT --reject-with {reject}")
    assert lab.ask(probe, "a1", "b1").outcome is outcome


def test_a_reset_in_place_of_a_live_listener_is_prohibited(lab: Lab) -> None:
    lab.up(two_bridges())
    lab.firewall("host").run("-A FORWARD -o br-b -p tcp -j REJECT --reject-with tcp-reset")
    cell = lab.ask(tcp(80), "a1", "b1")
    assert cell.outcome is Outcome.PROHIBITED
    assert "a filter answers in its place" in cell.detail


@pytest.mark.parametrize("probe", [udp(7000), tcp(7000)], ids=str)
def test_nobody_listening_is_refused_only_when_nobody_should(lab: Lab, probe: Probe) -> None:
    lab.up(two_bridges())
    assert lab.ask(probe, "a1", "b1", listeners=[]).outcome is Outcome.REFUSED


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_one_way_is_delivered_and_unanswered(lab: Lab, probe: Probe) -> None:
    lab.up(two_bridges())
    lab.firewall("host").run("-A FORWARD -i br-b -j DROP")
    cell = lab.ask(probe, "a1", "b1")
    assert (cell.outcome, cell.receiver, cell.replied) == (Outcome.DELIVERED, "b1", False)
    assert str(lab.reachability(probe, sources=["a1"], targets=["b1"])).split()[-1] == ">"


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_one_way_twice_is_no_change(lab: Lab, probe: Probe) -> None:
    """The answer is dropped as ESTABLISHED; the second request must not be, as the same connection's."""
    lab.up(two_bridges())
    lab.firewall("host").run("-A FORWARD -m conntrack --ctstate ESTABLISHED -j DROP")
    cell = lab.ask(probe, "a1", "b1")
    assert (cell.outcome, cell.receiver, cell.replied) == (Outcome.DELIVERED, "b1", False)


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_no_route_is_unreachable(lab: Lab, probe: Probe) -> None:
    lab.up(two_bridges())
    lab.run("a1", "ip route del default")
    assert lab.ask(probe, "a1", "b1").outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_nobody_answering_arp_is_unreachable(lab: Lab, probe: Probe) -> None:
    lab.up(two_bridges())
    assert lab.ask(probe, "a1", "host@10.0.0.99", listeners=[]).outcome is Outcome.UNREACHABLE


def test_arp_sees_the_link_and_nothing_beyond(lab: Lab) -> None:
    lab.up(two_bridges())
    seen = lab.reachability(arp(), sources=["a1"], targets=["a2", "b1"])
    assert seen.symbol("a1", "a2") == "."
    assert not seen.cell("a1", "b1").replied
    assert seen.cell("a1", "a2").detail == "is at 02:42:0a:00:00:03"


def test_an_arp_question_that_was_heard_and_not_answered_is_unreachable(lab: Lab) -> None:
    lab.up(two_bridges())
    seen = lab.reachability(arp(), sources=["a1"], targets=["a2", "b1", "host@10.0.0.99"])
    assert seen == matrix("""
             a2  b1  host@10.0.0.99
        a1   .   U         U
    """)
    assert "heard the question, and nobody answered it" in seen.cell("a1", "b1").detail


def test_an_arp_question_that_nobody_heard_is_an_error(lab: Lab) -> None:
    """A port that is down lets nothing through, and nobody is there to confirm that we asked."""
    lab.up(two_bridges(1))
    lab.run("host", "ip link set br-a down")
    assert lab.ask(arp(), "a1", "host@10.0.0.99").outcome is Outcome.ERROR


def test_packets_that_the_host_itself_drops_are_no_losses(lab: Lab) -> None:
    """The host drops its own ICMP errors in OUTPUT: what was rejected stays filtered, every time."""
    lab.up(two_bridges())
    lab.firewall("host").run("-A FORWARD -o br-b -j REJECT")
    lab.firewall("host").run("-A OUTPUT -p icmp -j DROP")
    for _ in range(3):
        assert lab.ask(udp(53), "a1", "b1").outcome is Outcome.FILTERED


def test_the_sender_s_own_output_rule(lab: Lab) -> None:
    lab.up(two_bridges())
    lab.firewall("a1").run("-A OUTPUT -d 10.1.0.2 -j DROP")
    cell = lab.ask(udp(53), "a1", "b1")
    assert cell.outcome is Outcome.FILTERED
    assert "OUTPUT" in cell.detail


# --- the prober broken on purpose --------------------------------------------------------------------------


@pytest.mark.parametrize("probe", [udp(7000), tcp(7000)], ids=str)
def test_a_missing_listener_is_an_error(lab: Lab, probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = ENGINES[probe.protocol]
    open_all = kind.open

    def open_but_one(self: UdpEngine | TcpEngine) -> None:
        wanted, self.listeners = (
            self.listeners,
            [listener for listener in self.listeners if listener.namespace.name != "b1"],
        )
        open_all(self)
        self.listeners = wanted

    monkeypatch.setattr(kind, "open", open_but_one)
    lab.up(two_bridges())
    cell = lab.ask(probe, "a1", "b1")
    assert cell.outcome is Outcome.ERROR
    assert "our own listener is missing" in cell.detail
    assert lab.ask(probe, "a1", "a2").outcome is Outcome.DELIVERED


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_a_socket_in_the_wrong_namespace_is_an_error(
    lab: Lab, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.up(two_bridges())
    visit, visit_all = lab.visitor.visit, lab.visitor.visit_all
    wrong = {"a1": lab.namespace("a2")}

    def astray(namespace, work):
        return visit(wrong.get(namespace.name, namespace), work)

    def all_astray(visits):
        return visit_all([(wrong.get(space.name, space), work) for space, work in visits])

    monkeypatch.setattr(lab.visitor, "visit", astray)
    monkeypatch.setattr(lab.visitor, "visit_all", all_astray)
    cell = lab.ask(probe, "a1", "b1", listeners=["b1"])
    assert cell.outcome is Outcome.ERROR
    assert "elsewhere" in cell.detail


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_a_packet_that_nothing_accounts_for_is_an_error(lab: Lab, probe: Probe) -> None:
    """A bridge drops between two isolated ports (bridge(8)) and counts it nowhere."""
    lab.up(two_bridges())
    for container in ("a1", "a2"):
        port = lab.topology.container(container).endpoints[0].host_device
        lab.run("host", f"bridge link set dev {port} isolated on")
        mac = lab.topology.container(container).endpoints[0].mac
        other = "a2" if container == "a1" else "a1"
        address = lab.topology.addresses_of(container, 4)[0]
        lab.run(other, f"ip neigh replace {address} lladdr {mac} dev eth0")
    cell = lab.ask(probe, "a1", "a2")
    assert cell.outcome is Outcome.ERROR
    assert "vanished" in cell.detail
    assert lab.ask(probe, "a1", "b1").outcome is Outcome.DELIVERED


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_an_answer_that_changes_is_an_error(lab: Lab, probe: Probe) -> None:
    lab.up(two_bridges())
    # Of every two packets the first is dropped: silent at first, delivered when asked again.
    lab.firewall("host").run("-A FORWARD -o br-b -m statistic --mode nth --every 2 --packet 0 -j DROP")
    cell = lab.ask(probe, "a1", "b1")
    assert cell.outcome is Outcome.ERROR
    assert cell.detail.startswith("flaps: silent at first")


def test_a_full_neighbour_table_is_an_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """70 endpoints on one bridge need 4,830 entries; the kernel has room for 1,024 (gc_thresh3, arp(7))."""
    monkeypatch.setattr(build, "NEIGHBOURS_LEFT_TO_THE_KERNEL", 1 << 30)
    topology = two_bridges(70)
    lab.up(topology)
    names = [f"a{number}" for number in range(1, 71)]
    seen = lab.reachability(udp(7000), names)
    assert seen.errors()
    assert all("the machine's neighbour table was full" in cell.detail for cell in seen.errors())
    assert not seen.pairs("F", "X", "U", "P", "R"), "nothing is isolated here, so nothing may look isolated"
    # The table is the whole machine's: leave it as it was for whoever comes next.
    neighbours.forget(lab.channels)


def test_the_same_with_permanent_neighbours(lab: Lab) -> None:
    lab.up(two_bridges(70))
    names = [f"a{number}" for number in range(1, 71)]
    seen = lab.reachability(udp(7000), names)
    assert not seen.errors()
    assert len(seen.pairs(".")) == 70 * 70


def test_mixed_batches_are_proven_cell_by_cell(lab: Lab) -> None:
    """One vanishing pair among many filtered ones: only that pair is an error."""
    lab.up(two_bridges(4))
    lab.firewall("host").run("-P FORWARD DROP")
    for name in ("a1", "a2"):
        port = lab.topology.container(name).endpoints[0].host_device
        lab.run("host", f"bridge link set dev {port} isolated on")
    a2 = lab.topology.container("a2").endpoints[0]
    lab.run("a1", f"ip neigh replace {a2.addresses[0]} lladdr {a2.mac} dev eth0")
    seen = lab.reachability(udp(7000), sources=["a1"], targets=["a2", "a3", "b1", "b2", "b3", "b4"])
    assert seen.only(["a1"], ["a3", "b1", "b2", "b3", "b4"]) == matrix("""
             a3  b1  b2  b3  b4
        a1   .   F   F   F   F
    """)
    assert [(cell.source, cell.target) for cell in seen.errors()] == [("a1", "a2")]


# --- sums that come out right for the wrong reason ---------------------------------------------------------


def isolated(lab: Lab, *names: str) -> None:
    """Make packets between these containers of one bridge vanish, with nobody counting them."""
    for name in names:
        endpoint = lab.topology.container(name).endpoints[0]
        lab.run("host", f"bridge link set dev {endpoint.host_device} isolated on")
        for other in names:
            if other != name:
                known = lab.topology.container(other).endpoints[0]
                address = known.addresses[0]
                lab.run(name, f"ip neigh replace {address} lladdr {known.mac} dev eth0 nud permanent")


def test_a_drop_that_counts_twice_does_not_make_up_for_one_that_vanished(lab: Lab) -> None:
    lab.up(two_bridges())
    isolated(lab, "a1", "a2")
    lab.firewall("host").run("-A FORWARD -o br-b -j REJECT")
    lab.firewall("host").run("-A OUTPUT -p icmp -j DROP")
    seen = lab.reachability(udp(53), sources=["a1"], targets=["a2", "b1"])
    assert (seen.symbol("a1", "a2"), seen.symbol("a1", "b1")) == ("E", "F")


@pytest.mark.parametrize("probe", EVERY_PROTOCOL, ids=str)
def test_other_people_s_drops_prove_nothing(lab: Lab, probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's packet is dropped in every interval between two readings of the counters."""
    lab.up(two_bridges())
    isolated(lab, "a1", "a2")
    lab.firewall("b2").run("-A OUTPUT -p udp --dport 9 -j DROP")
    read = Book.read

    def noisy(book: Book) -> Tally:
        lab.visit("b2", send_to_port_9)
        return read(book)

    monkeypatch.setattr(Book, "read", noisy)
    cell = lab.ask(probe, "a1", "a2")
    assert cell.outcome is Outcome.ERROR
    assert cell.detail.startswith("ambiguous: other traffic is dropped at b2: filter OUTPUT rule 1")


def send_to_port_9() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(PermissionError):
        sock.sendto(b"noise", ("10.1.0.1", 9))


def test_a_missing_listener_behind_nat_is_an_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows whom DNAT leads to, so any listener of ours that is missing makes the answer worthless."""
    lab.up(two_bridges())
    lab.firewall("host").run(
        "-t nat -A PREROUTING -p udp --dport 8080 -j DNAT --to-destination 10.1.0.2:7000"
    )
    assert lab.ask(udp(7000), "a1", "host:8080").receiver == "b1"
    open_all = UdpEngine.open

    def open_but_one(self: UdpEngine) -> None:
        wanted, self.listeners = (
            self.listeners,
            [one for one in self.listeners if one.namespace.name != "b1"],
        )
        open_all(self)
        self.listeners = wanted

    monkeypatch.setattr(UdpEngine, "open", open_but_one)
    cell = lab.ask(udp(7000), "a1", "host:8080")
    assert cell.outcome is Outcome.ERROR
    assert "our own listener is missing" in cell.detail


def test_a_refusal_of_the_send_call_is_not_taken_for_a_route(lab: Lab) -> None:
    """EACCES for a broadcast address is about the socket; for a prohibit route it is about the network."""
    lab.up(two_bridges())
    assert lab.ask(udp(53), "a1", "host@10.0.255.255").outcome is Outcome.ERROR
    lab.run("a1", "ip route add prohibit 10.1.0.2")
    assert lab.ask(udp(53), "a1", "b1").outcome is Outcome.PROHIBITED
    lab.run("a1", "ip route replace blackhole 10.1.0.2")
    assert lab.ask(udp(53), "a1", "b1").outcome is Outcome.UNREACHABLE


def test_a_service_on_a_port_that_clients_use(lab: Lab) -> None:
    """Source ports come from the same range as many services: a port that is taken is passed over."""
    lab.up(two_bridges())
    for probe in (udp, tcp):
        for port in range(engine.fresh_port(), engine.fresh_port() + 6):
            assert lab.ask(probe(min(port, 59_000)), "a1", "b1").replied


def test_a_namespace_that_was_let_go_is_counted_no_more(lab: Lab) -> None:
    lab.up(two_bridges())
    lab.firewall("b2").run("-P INPUT DROP")
    lab.drop("b2")
    lab.firewall("host").run("-P FORWARD DROP")
    assert lab.ask(udp(53), "a1", "b1", listeners=["b1"]).outcome is Outcome.FILTERED
