"""What hosts share while packets are followed: what is assumed, what is taken down, what they remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netverify.dataplane.connections import Connections
from netverify.dataplane.trace import Recorder


@dataclass(slots=True)
class Inquiry:
    """Following packets through one host, or through all of a world, which then have the same one.

    With `brief`, of long chains only rules that may match are asked, and told of. `tables` are the hosts'
    connections, by name; a host that is not there knows none.
    """

    recorder: Recorder = field(default_factory=Recorder)
    assume: Mapping[str, bool] = field(default_factory=dict)
    brief: bool = False
    tables: dict[str, Connections] = field(default_factory=dict)


class Inquiring:
    """A host that takes part in an inquiry; it begins with one of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.inquiry = Inquiry()

    @property
    def recorder(self) -> Recorder:
        """What takes down what happens."""
        return self.inquiry.recorder

    @recorder.setter
    def recorder(self, recorder: Recorder) -> None:
        self.inquiry.recorder = recorder

    @property
    def assume(self) -> Mapping[str, bool]:
        """Values of unknowns, by name."""
        return self.inquiry.assume

    @assume.setter
    def assume(self, assume: Mapping[str, bool]) -> None:
        self.inquiry.assume = assume

    @property
    def connections(self) -> Connections:
        """The connections that this host has seen in the inquiry."""
        tables = self.inquiry.tables
        found = tables.get(self._name)
        if found is None:
            found = tables[self._name] = Connections()
        return found

    @connections.setter
    def connections(self, connections: Connections) -> None:
        self.inquiry.tables[self._name] = connections
