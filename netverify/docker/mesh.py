"""The rules of a swarm's routing mesh within namespaces: the ingress sandbox's, and those of a task.

On the host DOCKER-INGRESS leads a published port to the ingress sandbox (`writer.py`). There packets for it
are marked; by the mark IPVS chooses a task on some node, and its packets leave with the sandbox's own address
on the ingress network. In the task's namespace the published port becomes the service's own, and nothing else
is open on the task's address there.

IPv4 alone. Source: moby libnetwork/service_linux.go (fwMarker and redirector, later configureFWMark and
addRedirectRules). No engine was run: it writes these rules only where the kernel has IPVS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from netverify.docker.errors import DockerError
from netverify.docker.parts import PROTOCOLS, Protocol
from netverify.docker.step import Action, Step, play
from netverify.docker.writer import single
from netverify.ruleset import Ruleset

_NOTHING = Ruleset("ipv4")


@dataclass(frozen=True, slots=True)
class MeshPort:
    """A port that a service publishes by the mesh: `published` on every node, `target` in its tasks."""

    published: int
    target: int
    protocol: Protocol = "tcp"

    def __post_init__(self) -> None:
        for port in (self.published, self.target):
            if not 0 < port < 65536:
                raise DockerError(f"mesh: port {port} is not between 1 and 65535")
        if self.protocol not in PROTOCOLS:
            raise DockerError(f"mesh: expected a protocol of {', '.join(PROTOCOLS)}, not {self.protocol!r}")


def task_rules(address: IPv4Address, ports: Sequence[MeshPort]) -> Ruleset:
    """What stands in the namespace of a task with that address on the ingress network.

    Each published port is redirected to its target. Of the ports on that address only the targets are open,
    to whoever asks; and only answers leave from it.
    """
    return play(_NOTHING, _task_steps(address, ports))


def sandbox_rules(own: IPv4Interface, virtual: IPv4Address, mark: int, ports: Sequence[MeshPort]) -> Ruleset:
    """What stands in the ingress sandbox for one service.

    `own` is the sandbox's address on the ingress network, `virtual` the service's there, `mark` the firewall
    mark by which IPVS knows the service.
    """
    return play(_NOTHING, _sandbox_steps(own, virtual, mark, ports))


def _task_steps(address: IPv4Address, ports: Sequence[MeshPort]) -> Iterator[Step]:
    to, back = f"-d {single(address)}", f"-s {single(address)}"
    for port in ports:
        match = f"-p {port.protocol} -m {port.protocol}"
        redirect = f"{to} {match} --dport {port.published} -j REDIRECT --to-ports {port.target}"
        asked = f"{to} {match} --dport {port.target} -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT"
        answered = f"{back} {match} --sport {port.target} -m conntrack --ctstate ESTABLISHED -j ACCEPT"
        yield Step(Action.APPEND, "nat", "PREROUTING", redirect)
        yield Step(Action.INSERT, "filter", "INPUT", asked)
        yield Step(Action.INSERT, "filter", "OUTPUT", answered)
    for protocol in ("sctp", "udp", "tcp") if ports else ():
        yield Step(Action.APPEND, "filter", "INPUT", f"{to} -p {protocol} -j DROP")
        yield Step(Action.APPEND, "filter", "OUTPUT", f"{back} -p {protocol} -j DROP")


def _sandbox_steps(
    own: IPv4Interface, virtual: IPv4Address, mark: int, ports: Sequence[MeshPort]
) -> Iterator[Step]:
    marked = f"-j MARK --set-xmark {mark:#x}/0xffffffff"
    for port in ports:
        match = f"-p {port.protocol} -m {port.protocol} --dport {port.published}"
        yield Step(Action.APPEND, "mangle", "PREROUTING", f"{match} {marked}")
    leaving = f"-d {own.network} -m ipvs --ipvs -j SNAT --to-source {own.ip}"
    yield Step(Action.APPEND, "nat", "POSTROUTING", leaving)
    yield Step(Action.APPEND, "mangle", "INPUT", f"-d {single(virtual)} {marked}")
