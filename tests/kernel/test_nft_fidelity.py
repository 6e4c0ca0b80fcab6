"""Native nftables rules, judged by the kernel: what becomes of each packet, and every rule's counter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from netverify.dataplane.packet import ACK, RST, SYN, Packet
from netverify.kernel.firewall import Backend, FirewallError
from netverify.kernel.judge import site
from netverify.kernel.judge.case import Shot
from netverify.ruleset import Ruleset
from tests.kernel.nft_cases import (
    BEFORE_LEAVING,
    BY_HOOK,
    COMING_IN,
    EFFECTS,
    EVERYWHERE,
    FROM_OUTSIDE,
    GOING_OUT,
    IPTABLES,
    SETS,
    TRANSLATIONS,
)
from tests.kernel.nft_stand import NftCase, NftStand, Told
from tests.strategies.judged_nft import draw
from tests.strategies.judged_packets import PacketMaker

pytestmark = pytest.mark.needs("veth", "AF_PACKET", "iptables", "nft", "IPv6")


@pytest.fixture(scope="module")
def stand() -> Iterator[NftStand]:
    with NftStand() as made:
        yield made


def shots(version: int) -> list[Shot]:
    """Packets in by every way, some of one flow."""
    client, server, far, own, other = (
        ("10.1.0.2", "10.2.0.2", "10.12.7.9", "10.1.0.1", "10.3.0.3")
        if version == 4
        else ("fd00:1::2", "fd00:2::2", "fd00:12:7::9", "fd00:1::1", "fd00:3::3")
    )
    echo = {"icmp_type": 8 if version == 4 else 128}
    mac = site.neighbour_mac("eth0", 2)
    made = [
        Shot.of(Packet.of(client, server, "tcp", dport=80, sport=1000), "eth0"),
        Shot.of(Packet.of(server, client, "tcp", dport=1000, sport=80, tcp_flags=SYN | ACK), "eth1"),
        Shot.of(Packet.of(client, server, "tcp", dport=80, sport=1000, tcp_flags=ACK), "eth0"),
        Shot.of(Packet.of(client, server, "tcp", dport=81, sport=1000, tcp_flags=RST), "eth0"),
        Shot.of(Packet.of(client, far, "udp", dport=53, sport=1001), "eth0"),
        Shot.of(Packet.of(far, client, "udp", dport=1001, sport=53), "eth1"),
        Shot.of(Packet.of(client, far, "udp", dport=53, sport=1001), "eth0"),
        Shot.of(Packet.of(client, own, "udp", dport=443, sport=1002), "eth0"),
        Shot.of(Packet.of(client, own, "icmp", **echo), "eth0"),
        Shot.of(Packet.of(client, server, "icmp", **echo), "eth0"),
        Shot.of(Packet.of(client, server, "sctp", dport=80, sport=1003), "eth0"),
        Shot.of(Packet.of(client, server, 47, tos=0x28), "eth0"),
        Shot.of(Packet.of(other, server, "tcp", dport=443, sport=1004), "p1"),
        Shot.of(Packet.of(own, server, "udp", dport=80, sport=1005)),
        Shot.of(Packet.of(own, client, "tcp", dport=80, sport=1006)),
        Shot.of(Packet.of(own, own, "udp", dport=80, sport=1007)),
        Shot.of(Packet.of(client, far, "tcp", dport=8080, sport=1008, ttl=5, length=600), "eth0"),
        Shot.of(Packet.of(client, own, "tcp", dport=22, sport=1009), "eth0"),
    ]
    if version == 4:  # from a network's broadcast address
        made.append(Shot.of(Packet.of("10.1.0.255", server, "udp", dport=80, sport=1010), "eth0"))
    return [replace(shot, packet=shot.packet.with_(mac=mac)) if shot.device else shot for shot in made]


def judged(
    stand: NftStand,
    version: int,
    native: str,
    *,
    rules: str = "",
    more: str = "",
    backend: Backend = Backend.NFT,
    more_shots: Sequence[Shot] = (),
) -> None:
    family = "ipv4" if version == 4 else "ipv6"
    case = NftCase(
        Ruleset.parse(rules, family=family),
        (*shots(version), *more_shots),
        backend,
        native=native,
        more=Ruleset.parse(more, family=family) if more else None,
    )
    differences = stand.judge(case)
    assert not differences, "\n".join([native, *differences])


@pytest.mark.parametrize("version", [4, 6])
def test_a_filter_table(stand: NftStand, version: int) -> None:
    judged(stand, version, BY_HOOK)


def counting(*texts: str) -> str:
    """A rule for each line, with a counter at its end."""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return "".join(f"        {line} counter\n" for line in lines)


@pytest.mark.parametrize("version", [4, 6])
def test_every_expression(stand: NftStand, version: int) -> None:
    chains = [
        ("prerouting", EVERYWHERE, BEFORE_LEAVING, FROM_OUTSIDE, COMING_IN),
        ("input", EVERYWHERE, BEFORE_LEAVING, FROM_OUTSIDE),
        ("forward", EVERYWHERE, BEFORE_LEAVING, FROM_OUTSIDE, GOING_OUT),
        ("output", EVERYWHERE, BEFORE_LEAVING, GOING_OUT),
        ("postrouting", EVERYWHERE, GOING_OUT),
    ]
    rules = "".join(
        f"    chain {hook} {{\n        type filter hook {hook} priority mangle\n{counting(*texts)}    }}\n"
        for hook, *texts in chains
    )
    mark = """
    chain marking {
        type filter hook prerouting priority mangle - 10
        tcp dport 80 meta mark set 0x15 ct mark set 0x1
        udp dport 53 meta mark set 4 ct mark set 0x101
    }
    chain untracking {
        type filter hook prerouting priority raw
        tcp dport 8080 notrack
    }
