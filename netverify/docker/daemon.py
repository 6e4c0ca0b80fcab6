"""A daemon's life on a host, and the rules that it leaves: networks come, ports open, daemons restart.

Other programs' doings belong to it: `iptables -F`, firewalld's reload, rules that were there before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from netverify.docker.binding import bindings_of
from netverify.docker.config import (
    Attachment,
    BridgeNetwork,
    DockerHost,
    Link,
    PublishedPort,
    containers,
)
from netverify.docker.errors import DockerError
from netverify.docker.firewall import Firewaller, firewaller
from netverify.docker.nft import nft_rules
from netverify.docker.step import Step, play
from netverify.docker.version import (
    INGRESS_RELOADED,
    ISOLATION_RELOADED,
    NFTABLES,
    RAW_RULES_RELOADED,
    REMOVED_NETWORKS_FORGOTTEN,
    USER_CHAIN_RELOADED_FIRST,
    Backend,
    Change,
    Version,
)
from netverify.docker.writer import PAIRS, STAGE_1, STAGE_2, USER
from netverify.ruleset import Chain, NftRuleset, Ruleset

NO_RULES4 = Ruleset("ipv4")
NO_RULES6 = Ruleset("ipv6")
NO_NFT_RULES = NftRuleset()

Steps = Callable[[Firewaller], Iterable[Step]]


def rules(host: DockerHost) -> tuple[Ruleset, Ruleset]:
    """The iptables rules (IPv4, IPv6) on a host whose daemon has just set up these networks and ports.

    A family that the daemon does not filter has no tables; neither has one under the nftables backend, whose
    rules are those of `nft_rules(host)`.
    """
    daemon = Daemon.started(host)
    return daemon.ipv4, daemon.ipv6


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon: what it was told, and the rules as they stand in the kernel now.

    Every method returns the daemon after the event; nothing is changed in place. `nft` holds the tables that
    the nftables backend keeps beside iptables' own. `ran_before` says that the daemon has started more than
    once since boot, so that it found forwarding on when it started last; `removed` holds the networks that
    were there since then and are no more.
    """

    host: DockerHost
    ipv4: Ruleset = NO_RULES4
    ipv6: Ruleset = NO_RULES6
    ran_before: bool = False
    removed: tuple[BridgeNetwork, ...] = ()

    @property
    def nft(self) -> NftRuleset:
        """What the nftables backend has in the kernel: whole tables, in which the past leaves no trace."""
        return nft_rules(self.host) if self.host.generation is NFTABLES else NO_NFT_RULES

    @classmethod
    def started(cls, host: DockerHost, *, ipv4: Ruleset = NO_RULES4, ipv6: Ruleset = NO_RULES6) -> Daemon:
        """A daemon that finds these rules in the kernel, and then sets up its networks and containers."""

        def steps(writer: Firewaller) -> Iterator[Step]:
            yield from writer.start(again=False)
            for network in host.networks:
                yield from writer.add_network(network)
            yield from _containers(writer, host)
            yield from writer.add_ingress()

        return _play(cls(host, ipv4, ipv6), steps, host)

    def restarted(self, networks: Sequence[str] = ()) -> Daemon:
        """The daemon stopped, started again, and started its containers again.

        `networks` is the order in which it restores its networks, by name; the engine reads them from a
        table without an order, so any may happen. Left out, the order is as before. The default bridge
        is restored like the others, then removed and made anew, and so always comes last. Options that
        changed in between, the version among them, are those of `host`:
        `replace(daemon, host=...).restarted()`.

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
            yield from _containers(writer, host)
            yield from writer.add_ingress()

        return _play(replace(self, ran_before=True, removed=()), steps, host)

    def reloaded(self, firewalld: Backend = "nftables") -> Daemon:
        """After firewalld's reload: it empties iptables, and the daemon writes its rules again.

        Every rule and chain of others goes, those in DOCKER-USER among them. Policies stay where firewalld's
        own backend is nftables (its default since 0.6); with iptables they become ACCEPT, and the daemon sets
        DROP again if it did so when it started last. Before 28.0, but for 25.0.13, what keeps networks apart
        is not written again (CVE-2025-54410), nor in 28.2.0 to 28.3.2 the raw table's drops (CVE-2025-54388),
        nor before 29.0 (but for 25.0.13) a swarm's mesh. Until 27 DOCKER-USER comes last, behind the rules of
        all networks; before 28.1 networks that were removed are back. The tables of Docker's nftables backend
        are not touched, nor are ipsets.

        Sources: moby libnetwork/iptables/firewalld.go (OnReloaded), and who registers with it, in which
        order, in drivers/bridge and firewall_linux.go; firewalld src/firewall/core/fw.py (reload, flush,
        set_policy), ipXtables.py (build_flush_rules, build_set_policy_rules). Engines of 20.10.24, 26.1.5 and
        28.5.2 that were told of a reload by a stand-in for firewalld did so.
        """
        host = self.host
        opens = firewalld == "iptables"
        lost = replace(self, ipv4=_emptied(self.ipv4, opens=opens), ipv6=_emptied(self.ipv6, opens=opens))
        if host.generation is NFTABLES:
            return lost
        engine = host.engine
        forgotten = _has_or_backported(engine, REMOVED_NETWORKS_FORGOTTEN)
        user_first = engine.has(USER_CHAIN_RELOADED_FIRST)
        mesh = host.ingress if _has_or_backported(engine, INGRESS_RELOADED) else None
        written = replace(host, networks=(*host.networks, *(() if forgotten else self.removed)), ingress=mesh)

        def steps(writer: Firewaller) -> Iterator[Step]:
            yield from writer.replay_chains()
            yield from writer.forward_policy(again=self.ran_before)
            yield from writer.user_chain()
            for network in written.networks:
                for step in writer.add_network(network):
                    of_users = USER in (step.chain, step.rule.removeprefix("-j "))
                    if not of_users and (network.internal or _is_written_again(host, step)):
                        yield step
            for step in _containers(writer, host):
                if _is_written_again(host, step):
                    yield step
            yield from writer.add_ingress()
            if user_first:
                yield from writer.user_chain()

        return replace(_play(lost, steps, written), host=host)

    def flushed(self, table: str = "filter", chain: str | None = None) -> Daemon:
        """After somebody's `iptables -t TABLE -F [CHAIN]`, in both families: policies and chains stay."""
        return replace(self, ipv4=_flushed(self.ipv4, table, chain), ipv6=_flushed(self.ipv6, table, chain))

    def with_network(self, network: BridgeNetwork) -> Daemon:
        """After `docker network create`."""
        host = replace(self.host, networks=(*self.host.networks, network))
        return _play(self, lambda writer: writer.add_network(network), host)

    def without_network(self, name: str) -> Daemon:
        """After `docker network rm`. Raises DockerError while a container is attached to it."""
        removed = self.host.network(name)
        users = [str(port) for port in self.host.published if port.network == name]
        users += [str(place.address) for place in self.host.attached if place.network == name]
        if users:
            raise DockerError(f"network {name} is in use: {', '.join(users)}")
        host = replace(self.host, networks=tuple(one for one in self.host.networks if one != removed))
        after = replace(self, removed=(*self.removed, removed))
        return _play(after, lambda writer: writer.remove_network(removed), host)

    def with_containers(
        self, *places: Attachment, published: Sequence[PublishedPort] = (), links: Sequence[Link] = ()
    ) -> Daemon:
        """After containers at these places have started, publishing these ports."""
        added = replace(self.host, attached=places, published=tuple(published), links=tuple(links))
        host = replace(
            self.host,
            attached=(*self.host.attached, *places),
            published=(*self.host.published, *published),
            links=(*self.host.links, *links),
        )
        return _play(self, lambda writer: _containers(writer, added), host)

    def without_containers(self, *places: Attachment) -> Daemon:
        """After the containers at these places have stopped, with all that they publish."""
        gone = {(place.network, place.address) for place in places}
        kept, stopped = _split(self.host, gone)
        missing = gone - {(place.network, place.address) for place in stopped.attachments()}
        if missing:
            raise DockerError(f"no container is at {', '.join(sorted(str(place) for _, place in missing))}")
        return _play(self, lambda writer: _stopped(writer, stopped), kept)

    def with_ports(self, *ports: PublishedPort) -> Daemon:
        """After a container with these ports has started."""
        return self.with_containers(published=ports)

    def without_ports(self, *ports: PublishedPort) -> Daemon:
        """After a container with these ports has stopped. Raises DockerError for ports not published."""
        for port in ports:
            if port not in self.host.published:
                raise DockerError(f"{port} is not published")
        host = replace(self.host, published=tuple(one for one in self.host.published if one not in ports))
        removed = replace(self.host, attached=(), links=(), published=ports)
        return _play(self, lambda writer: _stopped(writer, removed), host)


