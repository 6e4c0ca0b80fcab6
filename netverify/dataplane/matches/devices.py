"""Matches on the frame, the bridge and the socket around a packet: mac, pkttype, physdev, owner.

Sources: net/netfilter/xt_{mac,pkttype,physdev,owner}.c of Linux 6.x.
"""

from __future__ import annotations

from collections.abc import Mapping

from netverify.dataplane.condition import (
    All,
    AnyOf,
    Condition,
    Named,
    Not,
    Unknown,
    Within,
    all_of,
    equals,
    negated_if,
)
from netverify.dataplane.matches.header import device
from netverify.dataplane.matches.meaning import Context, Meaning, NotModelled, of_value, text_of
from netverify.dataplane.view import LOOPBACK
from netverify.ruleset import Match, Option

MOST_MAC, MOST_ID = (1 << 48) - 1, (1 << 32) - 1


def mac_number(text: str) -> int:
    """An Ethernet address as a number. Raises ValueError."""
    bytes_ = text.split(":")
    if len(bytes_) != 6:
        raise ValueError(text)
    return int("".join(f"{int(byte, 16):02x}" for byte in bytes_), 16)


ETHERNET = All((Within("mac", ((0, MOST_MAC),)), Not(Named("in_interface", LOOPBACK))))
"""The packet came in with an Ethernet header; lo's devices have another type (ARPHRD_LOOPBACK)."""


def _mac(option: Option, _match: Match, _context: Context) -> Condition:
    """The sender's Ethernet address; without an Ethernet header it never matches (xt_mac.c)."""
    tested = equals("mac", mac_number(option.value))
    return all_of((ETHERNET, negated_if(tested, option.negated)))


_PACKET_TYPES = {"unicast": 0, "host": 0, "broadcast": 1, "bcast": 1, "multicast": 2, "mcast": 2}


def _pkttype(value: str, _context: Context) -> Condition:
    if value.lower() not in _PACKET_TYPES:
        raise NotModelled
    return equals("pkttype", _PACKET_TYPES[value.lower()])


# --- physdev ---------------------------------------------------------------------------------------------

_PORT_IN, _PORT_OUT = Not(Named("physdev_in", "")), Not(Named("physdev_out", ""))
_BRIDGE_KNOWS = AnyOf((_PORT_IN, _PORT_OUT))
"""br_netfilter has told of a bridge that the packet came over (nf_bridge_info_exists)."""


def _port(field: str, value: str) -> Condition:
    present = Not(Named(field, ""))
    return present if value == "+" else All((present, device(field, value)))


def _physdev_in(option: Option, _match: Match, _context: Context) -> Condition:
    return negated_if(_port("physdev_in", option.value), option.negated)


def _physdev_out(option: Option, _match: Match, _context: Context) -> Condition:
    """A packet that is known to have come over a bridge and leaves by none fails, even negated."""
    if not option.negated:
        return _port("physdev_out", option.value)
    return All((Not(_port("physdev_out", option.value)), AnyOf((Not(_BRIDGE_KNOWS), _PORT_OUT))))


def _is(present: Condition) -> Meaning:
    return lambda option, _match, _context: negated_if(present, option.negated)


# --- owner -----------------------------------------------------------------------------------------------

HAS_SOCKET = Within("uid", ((0, MOST_ID),))


def _ids(value: str) -> tuple[tuple[int, int], ...]:
    """A user's or group's number, or a range of them; of names only root's number is the same everywhere."""
    if value == "root":
        return ((0, 0),)
    low, dash, high = value.partition("-")
    if not low.isdigit():
        raise NotModelled
    return ((int(low), int(high if dash else low)),)


def _owner(option: Option, match: Match, _context: Context) -> Condition:
    """The user or group of the local socket; a packet without one only passes negated tests (xt_owner.c)."""
    if option.name == "uid-owner":
        return negated_if(Within("uid", _ids(option.value)), option.negated)
    tested: Condition = All((HAS_SOCKET, Within("gid", _ids(option.value))))
    supplementary = match.option("suppl-groups")
    if supplementary is not None:
        text = text_of(Match(match.name, (Option(option.name, option.values), supplementary)))
        tested = AnyOf((tested, All((HAS_SOCKET, Unknown(text)))))
    return negated_if(tested, option.negated)


def _nothing_more(_option: Option, _match: Match, _context: Context) -> Condition:
    return All()


MEANINGS: Mapping[tuple[str, str], Meaning] = {
    ("mac", "mac-source"): _mac,
    ("pkttype", "pkt-type"): of_value(_pkttype),
    ("physdev", "physdev-in"): _physdev_in,
    ("physdev", "physdev-out"): _physdev_out,
    ("physdev", "physdev-is-in"): _is(_PORT_IN),
    ("physdev", "physdev-is-out"): _is(_PORT_OUT),
    # The kernel asks for the port that it leaves by, which it knows from FORWARD on.
    ("physdev", "physdev-is-bridged"): _is(_PORT_OUT),
    ("owner", "uid-owner"): _owner,
    ("owner", "gid-owner"): _owner,
    ("owner", "suppl-groups"): _nothing_more,
    ("owner", "socket-exists"): _is(HAS_SOCKET),
}
"""What (extension, option) tests."""
