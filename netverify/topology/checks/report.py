"""How the rules report what they find."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from netverify.topology.containers import Container
from netverify.topology.errors import Step, TopologyError, quoted
from netverify.topology.hosts import Host

if TYPE_CHECKING:
    from netverify.topology.model import Topology


def wrong(topology: Topology, path: Iterable[Step], problem: str, expected: str) -> NoReturn:
    """Raise TopologyError for the value that `path` leads to in a topology file."""
    raise TopologyError(f"topology {quoted(topology.name)}", tuple(path), problem, expected)


def node_path(node: Host | Container, *rest: Step) -> tuple[Step, ...]:
    """The path of a host or container, or of something in it."""
    return ("hosts" if isinstance(node, Host) else "containers", node.name, *rest)
