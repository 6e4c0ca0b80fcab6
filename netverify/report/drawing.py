"""A topology as a plain-text drawing."""

from __future__ import annotations

from netverify.topology.model import Topology


def draw(topology: Topology) -> str:
    """The topology as text."""
    return "\n".join(str(node) for node in topology.nodes())
