"""Who reaches whom in each generation of Docker: the table that the suite proves and
docs/docker-generations.md shows.

Every flow is one question to a lab of `generations_topology`; its answers stand by generation. `y` is
delivered and answered, `n` is neither, `-` a question that the generation cannot be asked, for want of an
option.

    python -m suites.docker.flows     rewrites docs/docker-generations.md
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path

from fixtures.documented import topology
from netverify.docker import GENERATIONS, Generation, Version
from netverify.docker.version import ROUTED_MODE, UNPROTECTED_AND_ISOLATED_MODES
from netverify.reachability.probe import Probe, icmp, tcp
from netverify.topology.model import (
    Container,
    DockerDaemon,
    Endpoint,
    Network,
    NetworkDriver,
    PortMapping,
    Topology,
)

VERSIONS = {
    "A0": "18.04",
    "A": "27.5.1",
    "B0": "28.0.0",
    "B1": "28.1.1",
    "B2": "28.5.2",
    "C": "29.7.2",
    "N": "29.7.2",
}
"""Of each generation the version that is asked: its newest release that was read or run."""

PAGE = Path(__file__).parents[2] / "docs" / "docker-generations.md"
_BEGIN, _END = "<!-- generated: suites/docker/flows.py -->", "<!-- end of the generated part -->"


@dataclass(frozen=True)
class Flow:
    """One question, and its answer in generations A0, A, B0, B1, B2, C and N, in this order.

    `setting` names the lab: the plain one, without the userland proxy, or on a host that forwarded already.
    """

    what: str
    probe: Probe
    source: str
    target: str
    answers: str
    setting: str = "plain"

    def answer(self, generation: Generation) -> str:
        """`y`, `n` or `-`."""
        return self.answers[GENERATIONS.index(generation)]


FLOWS = (
    Flow("same network", tcp(83), "web2", "web1", "yyyyyyy"),
    Flow("same network, icc=false", tcp(81), "apart2", "apart1", "nnnnnnn"),
    Flow("other network to the container, published port", tcp(80), "other", "web1", "nnnnnnn"),
    Flow("other network to the container, unpublished port", tcp(83), "other", "web1", "nnnnnnn"),
    Flow("other network to a routed one, published port", tcp(80), "other", "routed1", "-nyyyyy"),
    Flow("other network to a routed one, unpublished port", tcp(83), "other", "routed1", "-nnnnnn"),
    Flow("other network to a routed one, ping", icmp(), "other", "routed1", "-nyyyyy"),
    Flow("other network to an unprotected one, any port", tcp(83), "other", "open1", "--nnnyy"),
    Flow("other network to a port published on the host", tcp(80), "other", "host:8080", "yyyyyyy"),
    Flow("the same without the proxy", tcp(80), "other", "host:8080", "nnnnnyy", "without proxy"),
    Flow("container to its own published port", tcp(80), "web1", "host:8080", "yyyyyyy"),
    Flow("the same without the proxy", tcp(80), "web1", "host:8080", "yyyyyyy", "without proxy"),
    Flow("neighbour container to the published port", tcp(80), "web2", "host:8080", "yyyyyyy"),
    Flow("the same without the proxy", tcp(80), "web2", "host:8080", "yyyyyyy", "without proxy"),
    Flow("container to the internet", tcp(80), "web1", "internet", "yyyyyyy"),
    Flow("container to a service of the host", tcp(22), "web1", "host", "yyyyyyy"),
    Flow("host to the container, any port", tcp(83), "host", "web1", "yyyyyyy"),
    Flow("host to a port published on its loopback", tcp(81), "host", "host@127.0.0.1:8081", "yyyyyyy"),
    Flow("LAN to a port published on all addresses", tcp(80), "neighbour", "host:8080", "yyyyyyy"),
    Flow("LAN to the container, published port", tcp(80), "neighbour", "web1", "yynnnnn"),
    Flow("LAN to the container, unpublished port", tcp(83), "neighbour", "web1", "nnnnnnn"),
    Flow("the same where the host forwarded already", tcp(83), "neighbour", "web1", "yynnnnn", "forwarding"),
    Flow("LAN to the container, ping", icmp(), "neighbour", "web1", "nnnnnnn"),
    Flow("the same where the host forwarded already", icmp(), "neighbour", "web1", "yynnnnn", "forwarding"),
    Flow("LAN to a routed network, published port", tcp(80), "neighbour", "routed1", "-yyyyyy"),
    Flow("LAN to a routed network, unpublished port", tcp(83), "neighbour", "routed1", "-nnnnnn"),
    Flow("LAN to a routed network, ping", icmp(), "neighbour", "routed1", "-nyyyyy"),
    Flow("LAN to an unprotected network, any port", tcp(83), "neighbour", "open1", "--yyyyy"),
    Flow("LAN to the bridge's own address", icmp(), "neighbour", "host@172.18.0.1", "yyyyyyy"),
    Flow("internal network to another", tcp(80), "sealed1", "web1", "nnnnnnn"),
    Flow("internal network to the internet", tcp(80), "sealed1", "internet", "nnnnnnn"),
    Flow("internal network to its bridge's address", icmp(), "sealed1", "host@172.19.0.1", "yyyyyyy"),
    Flow("host to the internal network", icmp(), "host", "sealed1", "yyyyyyy"),
)


def generations_topology(generation: Generation, setting: str = "plain") -> Topology:
    """The documented host with published ports, this generation's Docker on it, and the networks it has."""
    version = VERSIONS[generation.name]
    policy = "ACCEPT" if setting == "forwarding" else "DROP"
    daemon = DockerDaemon(
        version,
        userland_proxy=setting != "without proxy",
        forward_policy=policy,
        backend=generation.backend,
    )
    found = topology("docker-published").with_host("host", docker=daemon)
    return found.adding(*_more(Version.parse(version)))


