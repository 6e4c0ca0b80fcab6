"""The kernel as the judge of the model: what both say of the same rules and the same packets.

    case       a ruleset and packets, as data
    site       the judged host: its devices, addresses and routes, for both sides
    wire       packets as bytes, and back
    ground, taps, stand     the kernel's side: the host in a namespace, packets in and out, counters
    foretell   the model's side
    verdict    the two compared, and a disagreement made small

docs/fidelity.md tells how it is used and what it has found.
"""
