"""What each match of a rule means, as a condition. One table, from extension and option to a function.

Sources: iptables-extensions(8) and net/netfilter/xt_*.c, net/ipv{4,6}/netfilter/*.c of Linux 6.x. A match or
an option that has no entry here becomes an unknown; nothing is guessed and nothing dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from netverify.dataplane.condition import (
    ALWAYS,
    NEVER,
    AnyOf,
    Condition,
    Masked,
    Named,
    Not,
    Unknown,
    Within,
    all_of,
    equals,
    negated_if,
)
from netverify.dataplane.packet import ICMP, ICMPV6, PROTOCOL_NUMBERS, SCTP, TCP, UDP, State
from netverify.dataplane.view import HostView
from netverify.ruleset import Match, Option, Rule
from netverify.ruleset.rule_writer import render_match


@dataclass(frozen=True, slots=True)
class Context:
    """Where a match stands: family, host and the rule's place (for unknowns that are a rule's own)."""

    version: int
    host: HostView
    place: str = ""


class NotModelled(Exception):
    """An option or a value that has no meaning here; it becomes an unknown and never leaves this module."""


Meaning = Callable[[Option, Match, Context], Condition]
