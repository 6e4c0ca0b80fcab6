"""Asking a twin what the model was asked: the same pairs, with real packets."""

from __future__ import annotations

import os
from collections.abc import Sequence

from netverify.kernel.engines.engine import Pair, Source, Target
from netverify.kernel.flow_key import Nonce
from netverify.kernel.lab import Lab
from netverify.kernel.twin_neighbours import introduce
from netverify.kernel.twin_services import services
from netverify.model.subject import Subject
from netverify.reachability.probe import Cell, Probe
from netverify.topology.model import Address


def ask_twin(
    lab: Lab, subject: Subject, probe: Probe, pairs: Sequence[tuple[str, str, Address]]
) -> list[Cell]:
    """One cell for each (source, target, address), in order; everybody listens, as the model takes it."""
    owners = {address: subject.owner(address) for address in {address for _, _, address in pairs}}
    offered = services(lab, subject, probe, owners)
    names = {source for source, _target, _address in pairs}
    sources = {name: Source(name, lab.namespace(subject.endpoint(name).node)) for name in names}
    targets: dict[tuple[str, Address], Target] = {}
    for _source, name, address in pairs:
        if (name, address) not in targets:
            owner = owners[address]
            holder = None if owner is None or owner in offered.taken else lab.namespace(owner).name
            targets[name, address] = Target(name, address, None, holder)
    wanted = [Pair(sources[source], targets[target, address]) for source, target, address in pairs]
    introduce(lab, subject.world, len(wanted))
    nonce = os.urandom(8)
    lab.flow = Nonce(nonce)
    return lab.prober.ask(probe, wanted, offered.listeners, offered.relays, nonce)
