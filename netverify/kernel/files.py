"""File descriptors: room for enough of them."""

from __future__ import annotations

import resource
from pathlib import Path


def raise_limit() -> int:
    """Use all the open files that this process may have (a lab of 400 needs some 3,000); returns how many."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def room() -> int:
    """How many more files this process may open."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - len(list(Path("/proc/self/fd").iterdir()))
