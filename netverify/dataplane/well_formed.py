"""The packets that there are: a field that a packet's protocol does not have is 0."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from netverify.dataplane.condition import All, AnyOf, Condition, Masked, Not, equals
from netverify.dataplane.packet import ACK, FIN, ICMP, ICMPV6, RST, SYN, TCP, WITH_PORTS

_ECHO = (ICMP, ICMPV6)
WELL_FORMED: Condition = All(
    (
        AnyOf((equals("protocol", *sorted(WITH_PORTS)), equals("dport", 0))),
        AnyOf((equals("protocol", *sorted(WITH_PORTS), *_ECHO), equals("sport", 0))),
        AnyOf((equals("protocol", *_ECHO), All((equals("icmp_type", 0), equals("icmp_code", 0))))),
        AnyOf((equals("protocol", TCP), equals("tcp_flags", 0))),
    )
)
"""As `Packet` holds it: ports, ICMP's type and code, TCP's flags; echo's identifier is in `sport`."""
QUESTIONS: Mapping[int, Condition] = MappingProxyType(
    {
        version: AnyOf(
            (
                Not(equals("protocol", TCP, *_ECHO)),
                All((equals("protocol", TCP), Masked("tcp_flags", SYN, FIN | SYN | RST | ACK))),
                All((equals("protocol", echo), equals("icmp_type", kind), equals("icmp_code", 0))),
            )
        )
        for version, echo, kind in ((4, ICMP, 8), (6, ICMPV6, 128))
    }
)
"""What somebody answers: the first packet of a TCP connection, an echo request, any datagram."""
