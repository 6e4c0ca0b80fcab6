"""The tables that Docker 29 writes with --firewall-backend=nftables: `ip docker-bridges`, `ip6
docker-bridges`.

Each base chain only looks up the packet's devices in verdict maps, which lead to the chains of one network:

    filter-FORWARD    oifname -> filter-forward-in__BRIDGE, iifname -> filter-forward-out__BRIDGE
    nat-POSTROUTING   iifname -> nat-postrouting-out__BRIDGE, oifname -> nat-postrouting-in__BRIDGE
    nat-PREROUTING, nat-OUTPUT   for local addresses -> nat-prerouting-and-output, which holds all
    translations raw-PREROUTING    protects containers' own addresses, and ports on the loopback

The engine keeps a chain's rules in groups, in a fixed order whatever the order of events, and makes the
tables anew when it starts; so what stands in them follows from the networks and containers of the moment
alone. It sets no policy and does not turn forwarding on.

Source: moby daemon/libnetwork/drivers/bridge/internal/nftabler (nftabler.go, network.go, endpoint.go,
port.go, link.go) at 29.0, and the documents that it generates of itself
(integration/network/bridge/nftablesdoc). No engine was run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network

from netverify.docker.binding import Binding, bindings
from netverify.docker.config import Address, BridgeNetwork, DockerHost
from netverify.docker.options import parse_mark
from netverify.ruleset import Hook, NftChain, NftRule, NftRuleset, NftSet, NftTable
from netverify.ruleset.nft import NftFamily
from netverify.ruleset.nft_expressions import (
    AnonymousSet,
    Ct,
    Expression,
    Fib,
    Flags,
    Meta,
    Operation,
    Pair,
    Payload,
    Prefix,
    SetReference,
    Verdict,
)
from netverify.ruleset.nft_statements import Comparison, Count, Nat, Statement, VerdictMap

TABLE = "docker-bridges"
TRANSLATIONS = "nat-prerouting-and-output"

_FAMILIES: dict[int, NftFamily] = {4: "ip", 6: "ip6"}
_BASE = {
    "filter-FORWARD": Hook("filter", "forward", 0, "accept"),
    "nat-OUTPUT": Hook("nat", "output", -100, "accept"),
    "nat-POSTROUTING": Hook("nat", "postrouting", 100, "accept"),
    "nat-PREROUTING": Hook("nat", "prerouting", -100, "accept"),
    TRANSLATIONS: None,
    "raw-PREROUTING": Hook("filter", "prerouting", -300, "accept"),
}
# Map, the base chain that looks in it, the device that it looks for, and the prefix of the chains it leads
# to.
_JUMPS = (
    ("filter-forward-in-jumps", "filter-FORWARD", "oifname", "filter-forward-in__"),
    ("filter-forward-out-jumps", "filter-FORWARD", "iifname", "filter-forward-out__"),
    ("nat-postrouting-out-jumps", "nat-POSTROUTING", "iifname", "nat-postrouting-out__"),
    ("nat-postrouting-in-jumps", "nat-POSTROUTING", "oifname", "nat-postrouting-in__"),
)


def nft_rules(host: DockerHost) -> NftRuleset:
    """What the nftables backend of this host's daemon has in the kernel: a table a family that it filters."""
    filtered = {4: host.iptables, 6: host.filters_ipv6}
    return NftRuleset(tuple(_Family(host, version).table() for version in (4, 6) if filtered[version]))


