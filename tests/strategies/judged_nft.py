"""Random native rulesets for the judged host, in nft's own language, drawn from a seed.

Every word of them is one that the model knows; what the kernel refuses at a hook is left out there. All rules
count, at a place that is drawn as well.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_PRIORITIES = (-400, -300, -250, -150, -101, -99, -50, 0, 0, 10, 99, 101, 200)

_ANYWHERE = (
    "ct state new", "ct state established,related", "ct state { new, invalid }", "ct state != new",
    "ct direction reply", "ct status dnat", "ct status snat", "ct mark 0", "ct mark & 0x3 != 0x1",
    "ct original proto-dst { 53, 80 }", "meta mark 0", "meta mark & 0x10 == 0x10",
    "meta mark { 0x1-0x5, 0x11 }", "meta mark != 0x2", "tcp dport 80", "tcp dport { 22, 80, 443 }",
    "tcp dport != 1024-2048", "tcp sport >= 1024", "tcp dport < 53", "udp dport 53",
    "udp dport { 53, 123, 1000-2000 }", "sctp dport 80", "meta l4proto { tcp, udp } th sport 1024-65535",
    "meta l4proto { tcp, sctp } th dport { 22, 80 }", "meta l4proto { tcp, udp }", "meta l4proto != tcp",
    "tcp flags syn", "tcp flags & (fin | syn | rst | ack) == syn", "tcp flags ! ack",
    "tcp flags { syn, ack }", "meta length > 100", "meta pkttype host", "meta nfproto ipv4",
    "meta nfproto ipv6", "ip dscp cs1", "ip6 dscp != cs1", "ip ttl < 64", "ip6 hoplimit 64",
    "icmp type echo-request", "icmpv6 type echo-request",
    "icmp type { echo-reply, destination-unreachable }",
    "icmpv6 type { echo-reply, destination-unreachable }", "iifname eth0", 'iifname "eth*"',
    'iifname != { "eth0", "lo" }', "iif lo", "iifname @cards", "ip saddr @hosts", "ip daddr != @hosts",
    "ip6 saddr @hosts6", "ip6 daddr != @hosts6", "meta l4proto { tcp, udp } ip daddr . th dport @services",
    "meta l4proto { tcp, sctp } ip6 daddr . th dport @services6",
)  # fmt: skip
_PROTOCOL_OF_CT = "ct original proto-dst"
_ADDRESSES = {
    "ip": ("10.1.0.0/24", "10.1.0.2", "10.2.0.0/24", "10.2.0.2-10.2.0.9", "10.3.0.0/16", "10.11.0.0/21",
           "10.12.7.9", "10.0.0.0/8", "{ 10.1.0.3, 10.12.7.0/24 }", "127.0.0.1"),
    "ip6": ("fd00:1::/64", "fd00:1::2", "fd00:2::/64", "fd00:2::2-fd00:2::9", "fd00:3::/48", "fd00:12:7::9",
            "fd00::/16", "{ fd00:1::3, fd00:12:7::/48 }", "::1"),
}  # fmt: skip
_BEFORE_LEAVING = ("fib daddr type local", "fib daddr type != local", "fib saddr type local")
_PREROUTING = ("fib saddr . iif oif missing", "fib saddr oif exists", "fib daddr . iif type local")
_LEAVING = (
    "oifname eth1",
    'oifname "eth*"',
    'oifname != "lo"',
    "oifname @cards",
    "meta skuid 0",
    "meta skuid != 0",
)
_WRITES = (
    "meta mark set 0x1", "meta mark set 0x12", "meta mark set meta mark or 0x4",
    "meta mark set meta mark and 0xfe", "meta mark set meta mark xor 0x3", "ct mark set 0x1",
    "ct mark set meta mark", "meta mark set ct mark", "ct mark set ct mark or 0x2",
    "meta mark set tcp dport map { 22 : 0x2, 80 : 0x3 }", "ip dscp set cs1", "ip6 dscp set cs2",
    "meta mark set ct mark and 0x1",
)  # fmt: skip
_REJECTS = (
    "reject", "reject with icmpx admin-prohibited", "reject with icmpx no-route", "reject with tcp reset",
    "reject with icmp type host-unreachable", "reject with icmpv6 type addr-unreachable",
)  # fmt: skip
_KEYS = (
    ("tcp dport", ("22", "80", "443", "1000-2000")),
    ("udp dport", ("53", "80", "1024-65535")),
    ("ct state", ("new", "established", "related", "invalid")),
    ("meta mark", ("0x0", "0x1", "0x2-0x5", "0x12")),
    ("meta l4proto", ("tcp", "udp", "icmp", "icmpv6")),
    ("iifname", ('"eth0"', '"br0"', '"lo"')),
)
_SETS = """
    set cards { type ifname; flags interval; elements = { "br*", "eth1" }; }
    set hosts { type ipv4_addr; flags interval; elements = { 10.1.0.2, 10.2.0.0/25, 10.3.0.3-10.3.0.12 }; }
    set hosts6 { type ipv6_addr; flags interval; elements = { fd00:1::2, fd00:2::/65, fd00:3::3-fd00:3::c }; }
    set services {
        type ipv4_addr . inet_service; flags interval; elements = { 10.2.0.0/24 . 80-443, 10.1.0.1 . 22 };
    }
    set services6 {
        type ipv6_addr . inet_service; flags interval; elements = { fd00:2::/64 . 80-443, fd00:1::1 . 22 };
    }
