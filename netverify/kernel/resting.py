"""Namespaces in which no packet of a round can be waiting for a neighbour.

The kernel looks through the whole machine's neighbour table to say what one namespace has in it. In a lab of
hundreds, that is asked of those alone who have sent something: the senders of a round, whoever received from
them, and everybody with several devices, who may pass packets on. Who has one device, and would have been
seen to receive by the listener in it, has sent nothing. (A router with one device may be missed: a packet
that waits there is counted nowhere, so that its cell is an ERROR, and no false claim.)
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import cached_property

from netverify.kernel.channel import Channel
from netverify.kernel.engines.engine import Engine
from netverify.kernel.namespace import Namespace, Visitor

MANY = 64  # namespaces; fewer are quickly asked


class Resting:
    """The namespaces of a lab that send only what is theirs; looked at when first asked for."""

    def __init__(self, visitor: Visitor, channels: Mapping[str, tuple[Namespace, Channel]]) -> None:
        self._visitor, self._channels = visitor, channels

    def but(self, engine: Engine) -> frozenset[str]:
        """Those that have nothing to do with the round that an engine is about to end."""
        if len(self._channels) <= MANY:
            return frozenset()
        busy = {relay.namespace.name for relay in engine.relays}
        for number in engine.concluding:
            busy.add(engine.pairs[number].source.namespace.name)
            receiver = engine.records[number].receiver
            if receiver is not None:
                busy.add(receiver)
        listening = {listener.namespace.name for listener in engine.listeners}
        return frozenset(self._leaves & listening - busy)

    @cached_property
    def _leaves(self) -> frozenset[str]:
        spaces = [namespace for namespace, _channel in self._channels.values()]
        found = self._visitor.visit_all((namespace, _is_leaf) for namespace in spaces)
        return frozenset(namespace.name for namespace, leaf in zip(spaces, found, strict=True) if leaf)


def _is_leaf() -> bool:
    """Whether the calling thread's namespace has one device besides lo."""
    return len(socket.if_nameindex()) <= 2