class _Family:
    """One family's table of a host."""

    def __init__(self, host: DockerHost, version: int) -> None:
        self.host = host
        self.version = version
        self.name = _FAMILIES[version]
        self.proxy = host.userland_proxy
        self.networks = [network for network in host.networks if self._subnet(network) is not None]
        self.bindings = [one for one in bindings(host) if one.container.version == version]

    def table(self) -> NftTable:
        rules = {
            "nat-OUTPUT": [self._to_translations(from_host=True)],
            "nat-PREROUTING": [self._to_translations(from_host=False)],
            TRANSLATIONS: list(self._translations()),
            "raw-PREROUTING": [*self._direct_access(), *self._loopback_ports()],
        }
        for name, chain, device, _prefix in _JUMPS:
            rules.setdefault(chain, []).append(NftRule((VerdictMap(Meta(device), SetReference(name)),)))
        chains = [NftChain(name, hook, tuple(rules[name])) for name, hook in _BASE.items()]
        for network in self.networks:
            chains += self._chains(network)
        return NftTable(self.name, TABLE, tuple(chains), tuple(self._maps()))

    def _subnet(self, network: BridgeNetwork) -> IPv4Network | IPv6Network | None:
        return network.subnet if self.version == 4 else network.subnet6

    def _maps(self) -> Iterator[NftSet]:
        for name, _chain, _device, prefix in sorted(_JUMPS):
            elements = tuple(
                Pair(network.bridge, Verdict("jump", f"{prefix}{network.bridge}"))
                for network in self.networks
            )
            yield NftSet(name, ("ifname",), "verdict", elements=elements)

    # The parts of rules.

    def _field(self, name: str) -> Payload:
        return Payload(self.name, name)

    def _to(self, address: Address) -> Comparison:
        return _is(self._field("daddr"), str(address))

    def _to_translations(self, *, from_host: bool) -> NftRule:
        """With the proxy, the host's own packets to the loopback are left to its listeners."""
        loopback: Expression = Prefix("127.0.0.0", 8) if self.version == 4 else "::1"
        spared = [_is_not(self._field("daddr"), loopback)] if from_host and self.proxy else []
        return _rule(*spared, _is(Fib("type", ("daddr",)), "local"), verdict=Verdict("jump", TRANSLATIONS))

    def _source(self, network: BridgeNetwork) -> tuple[Nat, str]:
        """What outgoing packets' source becomes, and how the rule is commented."""
        address = network.host_ipv4 if self.version == 4 else network.host_ipv6
        return (Nat("masquerade"), "MASQUERADE") if address is None else (Nat("snat", str(address)), "SNAT")

    def _carried(self) -> Iterator[Binding]:
        """Bindings that translations carry."""
        return (one for one in self.bindings if one.is_translated and one.is_on_host)

    # The chains that all networks share.

    def _translations(self) -> Iterator[NftRule]:
        for binding in self._carried():
            match: list[Statement] = []
            if self.proxy:
                match.append(_is_not(Meta("iifname"), binding.network.bridge))
            if self.version == 6:
                match.append(_is_not(self._field("saddr"), Prefix("fe80::", 10)))
            if not binding.host_address.is_unspecified:
                match.append(self._to(binding.host_address))
            target = Nat("dnat", str(binding.container), binding.container_port)
            yield _rule(*match, _port(binding, binding.host_port), verdict=target, comment="DNAT")

    def _direct_access(self) -> Iterator[NftRule]:
        """Nobody but a network's own bridge, and devices it trusts, comes to its containers' addresses."""
        for place in self.host.attachments():
            network = self.host.network(place.network)
            address = place.address if self.version == 4 else place.address6
            if address is None or network.internal or network.mode(self.version) != "nat":
                continue
            if self.host.allow_direct_routing:
                continue
            devices: Expression = network.bridge
            if network.trusted:
                devices = AnonymousSet((network.bridge, *network.trusted))
            foreign = _is_not(Meta("iifname"), devices)
            yield _rule(self._to(address), foreign, verdict=Verdict("drop"), comment="DROP DIRECT ACCESS")

    def _loopback_ports(self) -> Iterator[NftRule]:
        """A port that is published on the loopback is for the host alone; in IPv6 the kernel sees to it."""
        for binding in self._carried():
            if self.version == 4 and binding.host_address.is_loopback:
                yield _rule(
                    _is_not(Meta("iifname"), "lo"),
                    self._to(binding.host_address),
                    _port(binding, binding.host_port),
                    verdict=Verdict("drop"),
                    comment="DROP REMOTE LOOPBACK",
                )

    # The chains of one network.

    def _chains(self, network: BridgeNetwork) -> list[NftChain]:
        rules = {
            "filter-forward-in__": self._forward_in(network),
            "filter-forward-out__": self._forward_out(network),
            "nat-postrouting-in__": self._postrouting_in(network),
            "nat-postrouting-out__": self._postrouting_out(network),
        }
        return [NftChain(f"{prefix}{network.bridge}", None, tuple(found)) for prefix, found in rules.items()]

    def _forward_in(self, network: BridgeNetwork) -> Iterator[NftRule]:
        """What comes into the bridge. An internal network's ICC rule needs no device: all else is gone."""
        bridge, mode = network.bridge, network.mode(self.version)
        yield _ESTABLISHED
        icc = Verdict("accept" if network.icc else "drop")
        if network.internal:
            foreign = _is_not(Meta("iifname"), bridge)
            yield _rule(foreign, verdict=Verdict("drop"), comment="INTERNAL NETWORK INGRESS")
            yield _rule(verdict=icc, comment="ICC")
            return
        if mode == "routed":
            yield _rule(self._icmp(), verdict=Verdict("accept"), comment="ICMP")
        if self.host.accept_fwmark is not None:
            marked = _marked(self.host.accept_fwmark)
            yield _rule(marked, verdict=Verdict("accept"), comment="ALLOW FW MARK")
        yield from self._links(network)
        yield _rule(_is(Meta("iifname"), bridge), verdict=icc, comment="ICC")
        if mode == "nat-unprotected":
            yield _rule(verdict=Verdict("accept"), comment="UNPROTECTED")
        else:
            yield from _once(
                _rule(self._to(one.container), _port(one, one.container_port), verdict=Verdict("accept"))
                for one in self.bindings
                if one.network == network
            )
            yield _rule(verdict=Verdict("drop"), comment="UNPUBLISHED PORT DROP")

    def _forward_out(self, network: BridgeNetwork) -> Iterator[NftRule]:
        """What leaves the bridge."""
        yield _ESTABLISHED
        if network.internal:
            foreign = _is_not(Meta("oifname"), network.bridge)
            yield _rule(foreign, verdict=Verdict("drop"), comment="INTERNAL NETWORK EGRESS")
        else:
            yield _rule(verdict=Verdict("accept"), comment="OUTGOING")

    def _postrouting_in(self, network: BridgeNetwork) -> Iterator[NftRule]:
        """Without the proxy: the host's own packets, and a container's to its own published port."""
        if network.internal or self.proxy:
            return
        source, comment = self._source(network)
        yield _rule(_is(Fib("type", ("saddr",)), "local"), verdict=source, comment=f"{comment} FROM HOST")
        yield from _once(
            _rule(
                _is(self._field("saddr"), str(one.container)),
                self._to(one.container),
                _port(one, one.container_port),
                verdict=Nat("masquerade"),
                comment="MASQ TO OWN PORT",
            )
            for one in self._carried()
            if one.network == network
        )

    def _postrouting_out(self, network: BridgeNetwork) -> Iterator[NftRule]:
        """What leaves the network takes an address of the host."""
        subnet = self._subnet(network)
        if network.internal or not network.masquerade or network.mode(self.version) == "routed":
            return
        if subnet is not None:
            source, comment = self._source(network)
            own = _is(self._field("saddr"), Prefix(str(subnet.network_address), subnet.prefixlen))
            yield _rule(_is_not(Meta("oifname"), network.bridge), own, verdict=source, comment=comment)

    def _links(self, network: BridgeNetwork) -> Iterator[NftRule]:
        """The client's requests, and whatever the server's port sends to the client; IPv4 alone."""
        for link in self.host.links:
            if link.network != network.name or self.version != 4:
                continue
            client, server = str(link.client), str(link.server)
            for source, target, port in ((client, server, "dport"), (server, client, "sport")):
                # The engine writes the client first in both rules.
                ends = [_is(self._field("saddr"), source), _is(self._field("daddr"), target)]
                if port == "sport":
                    ends.reverse()
                yield _rule(*ends, _is(Payload(link.protocol, port), link.port), verdict=Verdict("accept"))

    def _icmp(self) -> Comparison:
        if self.version == 4:
            return _is(self._field("protocol"), "icmp")
        return _is(Meta("l4proto"), "ipv6-icmp")


def _is(left: Expression, right: Expression) -> Comparison:
    return Comparison("==", left, right)


def _is_not(left: Expression, right: Expression) -> Comparison:
    return Comparison("!=", left, right)


def _port(binding: Binding, port: int) -> Comparison:
    return _is(Payload(binding.protocol, "dport"), port)


def _marked(text: str) -> Comparison:
    mark, mask = parse_mark(text)
    return _is(Meta("mark") if mask is None else Operation("&", (Meta("mark"), mask)), mark)


def _rule(*match: Statement, verdict: Statement, comment: str | None = None) -> NftRule:
    return NftRule((*match, Count(), verdict), comment)


def _once(rules: Iterable[NftRule]) -> Sequence[NftRule]:
    return list(dict.fromkeys(rules))


_ESTABLISHED = _rule(
    Comparison("in", Ct("state"), Flags(("established", "related"))), verdict=Verdict("accept")
)
