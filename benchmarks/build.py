"""How long it takes until 100 endpoints on one bridge are ready for their first packet.

netverify builds from a topology (what its file is loaded into), the peers from finished commands. All make
the same namespaces, veth pairs, bridge, addresses and routes. netverify does more than the peers: it sets the
sysctls of every namespace, and waits until each device can send.
"""

from __future__ import annotations

from functools import partial
from statistics import median

from pyroute2 import IPRoute, NetNS, netns

import _measure
import _nets
from netverify.kernel import sandbox
from netverify.kernel.lab import Lab
from netverify.topology.model import Topology

FLOOR = 0.6  # of ip -batch
OWN, BATCH, NAIVE = "netverify", "ip -batch", "pyroute2, one call per step"


def with_netverify(topology: Topology) -> float:
    """A lab."""
    with _nets.quiet(), Lab() as lab:
        return _measure.timed(lambda: lab.up(topology))


def with_batches(topology: Topology) -> float:
    """One batch for the host's side, then one for each namespace: a batch cannot change namespaces."""
    host, members = _nets.on_the_host(topology), _nets.inside(topology)

    def build() -> None:
        _nets.batch(host)
        for name, commands in members.items():
            _nets.batch(commands, "-n", name)

    with _nets.quiet():
        took = _measure.timed(build)
        _nets.take_down(topology)
    return took


def with_pyroute2(topology: Topology) -> float:
    """As the library's own examples go: each step one call that waits for its answer."""
    topology = topology.resolved()
    (network,) = topology.networks
    attachments = [topology.attachments(container.name)[0] for container in topology.containers]

    def build() -> None:
        with IPRoute() as host:
            host.link("add", ifname=network.device, kind="bridge", br_forward_delay=0)
            (bridge,) = host.link_lookup(ifname=network.device)
            for address in network.bridge_addresses:
                host.addr("add", index=bridge, address=str(address.ip), prefixlen=address.network.prefixlen)
            host.link("set", index=bridge, state="up")
            for one in attachments:
                netns.create(one.container)
                peer = {"ifname": one.device, "address": one.mac, "net_ns_fd": one.container}
                host.link("add", ifname=one.host_device, kind="veth", peer=peer)
                (near,) = host.link_lookup(ifname=one.host_device)
                host.link("set", index=near, master=bridge, state="up")
                with NetNS(one.container) as inside:
                    inside.link("set", index=1, state="up")
                    (far,) = inside.link_lookup(ifname=one.device)
                    inside.link("set", index=far, state="up")
                    for address in one.addresses:
                        prefix = address.network.prefixlen
                        inside.addr("add", index=far, address=str(address.ip), prefixlen=prefix)
                    for route in topology.routes_of(one.container):
                        inside.route("add", dst=str(route.destination), gateway=str(route.via))

    with _nets.quiet():
        took = _measure.timed(build)
        _nets.take_down(topology)
    return took


def main() -> None:
    """Measure and print."""
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=7, endpoints=100)
    sandbox.enter()
    topology = _nets.one_bridge(chosen.endpoints)
    candidates = {OWN: with_netverify, BATCH: with_batches, NAIVE: with_pyroute2}
    found = _measure.interleave(
        {name: partial(run, topology) for name, run in candidates.items()}, chosen.rounds
    )
    ratio = median(found[OWN]) / median(found[BATCH])
    report = _measure.Report("build")
    report.say(f"{chosen.endpoints} endpoints on one bridge; rounds: {chosen.rounds}", "")
    report.ratios(found, OWN)
    report.say("", _measure.floor("netverify against ip -batch:", ratio, FLOOR, "x"))
    report.publish(record=chosen.record)


if __name__ == "__main__":
    main()
