"""Network mode ipvlan: macvlan's sister, with one MAC for all (seed document 001, section 2, row macvlan).

Many kernels have no ipvlan. There the test shows that netverify says so, instead of showing something else.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import mac
from netverify.errors import MissingCapability
from netverify.kernel import capabilities
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import arp, tcp


def test_one_mac_and_many_addresses(lab: Lab, documented: Documented) -> None:
    """With ipvlan: containers reach the LAN and each other, not their host, all under the host's MAC."""
    topology = documented("ipvlan")
    if not capabilities.has("ipvlan"):
        with pytest.raises(MissingCapability, match=r"no ipvlan.*modprobe ipvlan") as raised:
            lab.up(topology)
        assert raised.value.capability == "ipvlan"
        return
    lab.up(topology)
    assert lab.reachability(tcp(80), ["c1", "c2", "host", "neighbour"]) == matrix("""
                   c1  c2  host  neighbour
        c1          .   .   X     .
        c2          .   .   X     .
        host        X   X   .     .
        neighbour   .   .   .     .
    """)
    answers = {lab.ask(arp(), "neighbour", name).detail for name in ("c1", "c2", "host")}
    assert answers == {f"is at {mac(lab, 'host', 'eth0')}"}
