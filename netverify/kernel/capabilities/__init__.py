"""What this machine can do, found out by trying it in throwaway namespaces.

Nothing is concluded from a version or a configuration file: a device is made, a rule loaded, a packet sent.
What was found holds for the rest of the process.

>>> capabilities.has("macvlan")
>>> capabilities.require("match set", "iptables-nft")
>>> report.doctor.render(capabilities.detect())
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from difflib import get_close_matches

from netverify.errors import MissingCapability
from netverify.kernel.capabilities.checks import CHECKS, DEVICES, FILTERS, KERNEL, ORACLES, PACKETS
from netverify.kernel.capabilities.devices import NeighbourTable, neighbour_tables
from netverify.kernel.capabilities.examination import examine
from netverify.kernel.capabilities.extensions import EXTENSIONS, MATCHES, TARGETS
from netverify.kernel.capabilities.filters import PROGRAMS
from netverify.report.doctor import Capability

__all__ = ["NAMES", "Capability", "NeighbourTable", "detect", "find", "has", "neighbour_tables", "require"]

_ORDER = (KERNEL, DEVICES, PACKETS, FILTERS, MATCHES, TARGETS, ORACLES)
_GROUPS = {item.name: item.group for item in (*CHECKS, *EXTENSIONS)}

NAMES = tuple(sorted(_GROUPS, key=lambda name: _ORDER.index(_GROUPS[name])))
"""The name of every capability, in the order of the report."""

_found: dict[str, Capability] = {}
_lock = threading.Lock()


def detect() -> tuple[Capability, ...]:
    """Everything that is known about this machine, in the order of the report; about a second the first time.

    Never raises for something missing, not even when there are no namespaces to try anything in.
    """
    _look(NAMES)
    return tuple(_found[name] for name in NAMES)


def find(name: str) -> Capability:
    """One capability, without trying any other. Raises ValueError for a name that is not in `NAMES`."""
    if name not in _GROUPS:
        close = get_close_matches(name, NAMES)
        raise ValueError(
            f"no capability is called {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
        )
    _look((name,))
    return _found[name]


def has(name: str, program: str | None = None) -> bool:
    """Whether this machine has a capability.

    For an extension of iptables `program` asks about one of its programs, such as "ip6tables-nft"; otherwise
    every iptables program that works here has to take it. Raises ValueError for an unknown name or program.
    """
    capability = find(name)
    if program is None:
        return capability.available
    if capability.group not in (MATCHES, TARGETS) or program not in PROGRAMS:
        raise ValueError(f"{name!r} of {program!r}: ask about an extension, and one of {', '.join(PROGRAMS)}")
    return program in capability.works_in


def require(name: str, program: str | None = None) -> Capability:
    """The capability, where this machine has it. Raises MissingCapability with the reason and the remedy."""
    if has(name, program):
        return find(name)
    capability = find(name)
    where = "" if program is None else f"{program} does not take it. "
    raise MissingCapability(name, f"{where}{capability.detail}", f"To get it: {capability.remedy}")


def _look(names: Iterable[str]) -> None:
    with _lock:
        if unknown := [name for name in names if name not in _found]:
            _found.update(examine(unknown))
