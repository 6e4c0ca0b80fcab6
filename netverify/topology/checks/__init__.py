"""What must hold for a topology as a whole: each rule is one function, and `check` applies them in order.

A rule may rely on those before it. Errors carry the path that the value has in a topology file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from netverify.topology.checks import media, namespaces, references

if TYPE_CHECKING:
    from netverify.topology.model import Topology

RULES: Final[tuple[Callable[[Topology], None], ...]] = (
    references.names,
    references.host_interfaces,
    references.networks,
    references.containers,
    references.shared_namespaces,
    references.cables,
    namespaces.devices,
    media.parents,
    media.overlays,
    media.addresses_on_networks,
    media.addresses_on_segments,
    namespaces.routes,
    namespaces.published_ports,
    namespaces.services,
)


def check(topology: Topology) -> None:
    """Raise TopologyError for the first rule that `topology` breaks."""
    for rule in RULES:
        rule(topology)
