"""A daemon's life on a host, and the rules that it leaves: networks come, ports open, daemons restart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from netverify.docker.binding import Binding, bindings
from netverify.docker.config import BridgeNetwork, DockerHost, PublishedPort
from netverify.docker.errors import DockerError
from netverify.docker.firewall import Firewaller, firewaller
from netverify.docker.step import Step, play
from netverify.ruleset import Ruleset

NO_RULES4 = Ruleset("ipv4")
NO_RULES6 = Ruleset("ipv6")


def rules(host: DockerHost) -> tuple[Ruleset, Ruleset]:
    """The rules (IPv4, IPv6) on a host whose daemon has just set up these networks and ports, in this order.

    A family that the daemon does not filter has no tables.
    """
    daemon = Daemon.started(host)
    return daemon.ipv4, daemon.ipv6


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon: what it was told, and both families' rules as they stand in the kernel now.

    Every method returns the daemon after the event; nothing is changed in place.
    """

    host: DockerHost
    ipv4: Ruleset = NO_RULES4
    ipv6: Ruleset = NO_RULES6

    @classmethod
    def started(cls, host: DockerHost, *, ipv4: Ruleset = NO_RULES4, ipv6: Ruleset = NO_RULES6) -> Daemon:
        """A daemon that finds these rules in the kernel, and then sets up its networks and ports."""

        def steps(writer: Firewaller) -> Iterator[Step]:
            yield from writer.start(again=False)
            for network in host.networks:
                yield from writer.add_network(network)
            for binding in bindings(host):
                yield from writer.add_binding(binding)

        return _play(cls(host, ipv4, ipv6), steps, host)

    def restarted(self, networks: Sequence[str] = ()) -> Daemon:
        """The daemon stopped, started again, and started its containers again.

        `networks` is the order in which it restores its networks, by name; the engine reads them from a
        table without an order, so any may happen. Left out, the order is as before. The default bridge
        is restored like the others, then removed and made anew, and so always comes last. Options that
        changed in between are those of `host`: `replace(daemon, host=...).restarted()`.

        Sources: moby libnetwork/drivers/bridge/bridge_store.go (populateNetworks), libnetwork/datastore/
        cache.go (list: ranges over a map), daemon/daemon_unix.go (initNetworkController).
        """
        names = [network.name for network in self.host.networks]
        order = list(networks) or names
        if sorted(order) != sorted(names):
            raise DockerError(f"a restart restores {', '.join(names)}, each once, and not {', '.join(order)}")
        restored = [self.host.network(name) for name in order]
        default = [network for network in restored if network.default]
        others = [network for network in restored if not network.default]
        host = replace(self.host, networks=(*others, *default))

        def steps(writer: Firewaller) -> Iterator[Step]:
            yield from writer.start(again=True)
            for network in restored:
                yield from writer.add_network(network)
            for network in default:
                yield from writer.remove_network(network)
                yield from writer.add_network(network)
            for binding in bindings(host):
                yield from writer.add_binding(binding)

        return _play(self, steps, host)

    def with_network(self, network: BridgeNetwork) -> Daemon:
        """After `docker network create`."""
        host = replace(self.host, networks=(*self.host.networks, network))
        return _play(self, lambda writer: writer.add_network(network), host)

    def without_network(self, name: str) -> Daemon:
        """After `docker network rm`. Raises DockerError while a container publishes ports through it."""
        removed = self.host.network(name)
        users = [str(port) for port in self.host.published if port.network == name]
        if users:
            raise DockerError(f"network {name} is in use: {', '.join(users)}")
        host = replace(self.host, networks=tuple(one for one in self.host.networks if one != removed))
        return _play(self, lambda writer: writer.remove_network(removed), host)

    def with_ports(self, *ports: PublishedPort) -> Daemon:
        """After a container with these ports has started."""
        host = replace(self.host, published=(*self.host.published, *ports))
        added = bindings(replace(self.host, published=ports))
        return _play(self, lambda writer: _each(writer.add_binding, added), host)

    def without_ports(self, *ports: PublishedPort) -> Daemon:
        """After a container with these ports has stopped. Raises DockerError for ports not published."""
        for port in ports:
            if port not in self.host.published:
                raise DockerError(f"{port} is not published")
        host = replace(self.host, published=tuple(one for one in self.host.published if one not in ports))
        removed = bindings(replace(self.host, published=ports))
        return _play(self, lambda writer: _each(writer.remove_binding, removed), host)


def _play(before: Daemon, steps: Callable[[Firewaller], Iterable[Step]], host: DockerHost) -> Daemon:
    """The daemon after these steps on each family that it filters, and as that host from then on."""
    ipv4, ipv6 = before.ipv4, before.ipv6
    if host.iptables:
        ipv4 = play(ipv4, steps(firewaller(host, "ipv4")))
    if host.filters_ipv6:
        ipv6 = play(ipv6, steps(firewaller(host, "ipv6")))
    return Daemon(host, ipv4, ipv6)


def _each(event: Callable[[Binding], Iterable[Step]], of: Iterable[Binding]) -> Iterator[Step]:
    return (step for binding in of for step in event(binding))