def _play(before: Daemon, steps: Steps, host: DockerHost) -> Daemon:
    """The daemon after these steps on each family that it filters, and as that host from then on."""
    ipv4, ipv6 = before.ipv4, before.ipv6
    if host.iptables and host.generation is not NFTABLES:
        ipv4 = play(ipv4, steps(firewaller(host, "ipv4")))
    if host.filters_ipv6 and host.generation is not NFTABLES:
        ipv6 = play(ipv6, steps(firewaller(host, "ipv6")))
    return replace(before, host=host, ipv4=ipv4, ipv6=ipv6)


def _is_written_again(host: DockerHost, step: Step) -> bool:
    """Whether the daemon repeats a step for an open network or a container after a reload."""
    if step.chain in (STAGE_1, STAGE_2, PAIRS):
        return _has_or_backported(host.engine, ISOLATION_RELOADED)
    if step.table == "raw" and "--dport" not in step.rule:
        return host.engine.has(RAW_RULES_RELOADED)
    return True


def _has_or_backported(engine: Version, change: Change) -> bool:
    """Whether an engine has a change of firewalld's reload: 25.0.13 has those of later versions, too."""
    return engine.has(change) or Version(25, 0, 13) <= engine < Version(26, 0)


def _containers(writer: Firewaller, host: DockerHost) -> Iterator[Step]:
    """The host's containers start, one after the other."""
    for container in containers(host):
        for place in container:
            yield from writer.add_container(place)
        for place in container:
            for binding in bindings_of(host, place):
                yield from writer.add_binding(binding)
            for link in host.links:
                if (link.network, link.client) == (place.network, place.address):
                    yield from writer.add_link(link)