def _more(engine: Version) -> list[Network | Container]:
    modes = [
        ("routed", "routed", ip_network("172.21.0.0/16"), ROUTED_MODE),
        ("open", "nat-unprotected", ip_network("172.22.0.0/16"), UNPROTECTED_AND_ISOLATED_MODES),
    ]
    parts: list[Network | Container] = []
    for number, (name, mode, subnet, change) in enumerate(modes):
        if engine.has(change):
            parts.append(
                Network(
                    name,
                    NetworkDriver.BRIDGE,
                    ("host",),
                    (subnet,),
                    device=f"br-{name}",
                    gateway_mode=mode,
                )
            )
            parts.append(
                Container(
                    f"{name}1",
                    "host",
                    (Endpoint(name),),
                    publish=(PortMapping.parse(f"{9080 + number}:80"),),
                    listens=(("tcp", 80), ("tcp", 83)),
                )
            )
    return parts


def page() -> str:
    """The generated part of docs/docker-generations.md."""
    lines = ["| from, to, and what | " + " | ".join(map(_title, GENERATIONS)) + " |"]
    lines.append("| --- |" + " :-: |" * len(GENERATIONS))
    for flow in FLOWS:
        what = flow.what if flow.setting == "plain" else f"&nbsp;&nbsp;{flow.what}"
        lines.append(f"| {what} | " + " | ".join(map(_word, flow.answers)) + " |")
    lines += ["", "## What changes when you upgrade", ""]
    for older, newer in (*pairwise(GENERATIONS[:-1]), (GENERATIONS[-2], GENERATIONS[-1])):
        lines += [f"### {_title(older)} to {_title(newer)}", "", *_changes(older, newer), ""]
    return "\n".join(lines)


def _changes(older: Generation, newer: Generation) -> list[str]:
    found = [
        f"- {'opened' if flow.answer(newer) == 'y' else 'closed'}: {_full(number)}"
        for number, flow in enumerate(FLOWS)
        if {flow.answer(older), flow.answer(newer)} == {"y", "n"}
    ]
    return found or ["Nothing in this table."]


def _full(number: int) -> str:
    """A flow's words with those of the flow that it is a variant of."""
    flow = FLOWS[number]
    if flow.setting == "plain":
        return flow.what
    original = next(one.what for one in reversed(FLOWS[:number]) if one.setting == "plain")
    return f"{original}, {flow.what.removeprefix('the same ')}"


def _title(generation: Generation) -> str:
    """The versions as people name them."""
    names = {
        "A0": "17.06-18.04",
        "A": "18.05-27",
        "B0": "28.0.0",
        "B1": "28.0.1-28.1",
        "B2": "28.2-28.5",
        "C": "29, iptables",
        "N": "29, nftables",
    }
    return names[generation.name]


def _word(answer: str) -> str:
    return {"y": "yes", "n": "no", "-": ""}[answer]


def with_generated_part(text: str) -> str:
    """The page with its generated part as it must be."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{page()}\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_generated_part(PAGE.read_text()))
