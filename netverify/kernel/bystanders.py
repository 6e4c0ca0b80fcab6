"""Processes beside our own that pass packets on, such as an engine's userland proxies: when are they at rest?

The barrier says when every packet that was sent has been delivered; what a process then makes of one is that
process's own time. The kernel makes a thread runnable in the very softirq that brings what it waits for
(try_to_wake_up, kernel/sched/core.c), and a thread that ran has been switched to and from, which its status
counts (proc(5)). So where all threads sleep, a barrier passes, and they sleep still without having run in
between, nothing is on its way to them or from them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from netverify.errors import KernelError
from netverify.kernel.barrier import Barrier

PATIENCE = 10.0  # seconds; a proxy needs some milliseconds
_ASLEEP = frozenset("SI")
_FACTS = re.compile(r"^(?:State:\s+(\S)|\w*voluntary_ctxt_switches:\s+(\d+))", re.MULTILINE)


@dataclass(frozen=True)
class Bystanders:
    """The processes of these numbers."""

    processes: tuple[int, ...]

    def settle(self, barrier: Barrier) -> None:
        """Return when nothing is in flight any more, neither in the kernel nor in one of the processes.

        Raises KernelError where they are still busy after `PATIENCE`.
        """
        deadline = time.monotonic() + PATIENCE
        before = None
        while before is None or before != self._at_rest():
            if time.monotonic() > deadline:
                raise KernelError(
                    f"processes {', '.join(map(str, self.processes))} do not come to rest in {PATIENCE:.0f} s"
                )
            os.sched_yield()
            barrier.wait_everywhere()
            before = self._at_rest()
            barrier.wait_everywhere()

    def _at_rest(self) -> int | None:
        """How often their threads have been switched to and from, if all sleep; else None."""
        switches = 0
        for process in self.processes:
            for status in _statuses(process):
                for state, count in _FACTS.findall(status):
                    if state and state not in _ASLEEP:
                        return None
                    switches += int(count or 0)
        return switches


def _statuses(process: int) -> Iterable[str]:
    """The status of each thread; one that ended meanwhile has none."""
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
    except FileNotFoundError:
        return
    for thread in threads:
        try:
            yield (thread / "status").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
