"""Making a failing input small: as many of its lines, then words, then bytes left out as still fail alike."""

from __future__ import annotations

import re
from collections.abc import Callable

from fuzz.targets import BrokenPromise

_UNITS = (rb"[^\n]*\n|[^\n]+", rb"\w+|\s+|.", rb".")
MOST_RUNS = 3000

Target = Callable[[bytes], None]


def smallest(target: Target, data: bytes) -> bytes | None:
    """The smallest input found that fails as `data` does; None where that one does not fail here."""
    wanted = _fault(target, data)
    if wanted is None:
        return None
    runs = 0
    for unit in _UNITS:
        parts = re.findall(unit, data, re.DOTALL)
        size = max(1, len(parts) // 2)
        while size and runs < MOST_RUNS:
            start, less = 0, False
            while start < len(parts) and runs < MOST_RUNS:
                tried = parts[:start] + parts[start + size :]
                runs += 1
                if _fault(target, b"".join(tried)) == wanted:
                    parts, less = tried, True
                else:
                    start += size
            size = size if less and size == 1 else size // 2
        data = b"".join(parts)
    return data


def _fault(target: Target, data: bytes) -> str | None:
    """The name of what a target raises, or None; a broken promise by its words too, but for numbers."""
    try:
        target(data)
    except BrokenPromise as error:
        return re.sub(r"[0-9]+", "0", str(error))[:60]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was found
        return type(error).__name__
    return None