"""


@dataclass
class NativeMaker:
    """Draws one ruleset."""

    random: random.Random

    def make(self) -> str:
        """A table with base chains at some hooks, chains that they call, and perhaps translations."""
        callees = [f"user{number}" for number in range(self.random.randrange(4))]
        chains = [
            self._chain(name, "", self._rules("", callees[:number])) for number, name in enumerate(callees)
        ]
        for number in range(self.random.randrange(2, 6)):
            hook = self.random.choice(HOOKS)
            kind = "route" if hook == "output" and self.random.random() < 0.3 else "filter"
            policy = "drop" if self.random.random() < 0.1 else "accept"
            head = f"type {kind} hook {hook} priority {self.random.choice(_PRIORITIES)}; policy {policy};"
            chains.append(self._chain(f"base{number}", head, self._rules(hook, callees)))
        chains += [self._nat(number) for number in range(self.random.choice((0, 0, 1, 2)))]
        return "table inet drawn {\n" + _SETS + "".join(chains) + "}\n"

    def _chain(self, name: str, head: str, rules: list[str]) -> str:
        lines = [f"        {line}\n" for line in ([head] if head else []) + rules]
        return f"    chain {name} {{\n{''.join(lines)}    }}\n"

    def _rules(self, hook: str, callees: list[str]) -> list[str]:
        return [self._rule(hook, callees) for _ in range(self.random.randrange(1, 7))]

    def _rule(self, hook: str, callees: list[str]) -> str:
        while True:
            rule = self._any_rule(hook, callees)
            if _is_consistent(rule):
                return rule

    def _any_rule(self, hook: str, callees: list[str]) -> str:
        parts = [self._test(hook) for _ in range(self.random.choice((0, 1, 1, 1, 2, 2, 3)))]
        if self.random.random() < 0.25:
            parts.append(self.random.choice(_WRITES))
            if self.random.random() < 0.4:
                parts.append(self._test(hook))
        parts.insert(self.random.randrange(len(parts) + 1), "counter")
        parts.append(self._end(hook, callees))
        return " ".join(filter(None, parts))

    def _test(self, hook: str) -> str:
        choices = list(_ANYWHERE)
        for family, fields in (("ip", ("saddr", "daddr")), ("ip6", ("saddr", "daddr"))):
            negated = self.random.choice(("", "", "!= "))
            choices.append(
                f"{family} {self.random.choice(fields)} {negated}{self.random.choice(_ADDRESSES[family])}"
            )
        if hook in ("prerouting", "input", "forward", "output"):
            choices += _BEFORE_LEAVING
        if hook == "prerouting":
            choices += _PREROUTING
        if hook in ("output", "postrouting"):
            choices += _LEAVING
        if hook == "forward":
            choices += _LEAVING[:4]
        test = self.random.choice(choices)
        return f"meta l4proto {{ tcp, udp }} {test}" if test.startswith(_PROTOCOL_OF_CT) else test

    def _end(self, hook: str, callees: list[str]) -> str:
        ends = ["", "", "", "accept", "accept", "drop", "return", "continue"]
        ends += [self.random.choice(("jump", "goto")) + f" {callee}" for callee in callees]
        if hook in ("input", "forward", "output"):
            ends += self.random.sample(_REJECTS, 2)
        if self.random.random() < 0.25:
            return self._map(callees)
        return self.random.choice(ends)

    def _map(self, callees: list[str]) -> str:
        key, values = self.random.choice(_KEYS)
        verdicts = ["accept", "drop", "return", "continue", *(f"jump {c}" for c in callees)]
        chosen = self.random.sample(values, self.random.randrange(1, len(values) + 1))
        pairs = ", ".join(f"{value} : {self.random.choice(verdicts)}" for value in chosen)
        return f"{key} vmap {{ {pairs} }}"

    def _nat(self, number: int) -> str:
        hook = self.random.choice(("prerouting", "output", "postrouting", "input"))
        rules = []
        for _ in range(self.random.randrange(1, 5)):
            rule = ""
            while not rule or not _is_consistent(rule):
                rule = f"{self._test(hook)} counter {self.random.choice(list(_translations(hook)))}"
            rules.append(rule)
        priority = self.random.choice((-150, -100, -99, 0, 100, 101))
        return self._chain(f"nat{number}", f"type nat hook {hook} priority {priority}; policy accept;", rules)


def _translations(hook: str) -> Iterator[str]:
    yield "accept"
    if hook in ("prerouting", "output"):
        yield "dnat ip to 10.2.0.7"
        yield "dnat ip6 to fd00:2::7"
        yield "dnat ip to ip daddr map { 10.2.0.2 : 10.3.0.4, 10.1.0.1 : 10.2.0.8 }"
        yield "meta nfproto ipv4 meta l4proto tcp dnat ip to 10.2.0.7:8080"
        yield "meta l4proto { tcp, udp } redirect to :8000"
        yield "redirect"
    else:
        yield "snat ip to 10.2.0.18"
        yield "snat ip6 to fd00:2::18"
    if hook == "postrouting":
        yield 'oifname "eth*" masquerade'


_TRANSPORT = re.compile(r"\b(tcp|udp|sctp|icmp|icmpv6) (?:[sd]port|flags|type)")
_NETWORK = re.compile(r"\b(ip|ip6) (?:[sd]addr|dscp|ttl|hoplimit|to\b)")
_FAMILY = re.compile(r"meta nfproto (ipv[46])")
_CARRIERS = {"icmp": "ip", "icmpv6": "ip6"}


def _is_consistent(rule: str) -> bool:
    """Whether it asks for one protocol at each layer; nft refuses others."""
    transports = set(_TRANSPORT.findall(rule))
    networks = {name.replace("v4", "").replace("v", "") for name in _FAMILY.findall(rule)}
    networks |= set(_NETWORK.findall(rule)) | {_CARRIERS[name] for name in transports & _CARRIERS.keys()}
    if "icmp type" in rule.partition("reject")[2]:
        networks.add("ip")
    if "icmpv6 type" in rule.partition("reject")[2]:
        networks.add("ip6")
    if transports and "meta l4proto {" in rule:
        return False
    return len(transports) <= 1 and len(networks) <= 1 and not ("tcp reset" in rule and transports - {"tcp"})


def draw(seed: int) -> str:
    """The ruleset of a seed."""
    return NativeMaker(random.Random(seed)).make()
