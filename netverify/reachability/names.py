"""Which names the rows and columns of a table may have, so that a printed table can be read back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from netverify.reachability.errors import ReachabilityError
from netverify.reachability.text import printable

# Anything but blanks and what a terminal would obey, so `host:8080`, `fe80::1%eth0` and `172.18.0.0/16` are
# names. A leading '#' would read as a comment. The symbols that are no letters cannot be names, so that a
# table without its heading is noticed; letters can, for `X` and `R` are fine names of a host and a router.
NOT_NAMES: Final = frozenset(".>-?")
_BLANK: Final = re.compile(r"\s")


def name_fault(name: str) -> str | None:
    """What keeps `name` from naming a row or a column, in words; None when nothing does."""
    if not name:
        return "it is empty"
    if name.startswith("#"):
        return "it starts with '#', which begins a comment"
    if name in NOT_NAMES:
        return "it is a symbol of the table"
    if _BLANK.search(name):
        return "it has a blank in it"
    if not name.isprintable():
        bad = next(c for c in name if not c.isprintable())
        return f"it has U+{ord(bad):04X} ({unicodedata.name(bad, 'a control character')}) in it"
    return None


def check_names(what: str, names: Iterable[str]) -> None:
    """Raise ReachabilityError unless there are names, each is usable, and none comes twice."""
    seen: set[str] = set()
    for name in names:
        fault = name_fault(name) or ("it comes twice" if name in seen else None)
        if fault:
            raise ReachabilityError(f"{what} '{printable(name)}': {fault}; choose another name")
        seen.add(name)
    if not seen:
        raise ReachabilityError(f"a matrix without a {what} proves nothing; name at least one")
