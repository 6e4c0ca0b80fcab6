"""What every generation of rules must be able to write, and which writer belongs to which generation.

The cut is that of moby's own firewaller package (daemon/libnetwork/drivers/bridge/internal/firewaller):
a writer is made for one address family of one host and answers each event with the steps that the engine
takes. A new generation is a row in `version.GENERATIONS` and a row here, and one in `layout.LAYOUTS` or a
class with these methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from netverify.docker.binding import Binding
from netverify.docker.classic import ClassicFirewaller
from netverify.docker.config import Attachment, BridgeNetwork, DockerHost, Link
from netverify.docker.default_drop import DefaultDropFirewaller
from netverify.docker.errors import UnsupportedEngine
from netverify.docker.layout import LAYOUTS
from netverify.docker.step import Step
from netverify.docker.version import CLASSIC, PAIRWISE, Generation
from netverify.ruleset import Family


class Firewaller(Protocol):
    """The steps of one engine on one address family's packet filter, event by event."""

    def start(self, *, again: bool) -> Iterable[Step]:
        """The daemon starts: old chains go, new ones come, FORWARD gets its policy.

        `again` says that it ran before on this host since boot.
        """
        ...

    def forward_policy(self, *, again: bool) -> Iterable[Step]:
        """FORWARD gets policy DROP, if this start or (`again`) a later one sets it."""
        ...

    def replay_chains(self) -> Iterable[Step]:
        """The chains and the jumps to them again, after somebody flushed them all (firewalld's reload)."""
        ...

    def user_chain(self) -> Iterable[Step]:
        """DOCKER-USER on top of FORWARD."""
        ...

    def add_network(self, network: BridgeNetwork) -> Iterable[Step]:
        """A network is created, or restored after a start."""
        ...

    def remove_network(self, network: BridgeNetwork) -> Iterable[Step]:
        """A network is removed."""
        ...

    def add_container(self, place: Attachment) -> Iterable[Step]:
        """A container starts, or joins one more network."""
        ...

    def remove_container(self, place: Attachment) -> Iterable[Step]:
        """A container stops, or leaves a network."""
        ...

    def add_link(self, link: Link) -> Iterable[Step]:
        """A container starts that was given a link."""
        ...

    def remove_link(self, link: Link) -> Iterable[Step]:
        """A container stops that was given a link."""
        ...

    def add_ingress(self) -> Iterable[Step]:
        """The swarm's routing mesh publishes its ports."""
        ...

    def add_binding(self, binding: Binding) -> Iterable[Step]:
        """A container starts that publishes a port."""
        ...

    def remove_binding(self, binding: Binding) -> Iterable[Step]:
        """A container stops that published a port."""
        ...


_FIREWALLERS: Mapping[Generation, Callable[[DockerHost, Family], Firewaller]] = {
    PAIRWISE: ClassicFirewaller,
    CLASSIC: ClassicFirewaller,
    **dict.fromkeys(LAYOUTS, DefaultDropFirewaller),
}


def firewaller(host: DockerHost, family: Family) -> Firewaller:
    """The writer of the host's generation of iptables rules, for one address family.

    Raises UnsupportedEngine for the nftables backend, which writes its tables in one piece: see `nft.py`.
    """
    if host.generation not in _FIREWALLERS:
        raise UnsupportedEngine(f"generation {host.generation.name} writes no iptables rules")
    return _FIREWALLERS[host.generation](host, family)
