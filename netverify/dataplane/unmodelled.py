"""Native chains of the families bridge and netdev, which are not modelled: each may stop a packet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.hooks import opaque
from netverify.dataplane.packet import Packet
from netverify.dataplane.view import HostView


@dataclass(frozen=True)
class Asked:
    """The unknowns that were asked, and, where one of them was assumed to stop the packet, which."""

    assumed: Mapping[str, bool] = field(default_factory=dict)
    reason: str = ""


def ways_out(view: HostView, device: str) -> Iterator[tuple[str, str]]:
    """The families and hooks on the way out of a device; out of a bridge there are those of its family."""
    yield "netdev", "egress"
    if view.link(device).is_bridge:
        yield "bridge", "output"
        yield "bridge", "postrouting"


def refused_by(
    view: HostView,
    hooks: Iterable[tuple[str, str]],
    device: str,
    packet: Packet,
    assume: Mapping[str, bool],
) -> Asked:
    """Ask for each chain at some hooks of a device whether it lets a packet pass."""
    algebra = OnePacket(packet, assume)
    for family, hook in hooks:
        for stage in opaque(view, family, hook, device):
            if stage.unknown is not None and not algebra.satisfying(stage.unknown):
                return Asked(algebra.assumed, f"assumed not: {stage.unknown.name}")
    return Asked(algebra.assumed)
