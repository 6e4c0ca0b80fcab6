"""The packet's way through Linux hosts, and what a packet filter says of all packets. No kernel is asked.

`HostView` holds a host's facts, `World` several hosts and the wires between them; `World.trace` follows one
packet and tells a `Trace`, `World.ask` a request and its answer. `compile_rules` makes a ruleset ready for
`Evaluator`, which runs it over one packet (`OnePacket`) or over all of them (`sets.PacketSets`). `reach`,
`difference` and `lint` ask questions about all packets; they and `sets` need the package oxidd and are
imported from their own modules.
"""

from __future__ import annotations

from netverify.dataplane.algebra import Algebra, OnePacket
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.trace import Trace
from netverify.dataplane.view import HostView, Link, Route, RoutingRule, Service
from netverify.dataplane.world import Exchange, Wire, World

__all__ = [
    "Algebra",
    "DataplaneError",
    "Evaluator",
    "Exchange",
    "HostView",
    "Link",
    "OnePacket",
    "Packet",
    "Program",
    "Route",
    "RoutingRule",
    "Service",
    "State",
    "Trace",
    "Wire",
    "World",
    "compile_rules",
]
