"""What an ipset holds, as facts: its type and its entries, in the words of ipset(8).

`read_ipsets` reads what `ipset save` prints. What a set means to a packet is in `matches.ipsets`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from netverify.dataplane.errors import DataplaneError

PARTS = frozenset({"ip", "net", "port", "mac", "mark", "iface", "set"})
_ANY_FAMILY = frozenset({"hash:mac", "bitmap:port", "list:set"})
_IPV4_ONLY = frozenset({"bitmap:ip", "bitmap:ip,mac"})


@dataclass(frozen=True, slots=True)
class SetEntry:
    """One entry: a value for each part of the set's type, as text.

    `nomatch` makes an exception of it; `timeout` is the number of seconds after which it goes, 0 for never;
    `wildcard` says that its device's name is only a beginning.
    """

    values: tuple[str, ...]
    nomatch: bool = False
    timeout: int = 0
    wildcard: bool = False

    @classmethod
    def of(cls, text: str) -> SetEntry:
        """Read `10.0.0.0/8,tcp:80 timeout 60 nomatch`. Raises DataplaneError."""
        words = shlex.split(text)
        if not words:
            raise DataplaneError("an entry of an ipset is empty")
        timeout = words[words.index("timeout") + 1] if "timeout" in words[:-1] else "0"
        if not timeout.isdecimal():
            raise DataplaneError(f"ipset entry {text!r}: timeout {timeout!r} is no number of seconds")
        values = tuple(words[0].split(","))
        return cls(values, "nomatch" in words[1:], int(timeout), "wildcard" in words[1:])

    def __str__(self) -> str:
        return ",".join(self.values) + (" nomatch" if self.nomatch else "")


@dataclass(frozen=True, slots=True)
class IpSet:
    """An ipset: `kind` is its type, such as `hash:ip,port`; `version` the family, None for both.

    `netmask` (in bits) and `markmask` cut down what packets are looked up by. Raises DataplaneError for a
    type that ipset(8) does not have, or an entry that does not suit it.
    """

    kind: str
    entries: tuple[SetEntry, ...] = ()
    version: int | None = 4
    netmask: int | None = None
    markmask: int = 0xFFFFFFFF

    def __post_init__(self) -> None:
        if not self.parts or not PARTS.issuperset(self.parts):
            raise DataplaneError(f"ipset type {self.kind!r}: expected something like hash:net or bitmap:port")
        for entry in self.entries:
            if len(entry.values) != len(self.parts):
                raise DataplaneError(
                    f"ipset of type {self.kind}: entry {entry} has {len(entry.values)} parts, "
                    f"expected {len(self.parts)}"
                )

    @classmethod
    def of(
        cls,
        kind: str,
        *entries: str,
        version: int | None = 4,
        netmask: int | None = None,
        markmask: int = 0xFFFFFFFF,
    ) -> IpSet:
        """A set with its entries as text: `IpSet.of("hash:net", "10.0.0.0/8", "10.1.0.0/16 nomatch")`."""
        family = None if kind in _ANY_FAMILY else version
        return cls(kind, tuple(map(SetEntry.of, entries)), family, netmask, markmask)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of an entry: `("ip", "port")` for `hash:ip,port`."""
        return tuple(part for part in self.kind.partition(":")[2].split(",") if part)

    @property
    def knows_nomatch(self) -> bool:
        """Whether exceptions have a meaning in sets of this type: those of networks."""
        return "net" in self.parts


def read_ipsets(text: str) -> Mapping[str, IpSet]:
    """Every set in what `ipset save` prints, by name. Raises DataplaneError with the number of the line."""
    found: dict[str, IpSet] = {}
    entries: dict[str, list[SetEntry]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if words[0] in ("create", "-N") and len(words) >= 3:
                found[words[1]] = _created(words)
                entries[words[1]] = []
            elif words[0] in ("add", "-A") and len(words) >= 3:
                if words[1] not in found:
                    raise DataplaneError(f"set {words[1]} was not created before")
                entries[words[1]].append(SetEntry.of(line.split(None, 2)[2]))
            else:
                raise DataplaneError("expected `create NAME TYPE ...` or `add NAME ENTRY ...`")
        except (DataplaneError, ValueError) as error:
            raise DataplaneError(f"ipset save, line {number}: {error}: {line}") from error
    return {name: replace(one, entries=tuple(entries[name])) for name, one in found.items()}


def _created(words: list[str]) -> IpSet:
    options = dict(pairwise(words[3:]))
    version = 6 if options.get("family") == "inet6" else 4
    netmask = options.get("netmask")
    return IpSet.of(
        words[2],
        version=4 if words[2] in _IPV4_ONLY else version,
        netmask=None if netmask is None else int(netmask),
        markmask=int(options.get("markmask", "0xffffffff"), 0),
    )
