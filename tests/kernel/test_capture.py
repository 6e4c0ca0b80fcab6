"""Captures on a cable between two namespaces: complete, filtered, and loud when they are not."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time

import pytest

from netverify.errors import InputError, MissingCapability
from netverify.kernel import bpf
from netverify.kernel import capture as capture_module
from netverify.kernel.capture import Capture, CaptureError, CaptureOverflowError, CaptureTooLateError, Frame
from netverify.kernel.packet_ring import PacketRing
from netverify.reachability.flow import Direction
from tests.kernel.small_net import SmallNet, cable_net, small_net

pytestmark = pytest.mark.needs("veth", "AF_PACKET", "IPv6")

ETHERNET_HEADER = 14


@pytest.fixture
def net():
    with cable_net() as made:
        yield made


def capture(net: SmallNet, where: str = "right", interface: str = "eth0", **options) -> Capture:
    return Capture(net.visitor, net.namespaces[where], interface, **options)


def send_udp(net: SmallNet, *payloads: bytes, port: int = 9) -> None:
    sock = net.socket("left", socket.AF_INET, socket.SOCK_DGRAM)
    for payload in payloads:
        sock.sendto(payload, ("10.0.0.2", port))
    net.settle()


def payloads(frames: tuple[Frame, ...]) -> list[bytes]:
    from scapy.layers.inet import UDP

    return [bytes(frame.decoded[UDP].payload) for frame in frames]


def test_both_ends_see_one_exchange_from_their_side(net):
    with capture(net, "left", bpf="icmp") as left, capture(net, "right", bpf="icmp") as right:
        net.ping("left", "10.0.0.2", 38, 31)
    assert [frame.direction for frame in left.frames] == [Direction.OUT, Direction.IN]
    assert [frame.direction for frame in right.frames] == [Direction.IN, Direction.OUT]
    assert [frame.data for frame in left.frames] == [frame.data for frame in right.frames]
    from scapy.layers.inet import ICMP, IP

    request, reply = (frame.decoded for frame in right.frames)
    assert (request[IP].src, request[IP].dst, request[ICMP].type) == ("10.0.0.1", "10.0.0.2", 8)
    assert (reply[IP].src, reply[IP].dst, reply[ICMP].type) == ("10.0.0.2", "10.0.0.1", 0)
    assert (request[ICMP].id, request[ICMP].seq) == (38, 31)


def test_ipv6_is_caught_and_decoded(net):
    with capture(net, bpf="icmp6 and ip6[40] >= 128 and ip6[40] <= 129") as right:
        net.ping("left", "fd00::2", 5, 6)
    from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6

    request, reply = (frame.decoded for frame in right.frames)
    assert (request[IPv6].src, request[IPv6].dst) == ("fd00::1", "fd00::2")
    assert (request[ICMPv6EchoRequest].id, reply[ICMPv6EchoReply].seq) == (5, 6)


def test_a_filter_keeps_what_it_names_and_nothing_else(net):
    with capture(net, bpf="udp dst port 53") as narrow, capture(net) as wide:
        send_udp(net, b"echo", port=7)
        send_udp(net, b"domain", port=53)
    assert payloads(narrow.frames) == [b"domain"]
    # The wide one has the other datagram and the port unreachable answers: the filter was not idle.
    assert len(wide.frames) > len(narrow.frames)


def test_nothing_slips_in_before_the_filter(net, monkeypatch):
    """The packets that arrive while the capture is being set up are not in it."""
    attach, make_ring = bpf.attach, PacketRing.__init__

    def attach_under_fire(sock: socket.socket, instructions: bytes) -> None:
        send_udp(net, b"unwanted", port=7)
        attach(sock, instructions)
        send_udp(net, b"unwanted", port=7)

    def make_ring_under_fire(self: PacketRing, *sizes) -> None:
        make_ring(self, *sizes)
        send_udp(net, b"unwanted", port=7)
        send_udp(net, b"early", port=53)

    monkeypatch.setattr(bpf, "attach", attach_under_fire)
    monkeypatch.setattr(PacketRing, "__init__", make_ring_under_fire)
    with capture(net, bpf="udp dst port 53") as right:
        send_udp(net, b"in time", port=53)
    assert payloads(right.frames) == [b"in time"]
    assert right.frames[0].time_ns >= right.bound_at


def test_caught_reads_while_running_and_keeps_what_it_read(net):
    with capture(net, bpf="udp dst port 9") as right:
        assert right.caught() == ()
        send_udp(net, b"1")
        assert payloads(right.caught()) == [b"1"]
        send_udp(net, b"2")
        assert payloads(right.caught()) == [b"1", b"2"]
    assert payloads(right.caught()) == payloads(right.frames) == [b"1", b"2"]


def test_packets_after_the_end_are_not_in_it(net):
    with capture(net, bpf="udp dst port 9") as right:
        send_udp(net, b"within")
    send_udp(net, b"after")
    assert payloads(right.caught()) == [b"within"]


def test_timestamps_are_those_of_the_packets(net):
    before = time.time_ns()
    with capture(net, bpf="udp dst port 9") as right:
        bound = time.time_ns()
        send_udp(net, b"1", b"2")
        sent = time.time_ns()
    first, second = right.frames
    assert before <= right.bound_at <= bound <= first.time_ns <= second.time_ns <= sent


def test_a_capture_that_starts_too_late_says_so(net):
    sent = time.time_ns()
    send_udp(net, b"missed")
    with capture(net, bpf="udp dst port 9") as right:
        assert right.caught() == ()
        with pytest.raises(CaptureTooLateError, match=r"right/eth0 was bound \d+\.\d+ ms too late"):
            right.require_since(sent)
        right.require_since(time.time_ns())
    with pytest.raises(CaptureTooLateError, match="had ended"):
        right.require_since(time.time_ns())


def test_a_capture_that_never_ran_says_so(net):
    with pytest.raises(CaptureError, match="never been started"):
        capture(net).caught()
    with pytest.raises(CaptureError, match="never been started"):
        capture(net).require_since(0)


def test_overflow_is_an_error_and_the_rest_is_kept(net):
    small = capture(net, bpf="udp dst port 9", capacity=32)
    with pytest.raises(CaptureOverflowError, match="lost 68 packets: it has room for 32") as raised, small:
        send_udp(net, *(bytes([number]) for number in range(100)))
    assert raised.value.dropped == 68
    assert payloads(small.frames) == [bytes([number]) for number in range(32)]


def test_overflow_is_reported_at_every_reading(net):
    small = capture(net, bpf="udp dst port 9", capacity=32)
    small.__enter__()
    send_udp(net, *[b"x"] * 33)
    for _ in range(2):
        with pytest.raises(CaptureOverflowError):
            small.caught()
    with pytest.raises(CaptureOverflowError):
        small.__exit__(None, None, None)


def test_reading_makes_room(net):
    with capture(net, bpf="udp dst port 9", capacity=32) as small:
        for _ in range(10):
            send_udp(net, *[b"x"] * 32)
            small.caught()
    assert len(small.frames) == 320


def test_a_gap_does_not_hide_the_error_that_ended_the_block(net):
    failure = AssertionError("what the test was about")
    small = capture(net, bpf="udp dst port 9", capacity=32)
    small.__enter__()
    send_udp(net, *[b"x"] * 40)
    small.__exit__(AssertionError, failure, None)
    assert "lost 8 packets" in failure.__notes__[0]


def test_the_default_holds_a_full_matrix_of_45_endpoints(net):
    with capture(net, bpf="udp dst port 9") as right:
        send_udp(net, *[b"x"] * 1980)
    assert len(right.frames) == 1980


@pytest.mark.parametrize("change", ["ip link set eth0 down", "ip link del eth0"])
def test_an_interface_that_goes_down_or_away_leaves_a_gap(net, change):
    with (
        pytest.raises(CaptureError, match="right/eth0 has a gap: the interface went down or away"),
        capture(net),
    ):
        net.run("right", change)


def test_an_interface_that_is_down_is_refused():
    with (
        small_net("alone") as net,
        pytest.raises(CaptureError, match=r"alone/lo: Network is down\. Bring the interface up"),
        capture(net, "alone", "lo"),
    ):
        pass


def test_a_device_without_ethernet_headers_is_refused(net, monkeypatch):
    monkeypatch.setattr(capture_module, "ARPHRD_ETHER", -1)  # so that eth0 counts as such
    with pytest.raises(CaptureError, match=r"no Ethernet header \(hardware type 1\)"):
        capture(net).__enter__()


def test_an_unknown_interface_is_refused_with_those_that_exist(net):
    with pytest.raises(CaptureError, match=r"right/eth9: No such device\. Interfaces there: lo,.*eth0"):
        capture(net, interface="eth9").__enter__()


def test_a_bad_filter_is_refused_in_libpcaps_words(net):
    with pytest.raises(InputError, match=r"'udp prot 53'.*syntax error"), capture(net, bpf="udp prot 53"):
        pass


def test_without_libpcap_it_says_what_to_install(net, monkeypatch):
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    monkeypatch.delitem(sys.modules, "scapy.libs.winpcapy", raising=False)
    bpf.compile_bpf.cache_clear()
    with pytest.raises(MissingCapability, match=r"apt-get install libpcap0\.8"):
        capture(net, bpf="icmp").__enter__()
    with capture(net) as unfiltered:
        send_udp(net, b"x")
    assert unfiltered.frames


@pytest.mark.parametrize(("option", "value"), [("capacity", 0), ("snap_length", 63), ("snap_length", 65536)])
def test_impossible_sizes_are_refused(net, option, value):
    with pytest.raises(InputError, match=str(value)):
        capture(net, **{option: value})


def test_loopback_shows_each_packet_leaving_and_arriving(net):
    with capture(net, "left", "lo", bpf="udp") as loopback:
        net.socket("left", socket.AF_INET, socket.SOCK_DGRAM).sendto(b"self", ("127.0.0.1", 9))
        net.settle()
    assert [frame.direction for frame in loopback.frames] == [Direction.OUT, Direction.IN]


def test_a_jumbo_frame_needs_a_longer_snap_length(net, tmp_path):
    for where in ("left", "right"):
        net.run(where, "ip link set eth0 mtu 9000")
    with (
        capture(net, bpf="udp dst port 9") as cut,
        capture(net, bpf="udp dst port 9", snap_length=9014, capacity=16) as whole,
    ):
        send_udp(net, b"j" * 8000)
    assert cut.frames[0].truncated
    assert cut.frames[0].length == whole.frames[0].length == ETHERNET_HEADER + 28 + 8000
    assert payloads(whole.frames) == [b"j" * 8000]
    cut.write(tmp_path / "cut.pcap")
    kept, length = struct.unpack_from("=II", (tmp_path / "cut.pcap").read_bytes(), 24 + 8)
    assert (kept, length) == (len(cut.frames[0].data), cut.frames[0].length)


def test_a_vlan_tag_that_the_device_took_out_is_put_back(net):
    from scapy.layers.l2 import Dot1Q

    tagged = bytes(6) + bytes.fromhex("020000000001 8100 6007 88b5") + b"local experiment"
    sender = net.socket("left", socket.AF_PACKET, socket.SOCK_RAW)
    with capture(net) as right:
        sender.sendto(tagged, ("eth0", 0))
        net.settle()
    [frame] = [frame for frame in right.frames if b"local experiment" in frame.data]
    assert frame.data == tagged
    assert not frame.truncated
    assert (frame.decoded[Dot1Q].vlan, frame.decoded[Dot1Q].prio) == (7, 3)


def test_frames_between_ports_are_seen_on_the_bridge_only_when_promiscuous():
    with small_net("switch", "x", "y") as net:
        net.bridge("switch", "br0", 10)
        x, y = (net.cable("switch", f"veth-{name}", name, "eth0", bridge=10) for name in "xy")
        for name, own, peer, address, other in (
            ("x", x, y, "10.0.0.1/24", "10.0.0.2/24"),
            ("y", y, x, "10.0.0.2/24", "10.0.0.1/24"),
        ):
            net.address(name, own, address)
            net.introduce(name, own, peer, other)
        net.ready()
        net.ping("x", "10.0.0.2", 1, 1)  # the bridge floods until it has learnt who is where
        options = {"where": "switch", "interface": "br0", "bpf": "icmp"}
        with capture(net, **options) as plain:
            net.ping("x", "10.0.0.2", 1, 2)
        with capture(net, **options, promiscuous=True) as promiscuous:
            net.ping("x", "10.0.0.2", 1, 3)
        with capture(net, **options) as plain_again:
            net.ping("x", "10.0.0.2", 1, 4)
    assert (len(plain.frames), len(promiscuous.frames), len(plain_again.frames)) == (0, 2, 0)


def test_wait_returns_as_soon_as_it_is_there(net):
    """Another process sends: nothing but the packet itself says when it is there."""
    program = f"{sys.executable} -c __import__('socket').socket(2,2).sendto(b'x',('10.0.0.2',9))"
    with capture(net, bpf="udp dst port 9") as right:
        started = net.visitor.visit(net.namespaces["left"], lambda: subprocess.Popen(program.split()))
        frames = right.wait(lambda frames: len(frames) >= 1, timeout=10)
        assert started.wait() == 0
    assert payloads(frames) == [b"x"]


def test_wait_in_vain_says_what_was_caught(net):
    with capture(net, bpf="udp dst port 9") as right:
        send_udp(net, b"other")
        with pytest.raises(CaptureError, match=r"waited 0\.05 s in vain(.|\n)*in: .*UDP 10\.0\.0\.1:"):
            right.wait(lambda frames: len(frames) >= 2, timeout=0.05)
    with pytest.raises(CaptureError, match="is over"):
        right.wait(lambda frames: len(frames) >= 2, timeout=0.05)


def test_a_capture_runs_once(net):
    once = capture(net)
    with once:
        pass
    with pytest.raises(CaptureError, match="has run already"):
        once.__enter__()


def test_pcap_has_every_packet_to_the_nanosecond(net, tmp_path):
    with capture(net, bpf="udp dst port 9") as right:
        send_udp(net, b"1", b"22")
    path = tmp_path / "right.pcap"
    right.write(path)
    data = path.read_bytes()
    assert struct.unpack_from("=IHHiIII", data) == (0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    position = 24
    for frame in right.frames:
        seconds, nanoseconds, kept, length = struct.unpack_from("=IIII", data, position)
        assert seconds * 10**9 + nanoseconds == frame.time_ns
        assert (kept, length) == (len(frame.data), frame.length)
        assert data[position + 16 : position + 16 + kept] == frame.data
        position += 16 + kept
    assert position == len(data)


def test_an_empty_capture_writes_a_valid_pcap(net, tmp_path):
    with capture(net, bpf="udp dst port 9") as right:
        pass
    right.write(tmp_path / "empty.pcap")
    assert len((tmp_path / "empty.pcap").read_bytes()) == 24


def test_a_failed_start_leaves_nothing_open(net, monkeypatch):
    opened: list[socket.socket] = []

    def no_memory(self, sock, capacity, snap_length):
        opened.append(sock)
        raise MemoryError

    monkeypatch.setattr(PacketRing, "__init__", no_memory)
    with pytest.raises(MemoryError):
        capture(net).__enter__()
    assert opened[0].fileno() == -1
