"""Names that the kernel takes for devices, where the model has invented longer ones.

The model names ports that nobody saw after what hangs on them; the kernel takes 15 bytes (IFNAMSIZ,
include/uapi/linux/if.h). Only such invented names can be longer, so no rule and no route speaks of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count

from netverify.dataplane.view import HostView
from netverify.dataplane.world import Plug, Wire

MOST_BYTES = 15


def nameable(
    views: Mapping[str, HostView], wires: Iterable[Wire]
) -> tuple[dict[str, HostView], tuple[Wire, ...]]:
    """The same hosts and wires, with a short name for each device whose name is too long."""
    new: dict[Plug, str] = {}
    for view in views.values():
        taken = {link.name for link in view.links}
        spare = (f"port{number}" for number in count(1))
        for link in view.links:
            if len(link.name.encode()) > MOST_BYTES:
                new[view.name, link.name] = next(name for name in spare if name not in taken)
    if not new:
        return dict(views), tuple(wires)
    renamed = {
        node: replace(
            view,
            links=tuple(replace(link, name=new.get((node, link.name), link.name)) for link in view.links),
        )
        for node, view in views.items()
    }

    def plug(old: Plug) -> Plug:
        return old[0], new.get(old, old[1])

    return renamed, tuple(
        Wire(frozenset(map(plug, wire.plugs)), frozenset((plug(a), plug(b)) for a, b in wire.apart))
        for wire in wires
    )