def _stopped(writer: Firewaller, host: DockerHost) -> Iterator[Step]:
    """These containers stop."""
    for container in containers(host):
        for place in container:
            for binding in bindings_of(host, place):
                yield from writer.remove_binding(binding)
            for link in host.links:
                if (link.network, link.client) == (place.network, place.address):
                    yield from writer.remove_link(link)
            yield from writer.remove_container(place)


def _split(host: DockerHost, gone: set[tuple[str, IPv4Address]]) -> tuple[DockerHost, DockerHost]:
    """The host without the containers at these places, and with them alone."""

    def side(*, stopped: bool) -> DockerHost:
        return replace(
            host,
            attached=tuple(one for one in host.attached if ((one.network, one.address) in gone) is stopped),
            published=tuple(
                one for one in host.published if ((one.network, one.container) in gone) is stopped
            ),
            links=tuple(one for one in host.links if ((one.network, one.client) in gone) is stopped),
        )

    return side(stopped=False), side(stopped=True)


def _flushed(ruleset: Ruleset, table: str, chain: str | None) -> Ruleset:
    if not ruleset.has_table(table):
        return ruleset
    for one in ruleset.table(table).chains:
        if chain in (None, one.name):
            ruleset = ruleset.with_chain(table, replace(one, rules=()))
    return ruleset


def _emptied(ruleset: Ruleset, *, opens: bool) -> Ruleset:
    """Every table with nothing but the kernel's own chains, empty; `opens`: with policy ACCEPT."""
    tables = (
        replace(
            table,
            chains=tuple(
                Chain(one.name, "ACCEPT" if opens else one.policy)
                for one in table.chains
                if table.is_builtin(one.name)
            ),
        )
        for table in ruleset.tables
    )
    return replace(ruleset, tables=tuple(tables))
