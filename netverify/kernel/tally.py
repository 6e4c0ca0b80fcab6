"""Every place where the kernel counts a packet that it drops.

Three books are kept, and read before and after a batch of probes:

* the counters of dropping rules and of DROP policies, wherever rules are loaded;
* each namespace's SNMP and extended counters (/proc/net/snmp, netstat, snmp6; RFC 4293, and
  Documentation/networking/snmp_counter.rst of the kernel);
* the routing cache's count of martians (/proc/net/stat/rt_cache), which has no SNMP counter.

Some of these counters mean that the network's own rules said no: a sound negative. Others mean that a buffer
was full: then the probe failed and nothing was proven. OutDiscards is in neither book: it counts packets that
had no room in the neighbour table, and just as well those of the host's own that its rules dropped.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from netverify.kernel.namespace import Namespace, Visitor

# Counter of /proc/net/{snmp,netstat,snmp6} -> what it says in words.
VERDICTS: Mapping[str, str] = {
    "Ip.InAddrErrors": "not addressed to this host, which does not forward",
    "Ip.OutNoRoutes": "no route",
    "IpExt.InNoRoutes": "no route for a forwarded packet",
    "TcpExt.IPReversePathFilter": "reverse path filter (rp_filter)",
    "TcpExt.ArpFilter": "arp_filter",
    "Ip6InAddrErrors": "not addressed to this host, which does not forward (IPv6)",
    "Ip6InNoRoutes": "no route for a forwarded packet (IPv6)",
    "Ip6OutNoRoutes": "no route (IPv6)",
    "rt_cache.in_martian_dst": "martian destination",
    "rt_cache.in_martian_src": "martian source",
}
# Those of them after which the host sends an error message, which something may drop and count in turn.
ANSWERED = frozenset({"Ip.OutNoRoutes", "IpExt.InNoRoutes", "Ip6InNoRoutes", "Ip6OutNoRoutes"})
LOSSES: Mapping[str, str] = {
    "Udp.RcvbufErrors": "a UDP receive buffer was full",
    "Udp.SndbufErrors": "a UDP send buffer was full",
    "Udp6RcvbufErrors": "a UDP receive buffer was full",
    "Udp6SndbufErrors": "a UDP send buffer was full",
    "TcpExt.ListenOverflows": "a listener's queue was full",
}
_FILES = ("snmp", "netstat", "snmp6")


@dataclass(frozen=True)
class Tally:
    """Dropped packets by place: a rule as "host: table CHAIN rule 3: text", a kernel check in words.

    `dropped` are those that nobody hears of again, `answered` those about which an error message was sent,
    and `lost` those for which there was no room.
    """

    dropped: Mapping[str, int] = field(default_factory=dict)
    answered: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def places(self) -> Mapping[str, int]:
        """Everything that had the right to drop a packet, and how often it did."""
        return {**self.dropped, **self.answered}

    @property
    def total(self) -> int:
        """How many packets were dropped by something that had the right to."""
        return sum(self.places.values())

    def accounts_for(self, silent: int) -> bool:
        """Whether these drops are as many as the `silent` packets, and none could have counted twice."""
        return not self.lost and not self.answered and self.total == silent

    def since(self, before: Tally) -> Tally:
        """What was counted between two readings."""
        return Tally(
            _difference(self.dropped, before.dropped),
            _difference(self.answered, before.answered),
            _difference(self.lost, before.lost),
        )


def _difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    moved = ((place, count - before.get(place, 0)) for place, count in after.items())
    return {place: count for place, count in moved if count}


class StatisticsBook:
    """The SNMP counters of a set of namespaces, through files that were opened inside each of them."""

    def __init__(self, visitor: Visitor, namespaces: Iterable[Namespace], cpu: int | None) -> None:
        self._cpu = cpu
        self._stack = ExitStack()
        self._files: list[tuple[str, list[int]]] = []
        spaces = list(namespaces)
        for namespace, files in zip(
            spaces, visitor.visit_all((namespace, _open_files) for namespace in spaces), strict=True
        ):
            for fd in files:
                self._stack.callback(os.close, fd)
            self._files.append((namespace.name, files))
        self._martians = visitor.visit(spaces[0], _open_martians) if spaces else None
        if self._martians is not None:
            self._stack.callback(os.close, self._martians)

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def read(self) -> Tally:
        """Read every counter of `VERDICTS` and `LOSSES`."""
        dropped: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        lost: Counter[str] = Counter()
        for name, files in self._files:
            for fd in files:
                for key, value in _parse(_read(fd)):
                    if words := VERDICTS.get(key):
                        (answered if key in ANSWERED else dropped)[f"{name}: {words}"] += value
                    elif words := LOSSES.get(key):
                        lost[f"{name}: {words}"] += value
        if self._martians is not None:
            rows = _read(self._martians).splitlines()
            for key, value in _parse_martians(rows, self._cpu):
                dropped[VERDICTS[key]] += value
        return Tally(dropped, answered, lost)


def _open_files() -> list[int]:
    """Open the calling thread's counters; a kernel without IPv6 has no snmp6."""
    paths = [Path("/proc/thread-self/net", name) for name in _FILES]
    return [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths if path.exists()]


def _open_martians() -> int:
    return os.open("/proc/thread-self/net/stat/rt_cache", os.O_RDONLY | os.O_CLOEXEC)


def _read(fd: int) -> str:
    """A file of /proc from its beginning, which the kernel hands out in parts where it has many lines."""
    parts: list[bytes] = []
    position = 0
    while part := os.pread(fd, 1 << 17, position):
        parts.append(part)
        position += len(part)
    return b"".join(parts).decode("ascii")


def _parse(text: str) -> Iterable[tuple[str, int]]:
    """The counters of `VERDICTS` and `LOSSES` in a file of either shape.

    One has pairs of lines ("Ip: names", "Ip: values"), the other one "name value" a line.
    """
    lines = text.splitlines()
    if ":" in text:
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            if columns := _columns(names):
                fields = values.split()
                for column, key in columns:
                    yield key, int(fields[column])
    else:
        for line in lines:
            key, value = line.split()
            if key in VERDICTS or key in LOSSES:
                yield key, int(value)


@cache
def _columns(names: str) -> tuple[tuple[int, str], ...]:
    """Where a line of names has counters that are read here; every namespace has the same lines."""
    head, *rest = names.split()
    keys = ((column, f"{head.rstrip(':')}.{name}") for column, name in enumerate(rest, 1))
    return tuple((column, key) for column, key in keys if key in VERDICTS or key in LOSSES)


def _parse_martians(rows: list[str], cpu: int | None) -> Iterable[tuple[str, int]]:
    """Read /proc/net/stat/rt_cache: a heading, then a line of hexadecimal counts for each CPU.

    The counts are the machine's, not the namespace's; the CPU that the probes are pinned to keeps other
    processes' martians out.
    """
    columns = rows[0].split()
    for number, row in enumerate(rows[1:]):
        if cpu is not None and number != cpu:
            continue
        values = row.split()
        for name in ("in_martian_dst", "in_martian_src"):
            yield f"rt_cache.{name}", int(values[columns.index(name)], 16)
