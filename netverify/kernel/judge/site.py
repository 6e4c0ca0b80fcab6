"""The judged host: a router with two cards and a bridge, and nobody else who could say anything.

    eth0   10.1.0.1/24   fd00:1::1/64     the clients' side
    eth1   10.2.0.1/24   fd00:2::1/64     the servers' side
    br0    10.3.0.1/24   fd00:3::1/64     a bridge with br_netfilter, ports p1 and p2

Its neighbours are addresses without hosts: permanent entries of its neighbour table, each with a MAC address
of its own, behind cables whose far ends only packet sockets hold. So nothing ever answers by itself, asks for
a neighbour, or repeats a segment; what comes out is the judged host's doing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from types import MappingProxyType

from netverify.dataplane.packet import Address
from netverify.dataplane.view import DEFAULT_RULES, LOOPBACK, HostView, Link, Route, RoutingRule
from netverify.ruleset import Ruleset

HOST = "router"
CARDS: Mapping[str, int] = MappingProxyType({"br0": 3, "eth0": 1, "eth1": 2})
"""Devices with addresses, as they are made, and the number that stands for each in IP and MAC addresses."""
BRIDGE = "br0"
PORTS: Mapping[str, int] = MappingProxyType({"p1": 4, "p2": 5})
CABLES = ("eth0", "eth1", *PORTS)
"""The devices that have a far end, where frames go in and come out."""

FIRST_NEIGHBOUR, LAST_NEIGHBOUR, FIRST_ON_P2 = 2, 31, 12
NEIGHBOURS = range(FIRST_NEIGHBOUR, LAST_NEIGHBOUR + 1)
MARKED_TABLE, MARK, MARK_MASK = 100, 0x10, 0x10

ONCE = range(int(IPv4Address("10.11.128.0")), int(IPv4Address("10.11.255.0")))
"""Sources behind eth0 that are so many that none is used often: some errors come five times to each."""

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "net.ipv4.ip_forward": "1",
        "net.ipv6.conf.all.forwarding": "1",
        "net.bridge.bridge-nf-call-iptables": "1",
        "net.bridge.bridge-nf-call-ip6tables": "1",
    }
)
"""What the judged host's sysctls are, where a case does not say otherwise."""

ROUTES: Mapping[int, tuple[Route, ...]] = MappingProxyType(
    {
        4: (
            Route(ip_network("10.11.0.0/16"), ip_address("10.1.0.2"), "eth0"),
            Route(ip_network("10.12.0.0/16"), ip_address("10.2.0.2"), "eth1"),
            Route(ip_network("10.12.7.0/24"), ip_address("10.2.0.3"), "eth1"),
            Route(ip_network("10.13.0.0/16"), ip_address("10.3.0.2"), "br0"),
            Route(ip_network("10.8.1.0/24"), kind="blackhole"),
            Route(ip_network("10.8.2.0/24"), kind="unreachable"),
            Route(ip_network("10.8.3.0/24"), kind="prohibit"),
            Route(ip_network("10.11.0.0/16"), ip_address("10.2.0.4"), "eth1", table=MARKED_TABLE),
        ),
        6: (
            Route(ip_network("fd00:11::/32"), ip_address("fd00:1::2"), "eth0"),
            Route(ip_network("fd00:12::/32"), ip_address("fd00:2::2"), "eth1"),
            Route(ip_network("fd00:12:7::/48"), ip_address("fd00:2::3"), "eth1"),
            Route(ip_network("fd00:13::/32"), ip_address("fd00:3::2"), "br0"),
            Route(ip_network("fd00:8:1::/48"), kind="blackhole"),
            Route(ip_network("fd00:8:2::/48"), kind="unreachable"),
            Route(ip_network("fd00:8:3::/48"), kind="prohibit"),
            Route(ip_network("fd00:11::/32"), ip_address("fd00:2::4"), "eth1", table=MARKED_TABLE),
        ),
    }
)
RULES: Mapping[int, tuple[RoutingRule, ...]] = MappingProxyType(
    {4: (*DEFAULT_RULES, RoutingRule(100, MARKED_TABLE, mark=MARK, mark_mask=MARK_MASK)), 6: DEFAULT_RULES}
)
"""Marks choose the way in IPv4 alone: with such rules the model says nothing of IPv6's address types."""


def own_address(card: str, version: int) -> Address:
    """The judged host's address on a card."""
    return neighbour(card, 1, version)


def neighbour(card: str, number: int, version: int) -> Address:
    """The address of a card's neighbour."""
    if version == 4:
        return IPv4Address(f"10.{CARDS[card]}.0.{number}")
    return IPv6Address(f"fd00:{CARDS[card]}::{number:x}")


def card_of(address: Address) -> tuple[str, int] | None:
    """The card on whose subnet an address is, and its number there; None for one of no subnet."""
    for card in CARDS:
        network = ip_network((own_address(card, address.version), 24 if address.version == 4 else 64), False)
        if address in network:
            return card, int(address) - int(network.network_address)
    return None


def is_silent(address: Address) -> bool:
    """Whether an address is on a subnet without being anybody's: the kernel would ask for it in vain."""
    found = card_of(address)
    return found is not None and found[1] != 1 and found[1] not in NEIGHBOURS


def card_mac(device: str) -> int:
    """The MAC address of a device of the judged host."""
    return 0x020000000000 | (CARDS.get(device) or PORTS[device])


def neighbour_mac(card: str, number: int) -> int:
    """The MAC address of a card's neighbour, the same for IPv4 and IPv6."""
    return 0x020000010000 | CARDS[card] << 8 | number


def mac_of(address: Address) -> int | None:
    """The MAC address of a neighbour by its IP address."""
    found = card_of(address)
    return None if found is None else neighbour_mac(*found)


def port_of(number: int) -> str:
    """The port of the bridge behind which a neighbour is."""
    return "p1" if number < FIRST_ON_P2 else "p2"


def mac_text(number: int) -> str:
    """A MAC address as people write it."""
    return ":".join(f"{byte:02x}" for byte in number.to_bytes(6, "big"))


def view(rules: Ruleset, settings: Mapping[str, str] | None = None, *, legacy: bool = False) -> HostView:
    """The judged host as the model's facts, with rules of one family in one backend."""
    links = [
        Link(LOOPBACK, (ip_interface("127.0.0.1/8"), ip_interface("::1/128"))),
        *(
            Link(
                card,
                (
                    ip_interface(f"{own_address(card, 4)}/24"),
                    ip_interface(f"{own_address(card, 6)}/64"),
                ),
                is_bridge=card == BRIDGE,
                mac=card_mac(card),
            )
            for card in CARDS
        ),
        *(Link(port, master=BRIDGE, mac=card_mac(port)) for port in PORTS),
    ]
    host = HostView(
        HOST,
        tuple(links),
        (*ROUTES[4], *ROUTES[6]),
        RULES[4 if rules.family == "ipv4" else 6],
        {**SETTINGS, **(settings or {})},
    ).with_connected_routes()
    if legacy:
        return replace(host, legacy=(rules,))
    return replace(host, ipv4=rules) if rules.family == "ipv4" else replace(host, ipv6=rules)