"""
    nat = """
    chain to_server {
        type nat hook prerouting priority dstnat
        meta nfproto ipv4 udp dport 443 dnat ip to 10.2.0.3
        meta nfproto ipv6 udp dport 443 dnat ip6 to fd00:2::3
    }
    chain from_client {
        type nat hook postrouting priority srcnat
        udp dport 443 masquerade
    }
"""
    judged(stand, version, f"table inet every {{\n{SETS}{rules}{mark}{nat}}}\n")


@pytest.mark.parametrize("version", [4, 6])
def test_what_rules_write(stand: NftStand, version: int) -> None:
    judged(stand, version, EFFECTS)


@pytest.mark.parametrize("version", [4, 6])
def test_translations(stand: NftStand, version: int) -> None:
    judged(stand, version, TRANSLATIONS)


def ordered(*priorities: int) -> str:
    """A chain for each priority at each hook: it counts, and moves the mark one on, so that order shows."""
    chains = [
        f"""    chain at_{hook}_{index} {{
        type filter hook {hook} priority {priority}
        meta mark {index} counter meta mark set {index + 1}
        ct state new counter
        tcp dport 80 counter
        ip daddr 10.2.0.9 counter
    }}
"""
        for hook in ("prerouting", "input", "forward", "output", "postrouting")
        for index, priority in enumerate(priorities)
    ]
    return "table inet order {\n" + "".join(chains) + "}\n"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("backend", list(Backend))
def test_priorities_beside_iptables(stand: NftStand, backend: Backend, version: int) -> None:
    rejection = "icmp-port-unreachable" if version == 4 else "icmp6-port-unreachable"
    rules = IPTABLES.replace("REJECTION", rejection)
    native = ordered(-450, -301, -300, -299, -201, -199, -151, -149, -101, -99, -1, 0, 0, 1, 49, 51, 99, 101)
    judged(stand, version, native, rules=rules, backend=backend)


def test_native_chains_and_iptables_both_translate(stand: NftStand) -> None:
    """The nat chain of lowest priority that gives a mapping wins; the others are not asked."""
    native = """
table ip first {
    chain early {
        type nat hook prerouting priority dstnat - 1
        udp dport 53 ip daddr 10.12.7.9 counter dnat to 10.2.0.5:54
        counter
    }
    chain same {
        type nat hook prerouting priority dstnat
        tcp dport 22 counter dnat to 10.2.0.6
        counter
    }
    chain late {
        type nat hook prerouting priority dstnat + 1
        tcp dport 80 counter dnat to 10.2.0.6
        counter
    }
    chain leaving {
        type nat hook postrouting priority 300
        oifname != "lo" counter masquerade
    }
}
"""
    rules = IPTABLES.replace("REJECTION", "tcp-reset").replace("-i br0 -j", "-i br0 -p tcp -j")
    judged(stand, 4, native, rules=rules)


@pytest.mark.parametrize("version", [4, 6])
def test_both_backends_and_native_rules(version: int) -> None:
    """A drop of any of the three is final, an ACCEPT is for its own chain alone.

    On a host of its own, for the backend that registered last is called first: legacy's here.
    """
    rules = "*filter\n:FORWARD ACCEPT\n-A FORWARD -p tcp -j ACCEPT\n-A FORWARD -p udp -j DROP\nCOMMIT\n"
    legacy = (
        "*filter\n:FORWARD DROP\n-A FORWARD -p tcp -m tcp --sport 1000 -j ACCEPT\n-A FORWARD -p 47\nCOMMIT\n"
    )
    native = """
