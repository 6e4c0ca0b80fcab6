"""What targets write and translate, judged by the kernel: rules behind them count what came out.

Each form of a target has a chain of its own, reached by a destination port; the rules behind it ask for every
bit, or for values around the expected one. Where the kernel chooses among several values, it is shown to
choose more than one, and only such as `translation.choose` allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from scapy.layers.inet import IP, UDP

from netverify.dataplane import Packet
from netverify.dataplane.targets import Nat, compile_target
from netverify.dataplane.translation import Choice, choose
from netverify.kernel.capture import Capture
from netverify.kernel.firewall import Backend
from netverify.reachability.flow import Direction
from netverify.ruleset import Rule
from tests.kernel.match_cases import V4, V6, shot
from tests.kernel.match_router import SILENCE, Router, Shot, compare, match_router, ruleset

pytestmark = pytest.mark.needs("veth", "AF_PACKET", "iptables", "IPv6")
each_backend = pytest.mark.parametrize("backend", list(Backend))
FIRST_PORT = 20000


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """left - host - right."""
    with match_router() as made:
        yield made


def _behind(
    table: str, chain: str, forms: Sequence[Sequence[str]], counting: Sequence[str], protocol: str = "udp"
) -> list[tuple[str, str, str]]:
    """Each form in a chain of its own, by port, with the counting rules behind it."""
    rules = []
    for number, texts in enumerate(forms):
        port = FIRST_PORT + number
        rules.append((table, chain, f"-p {protocol} -m {protocol} --dport {port} -j FORM{number}"))
        rules += [(table, f"FORM{number}", text) for text in (*texts, *counting)]
    return rules


def _to_each(
    forms: Sequence[Sequence[str]], version: int = 4, protocol: str = "udp", **fields: int
) -> list[Shot]:
    ends = V4 if version == 4 else V6
    ports = range(FIRST_PORT, FIRST_PORT + len(forms))
    return [shot(protocol, *ends, sport=3000, dport=port, **fields) for port in ports]


MARKS = [
    "MARK --set-mark 0x5", "MARK --set-mark 0x5/0xff", "MARK --set-xmark 0x5/0xff",
    "MARK --set-xmark 0xff/0x0f", "MARK --and-mark 0xf0f0", "MARK --or-mark 0x10f",
    "MARK --xor-mark 0xffff", "CONNMARK --set-mark 0x5/0xff", "CONNMARK --set-xmark 0x5/0xff",
    "CONNMARK --and-mark 0xf0f0", "CONNMARK --or-mark 0x10f", "CONNMARK --xor-mark 0xffff",
    "CONNMARK --save-mark", "CONNMARK --restore-mark", "CONNMARK --save-mark --nfmask 0xff0 --ctmask 0xf0f",
    "CONNMARK --restore-mark --nfmask 0xff0 --ctmask 0xf0f", "CONNMARK --save-mark --mask 0xff",
    "CONNMARK --restore-mark --mask 0xff00",
]  # fmt: skip
SHIFTS = [
    f"CONNMARK {form} --{side}-shift-mark {by}"
    for form in (
        "--set-xmark 0x5/0xff", "--save-mark --nfmask 0xff0 --ctmask 0xffff",
        "--restore-mark --nfmask 0xffff --ctmask 0xff0",
    )
    for side in ("left", "right")
    for by in (4, 31)
]  # fmt: skip


@each_backend
@pytest.mark.parametrize("forms", [MARKS, SHIFTS], ids=["masks", "shifts"])
def test_marks(router: Router, backend: Backend, forms: list[str]) -> None:
    texts = [
        ("-j MARK --set-mark 0xa5c31234", "-j CONNMARK --set-mark 0x8421ff5a", f"-j {form}") for form in forms
    ]
    counting = [
        f"-m {which} --mark {1 << bit:#x}/{1 << bit:#x}"
        for which in ("mark", "connmark")
        for bit in range(32)
    ]
    compare(router, backend, ruleset(4, _behind("mangle", "PREROUTING", texts, counting)), _to_each(texts))


def test_marks_need_a_connection(router: Router) -> None:
    """An untracked packet keeps its mark, and there is none to save it to."""
    texts = [
        ("-j MARK --set-mark 0xa5", f"-j CONNMARK {form}")
        for form in ("--save-mark", "--restore-mark", "--set-mark 1")
    ]
    counting = ["-m mark --mark 0xa5", "-m connmark --mark 0x0", "-m connmark ! --mark 0x1"]
    rules = [*_behind("mangle", "PREROUTING", texts, counting), ("raw", "PREROUTING", "-j NOTRACK")]
    compare(router, Backend.LEGACY, ruleset(4, rules), _to_each(texts))


TOS = [
    "TOS --set-tos 0x10", "TOS --set-tos 0x10/0x3f", "TOS --set-tos Minimize-Cost", "TOS --and-tos 0xf0",
    "TOS --or-tos 0x81", "TOS --xor-tos 0xff", "DSCP --set-dscp 0x2e", "DSCP --set-dscp-class AF12",
    "DSCP --set-dscp-class CS7", "DSCP --set-dscp 0",
]  # fmt: skip


@each_backend
@pytest.mark.parametrize("version", [4, 6])
def test_fields_of_the_header(router: Router, backend: Backend, version: int) -> None:
    target, match = ("TTL", "ttl") if version == 4 else ("HL", "hl")
    moves = [f"{target} --{match}-{way} {by}" for way in ("set", "inc", "dec") for by in (1, 60, 200, 255)]
    texts = [(f"-j {form}",) for form in (*TOS, *moves)]
    counting = [f"-m tos --tos {1 << bit:#x}/{1 << bit:#x}" for bit in range(8)]
    counting += [
        f"-m {match} --{match}-{how} {n}" for how in ("lt", "gt") for n in (1, 2, 4, 59, 63, 64, 65, 123, 254)
    ]
    rules = _behind("mangle", "PREROUTING", texts, counting)
    shots = [*_to_each(texts, version, tos=0x59, ttl=64), *_to_each(texts, version, tos=0xA6, ttl=3)]
    compare(router, backend, ruleset(version, rules), shots)


@each_backend
def test_congestion_bits(router: Router, backend: Backend) -> None:
    texts = [("-p tcp -j ECN --ecn-tcp-remove",)]
    counting = [
        "-p tcp -m ecn --ecn-tcp-ece",
        "-p tcp -m ecn ! --ecn-tcp-cwr",
        "-p tcp -m tcp --syn",
        "-m ecn --ecn-ip-ect 2",
    ]
    rules = _behind("mangle", "PREROUTING", texts, counting, "tcp")
    shots = [
        packet
        for flags in (0xC2, 0x42, 0x02)
        for packet in _to_each(texts, protocol="tcp", tcp_flags=flags, tos=2)
    ]
    compare(router, backend, ruleset(4, rules), shots)


DESTINATIONS = {
    4: [
        "DNAT --to-destination 10.1.0.2", "DNAT --to-destination 10.1.0.2:80", "DNAT --to-destination :81",
        "DNAT --to-destination 10.1.0.2:5000-5010", "DNAT --to-destination 10.1.0.2:20000-20100",
        "DNAT --to-destination 10.1.0.2:6000-6003/20000", "DNAT --to-destination 10.1.0.2:6000-6100/20000",
        "DNAT --to-destination 10.1.0.2:6000-6100/30000", "REDIRECT", "REDIRECT --to-ports 82",
        "REDIRECT --to-ports 7000-7010", "NETMAP --to 10.1.0.0/24",
        "DNAT --to-destination 10.1.0.2:84 --persistent",
    ],
    6: [
        "DNAT --to-destination fd01::2", "DNAT --to-destination [fd01::2]:80",
        "DNAT --to-destination [fd01::2]:5000-5010", "REDIRECT --to-ports 82", "NETMAP --to fd01::/64",
    ],
}  # fmt: skip
PORTS = [80, 81, 82, 84, 5000, 5001, 5010, 6000, 6001, 6002, 6003, 6006, 6007, 6094, 7000, 7001]


@each_backend
@pytest.mark.parametrize("version", [4, 6])
def test_translation_of_destinations(router: Router, backend: Backend, version: int) -> None:
    """What is forwarded or delivered then, and what the connection says, before and after it."""
    forms = DESTINATIONS[version]
    ports = range(FIRST_PORT, FIRST_PORT + len(forms))
    rules = [
        ("nat", "PREROUTING", f"-p udp -m udp --dport {port} -j {form}")
        for port, form in zip(ports, forms, strict=True)
    ]
    asked = [f"-p udp -m udp --dport {port}" for port in (*PORTS, *ports)]
    asked += [f"-p udp -m conntrack --ctreplsrcport {port}" for port in (*PORTS, *ports)]
    here, there = ("10.0.0.1", "10.1.0.2") if version == 4 else ("fd00::1", "fd01::2")
    asked += [f"-d {here}", f"-d {there}", f"-m conntrack --ctreplsrc {there}", "-m conntrack --ctstate DNAT"]
    rules += [
        (table, chain, text)
        for table, chain in (("mangle", "FORWARD"), ("mangle", "INPUT"))
        for text in asked
    ]
    near, far = ("10.0.0.2", "203.0.113.2") if version == 4 else ("fd00::2", "2001:db8:2::2")
    shots = [shot("udp", near, far, sport=3100, dport=port) for port in ports]
    shots += [
        shot("udp", far, near, "right", sport=80, dport=3100),
        shot("udp", there, near, "right", sport=80, dport=3100),
    ]
    traces = compare(router, backend, ruleset(version, [*rules, *SILENCE]), shots)
    assert not any(trace.assumed for trace in traces)


SOURCES = [
    "SNAT --to-source 10.1.0.1", "SNAT --to-source 10.1.0.1:4000", "SNAT --to-source :3200",
    "SNAT --to-source 10.1.0.1:3000-4000", "MASQUERADE", "MASQUERADE --to-ports 4001",
    "NETMAP --to 10.1.0.0/24", "SNAT --to-source 10.0.0.0-10.0.0.9",
    "SNAT --to-source 10.1.0.1 --persistent",
]  # fmt: skip


@each_backend
def test_translation_of_sources(router: Router, backend: Backend) -> None:
    """Answers come to the new address and port; back behind it they are for the old ones."""
    ports = range(FIRST_PORT, FIRST_PORT + len(SOURCES))
    rules = [
        ("nat", "POSTROUTING", f"-p udp -m udp --dport {port} -j {form}")
        for port, form in zip(ports, SOURCES, strict=True)
    ]
    values = (3000, 3200, 4000, 4001, *range(3300, 3300 + len(SOURCES)))
    asked = [f"-m conntrack --ctrepldstport {port}" for port in values]
    asked += [f"-m conntrack --ctrepldst {address}" for address in ("10.1.0.1", "10.0.0.2", "10.1.0.2")]
    asked += [f"-p udp -m udp --dport {port}" for port in values]
    asked += [
        "-d 10.0.0.2",
        "-d 10.1.0.1",
        "-m conntrack --ctstate SNAT",
        "-m conntrack --ctstate ESTABLISHED",
    ]
    rules += [("mangle", chain, text) for chain in ("PREROUTING", "FORWARD") for text in asked]
    shots = []
    for port, form in zip(ports, SOURCES, strict=True):
        target = Rule.parse(f"-j {form}", chain="X").target
        assert target is not None
        nat = compile_target(target, 4).ending
        assert isinstance(nat, Nat)
        to = 0x0A010001 if form.startswith("MASQ") else None
        # Each from a port of its own: a source that is translated already would be translated alike.
        source = 3300 + port - FIRST_PORT
        choice = choose(nat, of_source=True, protocol=17, old=0x0A000002, port=source, to=to)
        assert choice.exact
        shots.append(shot("udp", *V4, sport=source, dport=port))
        answered = Packet(4, 0x0A010002, choice.first[0], 17, port, choice.first[1], length=120, mac=3)
        shots.append(("right", answered))
    compare(router, backend, ruleset(4, [*rules, *SILENCE]), shots)


CHOICES = [
    ("POSTROUTING", "SNAT --to-source 10.1.0.10-10.1.0.13"),
    ("POSTROUTING", "SNAT --to-source 10.1.0.1:5000-5020"),
    ("POSTROUTING", "SNAT --to-source 10.1.0.1 --random"),
    ("POSTROUTING", "MASQUERADE --to-ports 5000-5003 --random"),
    ("POSTROUTING", "MASQUERADE --random-fully"),
    ("PREROUTING", "DNAT --to-destination 10.1.0.10-10.1.0.13"),
    ("PREROUTING", "DNAT --to-destination 10.1.0.2:5000-5020 --random"),
    ("PREROUTING", "DNAT --to-destination 10.1.0.10-10.1.0.13:80"),
]


@pytest.mark.parametrize(("chain", "form"), CHOICES)
def test_what_the_kernel_chooses_is_among_what_the_model_allows(
    router: Router, chain: str, form: str
) -> None:
    of_source = chain == "POSTROUTING"
    target = Rule.parse(f"-j {form}", chain="X").target
    assert target is not None
    nat = compile_target(target, 4).ending
    assert isinstance(nat, Nat)
    for number in range(10, 14):  # neighbours to send to
        router.net.run("host", f"ip neigh replace 10.1.0.{number} lladdr 02:00:00:00:00:67 dev eth1")
    shots = [
        shot("udp", f"10.0.0.{2 + number}", "203.0.113.9", sport=3400 + number, dport=30000 + number)
        for number in range(24)
    ]
    rules = ruleset(4, [("nat", chain, f"-p udp -j {form}")])
    net = router.net
    with Capture(net.visitor, net.namespaces["right"], "eth0", "udp") as capture:
        compare_quietly(router, rules, shots)
        frames = [frame.decoded for frame in capture.caught() if frame.direction is Direction.IN]
    assert len(frames) == len(shots)
    seen = set()
    for (_origin, packet), found in zip(shots, frames, strict=True):
        half = (found[IP].src, found[UDP].sport) if of_source else (found[IP].dst, found[UDP].dport)
        seen.add(half)
        choice = _choice(nat, packet, of_source=of_source)
        assert not choice.exact
        assert choice.addresses[0] <= int.from_bytes(map(int, half[0].split("."))) <= choice.addresses[1]
        assert choice.ports[0] <= half[1] <= choice.ports[1], half
    assert len(seen) > 1


def _choice(nat: Nat, packet: Packet, *, of_source: bool) -> Choice:
    old, port = (packet.source, packet.sport) if of_source else (packet.destination, packet.dport)
    to = 0x0A010001 if nat.kind.value == "MASQUERADE" else None
    return choose(nat, of_source=of_source, protocol=17, old=old, port=port, to=to)


def compare_quietly(router: Router, rules: object, shots: list[Shot]) -> None:
    """Send the packets through the rules; the model says of each that it takes one of several values."""
    traces = compare(router, Backend.LEGACY, rules, shots)
    assert all(any("takes the first of what it may" in name for name, _ in trace.assumed) for trace in traces)
