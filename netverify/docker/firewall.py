"""What every generation of rules must be able to write, and which writer belongs to which generation.

The cut is that of moby's own firewaller package (daemon/libnetwork/drivers/bridge/internal/firewaller):
a writer is made for one address family of one host and answers each event with the steps that the engine
takes. A new generation is a row in `version.GENERATIONS`, a class with these methods, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from netverify.docker.binding import Binding
from netverify.docker.classic import ClassicFirewaller
from netverify.docker.config import BridgeNetwork, DockerHost
from netverify.docker.step import Step
from netverify.docker.version import CLASSIC, Generation, generation_of
from netverify.ruleset import Family


class Firewaller(Protocol):
    """The steps of one engine on one address family's packet filter, event by event."""

    def start(self, *, again: bool) -> Iterable[Step]:
        """The daemon starts: old chains go, new ones come, FORWARD gets its policy.

        `again` says that it ran before on this host since boot.
        """
        ...

    def add_network(self, network: BridgeNetwork) -> Iterable[Step]:
        """A network is created, or restored after a start."""
        ...

    def remove_network(self, network: BridgeNetwork) -> Iterable[Step]:
        """A network is removed."""
        ...

    def add_binding(self, binding: Binding) -> Iterable[Step]:
        """A container starts that publishes a port."""
        ...

    def remove_binding(self, binding: Binding) -> Iterable[Step]:
        """A container stops that published a port."""
        ...


_FIREWALLERS: Mapping[Generation, Callable[[DockerHost, Family], Firewaller]] = {
    CLASSIC: ClassicFirewaller,
}


def firewaller(host: DockerHost, family: Family) -> Firewaller:
    """The writer of the host's generation of rules, for one address family."""
    return _FIREWALLERS[generation_of(host.engine)](host, family)
