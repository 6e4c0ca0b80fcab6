"""Asking a twin what the model was asked: the same pairs, with real packets."""

from __future__ import annotations

import os
from collections.abc import Sequence

from netverify.kernel.engines.engine import Listener, Pair, Source, Target
from netverify.kernel.flow_key import Nonce
from netverify.kernel.lab import Lab
from netverify.model.subject import Subject
from netverify.reachability.probe import Cell, Probe
from netverify.topology.model import Address


def ask_twin(
    lab: Lab, subject: Subject, probe: Probe, pairs: Sequence[tuple[str, str, Address]]
) -> list[Cell]:
    """One cell for each (source, target, address), in order; everybody listens, as the model takes it."""
    relays = [
        relay
        for protocol, relay in lab.relays
        if protocol == probe.protocol and relay.version == probe.version
    ]
    taken = {relay.namespace.name for relay in relays if relay.port == probe.port}
    nodes = list(subject.world.stacks)
    listeners = [Listener(lab.namespace(node), probe.port) for node in nodes if node not in taken]
    wanted = []
    for source, target, address in pairs:
        owner = subject.owner(address)
        holder = None if owner is None or owner in taken else lab.namespace(owner).name
        wanted.append(
            Pair(
                Source(source, lab.namespace(subject.endpoint(source).node)),
                Target(target, address, None, holder),
            )
        )
    nonce = os.urandom(8)
    lab.flow = Nonce(nonce)
    return lab.prober.ask(probe, wanted, listeners, relays, nonce)
