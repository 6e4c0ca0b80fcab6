"""Who watches runs from outside, and says what they left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.outside import machine, processes
from tests.outside.run import Run, run
from tests.outside.tripwires import Tripwires

# Seconds until the last child must have ended, and until the kernel must have freed what they were in. A
# pytest-xdist worker that is not killed with its controller goes on with its test for up to 15 s (execnet).
GRACE, FREEING = 3.0, 15.0


@dataclass(frozen=True)
class Look:
    """What a run has: processes, network namespaces, and mount namespaces with a /run of their own."""

    processes: int
    networks: int
    mounts: int


class Observer:
    """Starts runs, looks at them, and knows how everything was before the first one."""

    def __init__(self, tripwires: Tripwires, folder: Path) -> None:
        self._tripwires, self._folder, self._runs = tripwires, folder, 0
        self._children = processes.children()
        self._machine = machine.snapshot()

    @contextmanager
    def run(self, command: Sequence[str]) -> Iterator[Run]:
        """Start a run of pytest; whatever the `with` block leaves of it is killed."""
        self._runs += 1
        with run(command, self._folder / f"{self._runs}.txt") as running:
            yield running

    def look(self, pid: int) -> Look:
        """Look at a process and its descendants, and lay tripwires in all their namespaces."""
        family = processes.tree(pid)
        return Look(len(family), *self._tripwires.lay(family))

    def left(self, grace: float = GRACE, freeing: float = FREEING) -> dict[str, object]:
        """What is left of all runs, or is not as before them: processes, namespaces, the machine's state."""
        found = {
            "processes": processes.wait_for_the_last(self._children, grace),
            "namespaces": self._tripwires.wait(freeing),
            "machine": machine.differences(self._machine, machine.snapshot()),
        }
        return {what: these for what, these in found.items() if these}

    def clear_away(self) -> None:
        """Kill what a failed test has found to be left."""
        for pid in processes.wait_for_the_last(self._children, 0):
            os.kill(pid, signal.SIGKILL)
        processes.wait_for_the_last(self._children, GRACE)
