"""Rulesets whose size is chosen, for the benchmarks that ask the rules and not the kernel.

`docker_host(512)` is a Docker 27 host with 512 networks: 9,735 rules, and some pairs of bridges that somebody
let through in DOCKER-USER. `server_rules(5000)` is the filter table of a server or a router whose rules grew
for years. Both are always the same for the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, ip_network

from netverify.dataplane import HostView, Link, Route
from netverify.docker import BridgeNetwork, DockerHost, PublishedPort, rules
from netverify.ruleset import Rule, Ruleset

UPLINK = "eth0"
PUBLISHED = 3  # ports of each network
FORWARDING: Mapping[str, str] = {"net.ipv4.ip_forward": "1"}


def bridge_name(number: int) -> str:
    """The device of network `number`, as Docker names them by their identifier."""
    return f"br-{number:012x}"


def subnet(number: int) -> IPv4Network:
    """The addresses of network `number`; it holds one container, at .2."""
    return IPv4Network(((10 << 24) + (number << 8), 24))


def docker_rules(bridges: int, *, exceptions: bool = True) -> Ruleset:
    """What Docker 27 writes for so many networks, and exceptions by hand: 19 rules a network, and 7 more.

    Each network publishes three ports, so that request and reply cross destination translation; each bridge
    may ask port 5432 of another, by two rules in DOCKER-USER (none without `exceptions`).
    """
    networks = tuple(BridgeNetwork(f"net{i}", bridge_name(i), subnet(i)) for i in range(bridges))
    published = tuple(
        PublishedPort(f"net{i}", subnet(i)[2], 80 + j, 10000 + PUBLISHED * i + j, "udp" if j == 2 else "tcp")
        for i in range(bridges)
        for j in range(PUBLISHED)
    )
    written, _ipv6 = rules(DockerHost("27.5.1", networks, published, forward_policy="DROP"))
    by_hand = tuple(_exceptions(bridges)) if exceptions else ()
    chain = written.chain("filter", "DOCKER-USER")
    return written.with_chain("filter", replace(chain, rules=(*by_hand, *chain.rules)))


def _exceptions(bridges: int) -> Iterator[Rule]:
    """Each bridge may ask another one, and be answered; every eighth forgot the answer, and asks a third."""
    for number in range(bridges):
        first, second = (bridge_name((number + step) % bridges) for step in (37, 74))
        own, service = bridge_name(number), "-p tcp -m tcp --dport 5432"
        answer = "-p tcp -m tcp --sport 5432 -m conntrack --ctstate ESTABLISHED"
        yield Rule.parse(f"-i {own} -o {first} {service} -j ACCEPT", chain="DOCKER-USER")
        if number % 8:
            yield Rule.parse(f"-i {first} -o {own} {answer} -j ACCEPT", chain="DOCKER-USER")
        else:
            yield Rule.parse(f"-i {own} -o {second} {service} -j ACCEPT", chain="DOCKER-USER")


def docker_host(bridges: int, *, exceptions: bool = True) -> HostView:
    """The host of `docker_rules`: its bridges, an uplink, and a way to everywhere else."""
    links = (
        Link.of("lo", "127.0.0.1/8"),
        Link.of(UPLINK, "192.0.2.1/24"),
        *(Link.of(bridge_name(i), f"{subnet(i)[1]}/24", is_bridge=True) for i in range(bridges)),
    )
    way_out = Route(IPv4Network("0.0.0.0/0"), via=IPv4Network("192.0.2.254/32")[0], device=UPLINK)
    return HostView(
        "docker", links, (way_out,), sysctls=FORWARDING, ipv4=docker_rules(bridges, exceptions=exceptions)
    ).with_connected_routes()


# --- servers ---------------------------------------------------------------------------------------

_TOP = 900  # rules of a chain, at most: administrators sort long lists by what they are about
_SERVICES = (22, 25, 53, 80, 110, 143, 443, 465, 587, 993, 995, 3306, 5432, 8080, 8443)


def server_rules(size: int, *, seed: int = 1) -> Ruleset:
    """A filter table of `size` rules: state first, black lists, services for networks, a few odd ones."""
    draw = random.Random(seed)
    chains: dict[str, list[str]] = {"INPUT": [], "FORWARD": []}
    for chain in ("INPUT", "FORWARD"):
        chains[chain] = [
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-m conntrack --ctstate INVALID -j DROP",
            "-p icmp -m icmp --icmp-type 8 -j ACCEPT",
        ]
    parts = max(2, -(-size // _TOP))
    makers = (_blocked, _service, _service, _odd)
    left = size - 6 - parts
    for part in range(parts):
        count = left // (parts - part)
        left -= count
        name = f"PART-{part}"
        chains[name] = [makers[part % len(makers)](draw) for _ in range(count)]
        chains["INPUT" if part % 3 == 0 else "FORWARD"].append(f"-j {name}")
    head = "".join(f":{name} {'DROP' if name in ('INPUT', 'FORWARD') else '-'} [0:0]\n" for name in chains)
    body = "".join(f"-A {name} {rule}\n" for name, held in chains.items() for rule in held)
    return Ruleset.parse(f"*filter\n{head}{body}COMMIT\n")


def server_host(size: int, *, seed: int = 1) -> HostView:
    """The host of `server_rules`: a router between six networks and an uplink."""
    links = (
        Link.of("lo", "127.0.0.1/8"),
        Link.of(UPLINK, "192.0.2.1/24"),
        *(Link.of(f"eth{i}", f"10.{i}.0.1/16") for i in range(1, 7)),
    )
    view = HostView("server", links, sysctls=FORWARDING, ipv4=server_rules(size, seed=seed))
    return view.with_connected_routes()


def _network(draw: random.Random, lengths: tuple[int, ...]) -> str:
    number = draw.randrange(1 << 32)
    return str(ip_network((number, draw.choice(lengths)), strict=False))


def _inside(draw: random.Random) -> str:
    return f"10.{draw.randrange(1, 7)}.{draw.randrange(64)}.{draw.randrange(1, 255)}/32"


def _blocked(draw: random.Random) -> str:
    return f"-s {_network(draw, (16, 22, 24, 24, 32, 32, 32))} -j DROP"


def _service(draw: random.Random) -> str:
    protocol = draw.choice(("tcp", "tcp", "tcp", "udp"))
    source = f"-s {_network(draw, (8, 16, 24, 32))} " if draw.random() < 0.4 else ""
    port = draw.choice(_SERVICES) if draw.random() < 0.8 else draw.randrange(1, 65536)
    return f"{source}-d {_inside(draw)} -p {protocol} -m {protocol} --dport {port} -j ACCEPT"


def _odd(draw: random.Random) -> str:
    low = draw.randrange(1024, 60000)
    return draw.choice(
        (
            f"-i eth{draw.randrange(1, 7)} -d {_inside(draw)} -p tcp -m multiport --dports 80,443 -j ACCEPT",
            f"-d {_inside(draw)} -p udp -m udp --dport {low}:{low + draw.randrange(1, 2000)} -j ACCEPT",
            f"-s {_inside(draw)} ! -o eth{draw.randrange(1, 7)} -j REJECT",
            f"-s {_inside(draw)} -d {_network(draw, (8, 16, 24))} -p tcp -m tcp --sport 1024:65535 -j ACCEPT",
        )
    )
