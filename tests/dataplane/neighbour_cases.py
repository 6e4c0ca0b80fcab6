"""Rules that stop neighbour discovery, and what then becomes of a ping: for the model and for the kernel.

a and b are on br0 of the host, which shows bridged packets to ip6tables; c is beyond its eth1.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from netverify.dataplane.view import HostView, Link, Route
from netverify.dataplane.world import Wire
from netverify.ruleset import Ruleset

ADDRESSES = {"a": "fd00:1::2", "b": "fd00:1::3", "c": "fd00:2::2", "host": "fd00:1::1"}
WIRES = tuple(
    Wire(frozenset({("host", port), (name, "eth0")}))
    for name, port in {"a": "port1", "b": "port2", "c": "eth1"}.items()
)
_SYSCTLS = {"net.ipv6.conf.all.forwarding": "1", "net.bridge.bridge-nf-call-ip6tables": "1"}


@dataclass(frozen=True)
class Case:
    """Rules of the filter table by host, and for some pairs what becomes of an echo request.

    `expected` are outcomes by (source, target), with "unanswered" where the request arrives and no answer
    comes back. `reasons` say what was stopped, where the neighbour was not found.
    """

    name: str
    rules: dict[str, str]
    expected: dict[tuple[str, str], str]
    reasons: dict[tuple[str, str], str]

    def views(self) -> tuple[HostView, ...]:
        """The four hosts."""
        links = (
            Link.of("lo", "::1/128"),
            Link.of("br0", "fd00:1::1/64", is_bridge=True),
            Link("port1", master="br0"),
            Link("port2", master="br0"),
            Link.of("eth1", "fd00:2::1/64"),
        )
        views = [HostView("host", links, sysctls=_SYSCTLS, ipv6=self._rules("host"))]
        for name in "abc":
            own = (Link.of("lo", "::1/128"), Link.of("eth0", f"{ADDRESSES[name]}/64"))
            gateway = ip_address(ADDRESSES[name].rpartition("::")[0] + "::1")
            way = Route(ip_network("::/0"), via=gateway, device="eth0")
            views.append(HostView(name, own, (way,), ipv6=self._rules(name)))
        return tuple(view.with_connected_routes() for view in views)

    def _rules(self, host: str) -> Ruleset:
        if host not in self.rules:
            return Ruleset("ipv6")
        return Ruleset.parse(f"*filter\n{self.rules[host]}\nCOMMIT\n", family="ipv6")


_QUESTION, _ANSWER = ("the question", "the answer")


def _case(name: str, rules: dict[str, str], **fates: str) -> Case:
    """`a_b="unreachable: what was stopped"`: from a to b."""
    pairs = {(key.partition("_")[0], key.partition("_")[2]): said for key, said in fates.items()}
    parted = {pair: said.partition(": ") for pair, said in pairs.items()}
    return Case(
        name,
        rules,
        {pair: outcome for pair, (outcome, _, _reason) in parted.items()},
        {pair: reason for pair, (_outcome, _, reason) in parted.items() if reason},
    )


CASES = (
    _case(
        "no rules",
        {},
        a_b="delivered", a_c="delivered", c_a="delivered", host_a="delivered", a_host="delivered",
    ),
    _case(
        "between ports of the bridge",
        {"host": "-A FORWARD -i br0 -o br0 -j DROP"},
        a_b="unreachable: fd00:1::3: the question is dropped by filter:FORWARD:rule:1",
        b_a="unreachable: fd00:1::2: the question is dropped by filter:FORWARD:rule:1",
        a_c="delivered", c_a="delivered", host_a="delivered", a_host="delivered",
    ),
    _case(  # as Docker seals internal networks until 25: the group of the solicited node is in no subnet
        "a subnet is spared",
        {"host": "-A FORWARD -i br0 ! -d fd00:1::/64 -j DROP"},
        a_b="unreachable: fd00:1::3: the question is dropped by filter:FORWARD:rule:1",
        a_c="filtered", c_a="unanswered", host_a="delivered", a_host="delivered",
    ),
    _case(  # who is asked learns who asks; b hears of nothing, its own kernel's errors included
        "questions are heard and answers are not",
        {
            "b": ":INPUT DROP [0:0]\n-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT\n"
            "-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT\n"
            "-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 129 -j ACCEPT"
        },
        a_b="delivered",
        b_a="filtered: fd00:1::2: the answer is dropped by filter:INPUT:policy on b",
        b_c="filtered: fd00:1::1: the answer is dropped by filter:INPUT:policy on b",
        host_b="delivered",
        # The host asks for what it forwards from its link-local address, so that b learns that alone.
        c_b="unanswered: fd00:1::1: the answer is dropped by filter:INPUT:policy on b",
    ),
    _case(  # what a router forwards waits for questions from its link-local address
        "questions of routers",
        {"b": "-A INPUT -s fe80::/10 -j DROP"},
        a_b="delivered", host_b="delivered",
        c_b="unreachable: fd00:1::3: the question is dropped by filter:INPUT:rule:1",
    ),
    _case(
        "a host that does not answer",
        {"host": "-A OUTPUT -p ipv6-icmp -m icmp6 --icmpv6-type 136 -j DROP"},
        a_b="delivered", host_a="delivered",
        a_host="unreachable: fd00:1::1: the answer is dropped by filter:OUTPUT:rule:1",
        c_a="unreachable: fd00:2::1: the answer is dropped by filter:OUTPUT:rule:1",
    ),
)  # fmt: skip