table inet third {
    chain forward {
        type filter hook forward priority filter + 1
        tcp dport 80 counter accept
        counter drop
    }
    chain again {
        type filter hook forward priority filter + 2
        tcp flags syn counter drop
        counter accept
    }
}
"""
    with NftStand() as stand:
        judged(stand, version, native, rules=rules, more=legacy)


SAMPLES = Path(__file__).parents[1] / "ruleset" / "nft_samples"


@pytest.mark.parametrize("name", ["docker_bridges", "firewalld"])
@pytest.mark.parametrize("version", [4, 6])
def test_rules_as_docker_and_firewalld_write_them(stand: NftStand, name: str, version: int) -> None:
    """Docker's containers are behind br0 here, another bridge's behind eth1."""
    here = {"docker0": "br0", "br-a": "eth1", "172.17.0.": "10.3.0.", "10.3.0.0/16": "10.3.0.0/24"}
    native = (SAMPLES / f"{name}.nft").read_text()
    for there, replaced in here.items():
        native = native.replace(there, replaced)
    counted = "".join(map(_with_counter, native.splitlines(keepends=True)))
    more = [
        Shot.of(Packet.of("10.1.0.2", "10.1.0.1", "tcp", dport=8080, sport=2000), "eth0"),
        Shot.of(Packet.of("10.3.0.2", "10.1.0.2", "tcp", dport=2000, sport=80, tcp_flags=SYN | ACK), "p1"),
        Shot.of(Packet.of("10.1.0.2", "10.3.0.2", "tcp", dport=80, sport=2001), "eth0"),
        Shot.of(Packet.of("10.1.0.2", "10.3.0.4", "tcp", dport=80, sport=2002), "eth0"),
        Shot.of(Packet.of("10.1.0.2", "10.3.0.3", "udp", dport=80, sport=2003), "eth0"),
        Shot.of(Packet.of("10.2.0.2", "10.3.0.3", "udp", dport=80, sport=2004), "eth1"),
        Shot.of(Packet.of("10.3.0.2", "10.2.0.2", "udp", dport=80, sport=2005), "p1"),
        Shot.of(Packet.of("10.3.0.2", "10.12.0.2", "tcp", dport=443, sport=2006), "p1"),
        Shot.of(Packet.of("10.3.0.1", "10.3.0.2", "tcp", dport=80, sport=2007)),
        Shot.of(Packet.of("10.3.0.1", "10.1.0.1", "tcp", dport=8080, sport=2008)),
        Shot.of(Packet.of("10.3.0.2", "10.3.0.15", "udp", dport=80, sport=2009), "p1", "p2"),
    ]
    judged(stand, version, counted, more_shots=more if version == 4 else ())


def _with_counter(line: str) -> str:
    """A line of a sample with a counter before its verdict, where it is a rule without one."""
    if any(word in line for word in (" counter", "policy", " vmap ", " : ")) or not line.startswith("\t\t"):
        return line
    return re.sub(r"\b(accept|drop|jump|goto|reject|masquerade)\b", r"counter \1", line, count=1)


SEEDS = 24


@pytest.mark.parametrize("version", [4, 6])
def test_random_rules(stand: NftStand, version: int) -> None:
    """Drawn rules and drawn packets. A failure prints the seed's rules, the packets and what differs."""
    family = "ipv4" if version == 4 else "ipv6"
    refused = 0
    for seed in range(SEEDS):
        native = draw(seed)
        case = NftCase(Ruleset(family), (), native=native)
        try:
            told = Told(case, stand.prepare(case))
        except FirewallError:
            refused += 1  # nft knows more of what goes together than the one who drew it
            continue
        maker = PacketMaker(NativeEdges(family, native), told, seed)  # type: ignore[arg-type]
        maker.make(30)
        told.sightings = maker.sightings
        case = replace(case, shots=tuple(maker.shots))
        differences = stand.compare(case, told)
        packets = [f"packet {number}: {shot}" for number, shot in enumerate(case.shots)]
        assert not differences, "\n".join([f"seed {seed}, IPv{version}", native, *packets, *differences])
    assert refused <= SEEDS // 4


@dataclass
class NativeEdges:
    """As much of a ruleset as says where packets are interesting."""

    family: str
    text: str

    def rules(self) -> Iterator[tuple[None, str]]:
        for line in self.text.splitlines():
            yield None, re.sub("[{};,:]+(?= )|[{};,]", " ", line)
