"""Mininet's pingall on a small network, timed; run by the Python that has Mininet, in namespaces of its own.

A router joins the subnets and drops what would pass from one to another, as Docker's rules do. Prints JSON:
seconds to start, and for the pairs within and across subnets how many there were and how long they took.
"""

from __future__ import annotations

import json
import sys
import time

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import Topo


class Subnets(Topo):  # type: ignore[misc]
    """Hosts spread over subnets, each a Linux bridge, around one router."""

    def build(self, hosts: int, subnets: int) -> None:
        """Called by Mininet."""
        self.addHost("r0", ip=None)
        for number in range(subnets):
            self.addSwitch(f"s{number}")
            self.addLink(f"s{number}", "r0", intfName2=f"r0-eth{number}")
        for number in range(hosts):
            subnet, place = number % subnets, number // subnets
            name = f"h{number}"
            self.addHost(name, ip=f"10.{subnet}.0.{place + 2}/16", defaultRoute=f"via 10.{subnet}.0.1")
            self.addLink(name, f"s{subnet}")


def main(hosts: int, subnets: int, across: int) -> None:
    """Build, ping all pairs of each subnet, then `across` hosts of different subnets among each other."""
    setLogLevel("critical")
    # It would raise limits of the whole machine (fs.file-max, kernel.pty.max), which are none of ours.
    Mininet.inited = True
    began = time.perf_counter()
    net = Mininet(topo=Subnets(hosts=hosts, subnets=subnets), switch=LinuxBridge, controller=None)
    net.start()
    router = net["r0"]
    for number in range(subnets):
        router.cmd(f"ip address add 10.{number}.0.1/16 dev r0-eth{number}")
    router.cmd("sysctl -w net.ipv4.ip_forward=1; iptables -P FORWARD DROP")
    started = time.perf_counter() - began
    members = [[f"h{number}" for number in range(subnet, hosts, subnets)] for subnet in range(subnets)]
    try:
        for names in members:
            _ping(net, names)  # untimed: right after the start Mininet loses packets, each costing a second
        within = [_ping(net, names) for names in members]
        apart = _ping(net, [f"h{number}" for number in range(across)])
    finally:
        net.stop()
    if any(loss for _pairs, _took, loss in within) or apart[2] != 100:
        sys.exit(f"the network does not do what it should: within {within}, across {apart}")
    figures = {
        "start": started,
        "within": [sum(pairs for pairs, _, _ in within), sum(took for _, took, _ in within)],
        "across": apart[:2],
    }
    print(json.dumps(figures))


def _ping(net: Mininet, names: list[str]) -> tuple[int, float, float]:
    """What pingall does, for some hosts: number of ordered pairs, seconds, loss in percent."""
    began = time.perf_counter()
    loss = net.ping([net[name] for name in names], timeout="1")
    return len(names) * (len(names) - 1), time.perf_counter() - began, loss


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
