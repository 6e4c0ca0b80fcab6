"""The packets that there are: a field that a packet's protocol does not have is 0."""

from __future__ import annotations

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
QUESTIONS: Condition = AnyOf(
    (
        Not(equals("protocol", TCP, *_ECHO)),
        All((equals("protocol", TCP), Masked("tcp_flags", SYN, FIN | SYN | RST | ACK))),
        All((equals("protocol", ICMP), equals("icmp_type", 8), equals("icmp_code", 0))),
        All((equals("protocol", ICMPV6), equals("icmp_type", 128), equals("icmp_code", 0))),
    )
)
"""What somebody answers: the first packet of a TCP connection, an echo request, any datagram."""
