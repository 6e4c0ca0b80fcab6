"""What the writers of all iptables generations share: the texts of single rules, and chains beside the main
ones.

Every text is a rule as iptables-save shows it, without `-A CHAIN`. Sources: moby
libnetwork/iptables/iptables.go, libnetwork/firewall_linux.go (DOCKER-USER), libnetwork/service_linux.go
(DOCKER-INGRESS), and the bridge driver's files named in `classic.py` and `default_drop.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from netverify.docker.binding import Binding
from netverify.docker.config import GATEWAY_BRIDGE, Attachment, BridgeNetwork, DockerHost, Link
from netverify.docker.step import Action, Step, jump_on_top
from netverify.docker.version import INGRESS_CTSTATE, USER_CHAIN_IPV6, USER_CHAIN_WITHOUT_RETURN
from netverify.ruleset import Family

DOCKER = "DOCKER"
USER = "DOCKER-USER"
INGRESS = "DOCKER-INGRESS"
PAIRS = "DOCKER-ISOLATION"  # before 18.05
STAGE_1 = "DOCKER-ISOLATION-STAGE-1"
STAGE_2 = "DOCKER-ISOLATION-STAGE-2"

TO_LOCAL = "-m addrtype --dst-type LOCAL -j"
ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
LOOPBACK = {"ipv4": "127.0.0.0/8", "ipv6": "::1/128"}


class RuleWriter:
    """One engine's words for one address family of a host."""

    def __init__(self, host: DockerHost, family: Family) -> None:
        self.host = host
        self.family = family
        self.version = 4 if family == "ipv4" else 6
        self.engine = host.engine
        self.proxy = host.userland_proxy

    # What is where.

    def subnet(self, network: BridgeNetwork) -> IPv4Network | IPv6Network | None:
        """The network's subnet in this family."""
        return network.subnet if self.family == "ipv4" else network.subnet6

    def is_routed(self, network: BridgeNetwork) -> bool:
        """Whether the network's addresses are translated by nobody."""
        return network.mode(self.version) == "routed"

    def address(self, place: Attachment) -> IPv4Address | IPv6Address | None:
        """The container's address in this family."""
        return place.address if self.family == "ipv4" else place.address6

    def is_carried(self, binding: Binding) -> bool:
        """Whether this family's rules carry the traffic of a published port."""
        return binding.is_translated and binding.container.version == self.version

    # Texts of rules.

    @property
    def from_host_to_local(self) -> str:
        """OUTPUT's jump to DOCKER: with the proxy, loopback addresses are left to its listeners."""
        return f"! -d {LOOPBACK[self.family]} {TO_LOCAL} {DOCKER}" if self.proxy else f"{TO_LOCAL} {DOCKER}"

    def outgoing(self, network: BridgeNetwork) -> str:
        """What leaves the network takes an address of the host."""
        return f"-s {self.subnet(network)} ! -o {network.bridge} -j {self._source(network)}"

    def from_host(self, network: BridgeNetwork) -> str:
        """Without the proxy: what the host itself, loopback included, sends into the network."""
        return f"-o {network.bridge} -m addrtype --src-type LOCAL -j {self._source(network)}"

    def translation(self, binding: Binding, also: str = "") -> str:
        """From the host's address and port to the container's; `also` is one more condition."""
        to_host = "" if binding.host_address.is_unspecified else f"-d {single(binding.host_address)} "
        not_from_bridge = f"! -i {binding.network.bridge} " if self.proxy else ""
        name = f"{binding.container}" if self.family == "ipv4" else f"[{binding.container}]"
        return (
            f"{also}{to_host}{not_from_bridge}{self.to_port(binding, binding.host_port)} "
            f"-j DNAT --to-destination {name}:{binding.container_port}"
        )

    def open_port(self, binding: Binding) -> str:
        """A published port is open to everybody who is not on its bridge."""
        bridge, to_port = binding.network.bridge, self.to_port(binding, binding.container_port)
        return f"-d {single(binding.container)} ! -i {bridge} -o {bridge} {to_port} -j ACCEPT"

    def own_port(self, binding: Binding) -> str:
        """A container that reaches itself through the host must not see its own address as the source."""
        container = single(binding.container)
        return f"-s {container} -d {container} {self.to_port(binding, binding.container_port)} -j MASQUERADE"

    def within(self, network: BridgeNetwork) -> str:
        """From one container of a network to another."""
        return f"-i {network.bridge} -o {network.bridge} -j"

    def internal_drops(self, network: BridgeNetwork, *, by_bridge: bool) -> Iterator[str]:
        """The two drops of an internal network; `by_bridge` spares what stays on the bridge."""
        bridge, subnet = network.bridge, self.subnet(network)
        leaving, entering = (f" ! -o {bridge}", f"! -i {bridge} ") if by_bridge else ("", "")
        yield f"! -d {subnet} -i {bridge}{leaving} -j DROP"
        yield f"! -s {subnet} {entering}-o {bridge} -j DROP"

    @staticmethod
    def to_port(binding: Binding, port: int) -> str:
        """The match on the destination port."""
        return f"-p {binding.protocol} -m {binding.protocol} --dport {port}"

    def _source(self, network: BridgeNetwork) -> str:
        address = network.host_ipv4 if self.family == "ipv4" else network.host_ipv6
        return "MASQUERADE" if address is None else f"SNAT --to-source {address}"

    # Chains beside the main ones.

    def remove_nat_chain(self) -> Iterator[Step]:
        """The nat table's DOCKER of an earlier run, and the jumps to it in both their forms."""
        yield Step(Action.DELETE, "nat", "PREROUTING", f"{TO_LOCAL} {DOCKER}")
        yield Step(Action.DELETE, "nat", "OUTPUT", f"! -d {LOOPBACK[self.family]} {TO_LOCAL} {DOCKER}")
        yield Step(Action.DELETE, "nat", "OUTPUT", f"{TO_LOCAL} {DOCKER}")
        yield Step(Action.REMOVE_CHAIN, "nat", DOCKER)

    def user_chain(self) -> Iterator[Step]:
        """DOCKER-USER, with whatever a person put there, on top of FORWARD."""
        if self.family == "ipv6" and not self.engine.has(USER_CHAIN_IPV6):
            return
        yield Step(Action.NEW_CHAIN, "filter", USER)
        if not self.engine.has(USER_CHAIN_WITHOUT_RETURN):
            yield Step(Action.APPEND, "filter", USER, "-j RETURN")
        yield from jump_on_top("FORWARD", USER)

    def ingress_chains(self, forward: str) -> Iterator[Step]:
        """The routing mesh: DOCKER-INGRESS in nat and filter, the latter jumped to first from `forward`.

        Source: moby libnetwork/service_linux.go, programIngress.
        """
        ingress = self.host.ingress
        if ingress is None or self.family == "ipv6":
            return
        for table in ("nat", "filter"):
            yield Step(Action.NEW_CHAIN, table, INGRESS)
            yield Step(Action.APPEND, table, INGRESS, "-j RETURN")
        for chain in ("OUTPUT", "PREROUTING"):
            yield Step(Action.INSERT, "nat", chain, f"{TO_LOCAL} {INGRESS}")
        outward = f"-o {GATEWAY_BRIDGE} -m addrtype --src-type LOCAL -j MASQUERADE"
        yield Step(Action.INSERT, "nat", "POSTROUTING", outward)
        yield from jump_on_top(forward, INGRESS)
        for port, protocol in ingress.ports:
            match = f"-p {protocol} -m {protocol}"
            if self.engine.has(INGRESS_CTSTATE):
                replies = f"{match} --sport {port} {ESTABLISHED}"
            else:
                states = "-m state --state RELATED,ESTABLISHED"
                replies = f"-p {protocol} {states} -m {protocol} --sport {port} -j ACCEPT"
            yield Step(Action.INSERT, "filter", INGRESS, replies)
            yield Step(Action.INSERT, "filter", INGRESS, f"{match} --dport {port} -j ACCEPT")
            target = f"{ingress.address}:{port}"
            yield Step(
                Action.INSERT, "nat", INGRESS, f"{match} --dport {port} -j DNAT --to-destination {target}"
            )

    def sctp_checksum(self, binding: Binding) -> Iterator[Step]:
        """What SCTP's container sends has its checksum filled in, for cards that Linux 4.9 took to do it.

        Source: moby libnetwork/drivers/bridge/port_mapping_linux.go, setPerPortForwarding.
        """
        if binding.protocol == "sctp" and self.host.fills_sctp_checksums:
            rule = f"-p sctp -m sctp --sport {binding.container_port} -j CHECKSUM --checksum-fill"
            yield Step(Action.APPEND, "mangle", "POSTROUTING", rule)

    def add_link(self, link: Link) -> Iterator[Step]:
        """A container starts with a link to another: IPv4 alone."""
        for rule in self._link(link):
            yield Step(Action.APPEND, "filter", DOCKER, rule)

    def remove_link(self, link: Link) -> Iterator[Step]:
        """The linking container stops."""
        for rule in self._link(link):
            yield Step(Action.DELETE, "filter", DOCKER, rule)

    def _link(self, link: Link) -> Iterator[str]:
        """The client's requests, and whatever the server's port sends to the client.

        Source: moby libnetwork/iptables/iptables.go, ChainInfo.Link.
        """
        if self.family == "ipv6":
            return
        bridge, match = self.host.network(link.network).bridge, f"-p {link.protocol} -m {link.protocol}"
        for source, target, port in (
            (link.client, link.server, f"--dport {link.port}"),
            (link.server, link.client, f"--sport {link.port}"),
        ):
            ends = f"-s {single(source)} -d {single(target)} -i {bridge} -o {bridge}"
            yield f"{ends} {match} {port} -j ACCEPT"


def single(address: IPv4Address | IPv6Address) -> str:
    """One address as iptables-save shows it."""
    return f"{address}/{address.max_prefixlen}"


def undone(steps: Iterable[Step]) -> Iterator[Step]:
    """The deletion of what these steps put in."""
    for step in steps:
        if step.action in (Action.INSERT, Action.APPEND):
            yield Step(Action.DELETE, step.table, step.chain, step.rule)
