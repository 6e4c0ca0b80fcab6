"""Neighbours that a twin is given before a large question, as `kernel/build.py` gives them to a lab.

The kernel's neighbour table is one for the whole machine and holds 1,024 entries by default (gc_thresh3,
arp(7)); permanent entries are exempt. Whoever shares a link is told everybody else's addresses and MACs
there. Where frames are filtered (nftables of the families bridge, netdev and arp) or a device stands on
another (macvlan), who hears whom is part of the question, and nobody is told anything; and nobody is told
what rules hide that stop neighbour discovery.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fcntl import ioctl
from functools import partial
from struct import pack, unpack_from

from netverify.dataplane.packet import Address
from netverify.dataplane.view import LOOPBACK, HostView, Link
from netverify.dataplane.world import Plug, Wire, World
from netverify.kernel import netlink
from netverify.kernel.build import NEIGHBOURS_LEFT_TO_THE_KERNEL
from netverify.kernel.lab import Lab
from netverify.kernel.netlink import Request
from netverify.kernel.twin_names import nameable

SIOCGIFHWADDR = 0x8927  # include/uapi/linux/sockios.h
ARPHRD_ETHER = 1
FRAMES = frozenset({"bridge", "netdev", "arp"})
"""The families of nftables that can stop a question for a neighbour."""


@dataclass(frozen=True)
class _Member:
    """A device with addresses on a link that is shared with others."""

    node: str
    link: Link


def introduce(lab: Lab, world: World, pairs: int) -> None:
    """Before a question about many pairs: give everybody the neighbours on its links, once."""
    if lab.introduced or pairs <= NEIGHBOURS_LEFT_TO_THE_KERNEL:
        return
    lab.introduced = True
    views, wires = nameable({name: stack.view for name, stack in world.stacks.items()}, world.wires)
    macs = _macs(lab, views)
    asked = World(views.values(), wires)
    for members in _links(views, wires):
        _tell(lab, members, macs, asked)
    lab.flush()


def heard_on(world: World, node: str, device: str) -> dict[Address, Plug]:
    """The addresses of everybody on the link of a device, itself left out, with the device that has each."""
    views, wires = nameable({name: stack.view for name, stack in world.stacks.items()}, world.wires)
    for members in _links(views, wires, filtered=True):
        plugs = {(member.node, member.link.name) for member in members}
        if (node, device) in plugs:
            return {
                own.ip: (member.node, member.link.name)
                for member in members
                if (member.node, member.link.name) != (node, device)
                for own in member.link.addresses
            }
    return {}


def mac_of(lab: Lab, world: World, node: str, device: str, address: Address) -> bytes | None:
    """The Ethernet address of whoever has an address on the link of a device; None where nobody has it."""
    plug = heard_on(world, node, device).get(address)
    if plug is None:
        return None
    found = lab.visitor.visit(lab.namespace(plug[0]), partial(_macs_here, [plug[1]])).get(plug[1])
    return None if found is None else bytes.fromhex(found.replace(":", ""))


def _tell(lab: Lab, members: Iterable[_Member], macs: Mapping[Plug, str], asked: World) -> None:
    known = [
        (member, _entries(member, macs[member.node, member.link.name]))
        for member in members
        if (member.node, member.link.name) in macs
    ]
    for member, own in known:
        index = lab.plan.device(member.node, member.link.name)
        versions = {address.version for address in member.link.addresses}
        lab.plan.settings[member.node] += [
            netlink.same_neighbour(request, index)
            for _other, theirs in known
            if theirs is not own
            for address, request in theirs
            if address.version in versions
            and (address.version == 4 or asked.learns(member.node, member.link.name, address))
        ]


def _entries(member: _Member, mac: str) -> list[tuple[Address, Request]]:
    return [(a.ip, netlink.add_neighbour(0, a.ip, mac)) for a in member.link.addresses]


def _links(
    views: Mapping[str, HostView], wires: Iterable[Wire], *, filtered: bool = False
) -> Iterator[list[_Member]]:
    """The devices with addresses that are on one link, over wires and bridges.

    With `filtered` also links on which not everybody hears everybody.
    """
    above: dict[Plug, Plug] = {}

    def top(plug: Plug) -> Plug:
        while (parent := above.get(plug, plug)) != plug:
            plug = parent
        return plug

    closed: set[Plug] = set()
    for wire in wires:
        first, *others = sorted(wire.plugs)
        for other in others:
            above[top(other)] = top(first)
        if wire.apart:
            closed.add(first)
    for view in views.values():
        for link in view.links:
            if link.master is not None:
                above[top((view.name, link.name))] = top((view.name, link.master))
                if any(table.family in FRAMES for table in view.nft.tables):
                    closed.add((view.name, link.name))
    shut = {top(plug) for plug in closed}
    groups: dict[Plug, list[_Member]] = {}
    for view in views.values():
        for link in view.links:
            if link.up and link.addresses and link.master is None and link.name != LOOPBACK:
                root = top((view.name, link.name))
                if filtered or root not in shut:
                    groups.setdefault(root, []).append(_Member(view.name, link))
    return (members for members in groups.values() if len(members) > 1)


def _macs(lab: Lab, views: Mapping[str, HostView]) -> dict[Plug, str]:
    """The MAC address that each Ethernet device of the twin has."""
    wanted = {
        view.name: [link.name for link in view.links if link.up and link.addresses and link.master is None]
        for view in views.values()
    }
    spaces = [(lab.namespace(node), partial(_macs_here, names)) for node, names in wanted.items()]
    return {
        (node, device): mac
        for node, found in zip(wanted, lab.visitor.visit_all(spaces), strict=True)
        for device, mac in found.items()
    }


def _macs_here(devices: Iterable[str]) -> dict[str, str]:
    """Those of the namespace that the calling thread is in (netdevice(7)); what is not there has none."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for device in devices:
            try:
                answer = ioctl(control, SIOCGIFHWADDR, pack("16s24x", device.encode()))
            except OSError:
                continue
            if unpack_from("=H", answer, 16)[0] == ARPHRD_ETHER:
                found[device] = answer[18:24].hex(":")
    return found
