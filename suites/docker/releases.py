"""The versions of Docker that are asked: the columns of every table, one a generation, and where IPv6 came.

The generation of 18.05 to 27 has two columns, because 27 filters IPv6 unless told not to, and those before it
do not unless told to. Of each column the newest version is asked, and with `pytest suites/docker --docker
24.0` that one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from netverify.docker import Generation, UnsupportedEngine, Version, generation_of
from netverify.docker.version import IP6TABLES_BY_DEFAULT, Backend


@dataclass(frozen=True)
class Release:
    """Versions of Docker that let the same through: from `first` to `asked`, the newest that was read."""

    title: str
    first: str
    asked: str
    backend: Backend = "iptables"

    @property
    def version(self) -> Version:
        """The version that is asked."""
        return Version.parse(self.asked)

    @property
    def generation(self) -> Generation:
        """The generation of its rules."""
        return generation_of(self.asked, self.backend)

    def __str__(self) -> str:
        return self.asked if self.backend == "iptables" else f"{self.asked}+{self.backend}"


RELEASES = (
    Release("17.06-18.04", "17.06", "18.04"),
    Release("18.05-26", "18.05", "26.1.5"),
    Release("27", "27.0", "27.5.1"),
    Release("28.0.0", "28.0.0", "28.0.0"),
    Release("28.0.1-28.1", "28.0.1", "28.1.1"),
    Release("28.2-28.5", "28.2", "28.5.2"),
    Release("29, iptables", "29.0", "29.7.2"),
    Release("29, nftables", "29.0", "29.7.2", "nftables"),
)


def release_of(text: str) -> Release:
    """The column that a version belongs to, asked for that version: `24.0`, or `29.0+nftables`.

    Raises UnsupportedEngine, which lists what is known, and DockerError for text that is no version.
    """
    number, plus, backend = text.partition("+")
    if plus and backend != "nftables":
        raise UnsupportedEngine(f"{text!r}: after the + only nftables can stand, as in 29.0+nftables")
    chosen: Backend = "nftables" if plus else "iptables"
    generation = generation_of(number, chosen)
    by_default = Version.parse(number).has(IP6TABLES_BY_DEFAULT)
    for one in RELEASES:
        if one.generation == generation and one.version.has(IP6TABLES_BY_DEFAULT) == by_default:
            return replace(one, asked=number)
    raise UnsupportedEngine(f"no column of the suites holds Docker {text}")
