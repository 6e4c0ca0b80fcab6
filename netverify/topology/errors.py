"""What can be wrong with a topology, with the file that describes one, and with an address pool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from netverify.errors import InputError, Place

Step = str | int  # a key of a mapping, or a position in a list (from 0)
_EXCERPT = 100  # characters of a faulty line that an error shows


class TopologyError(InputError):
    """A part of a topology that cannot be.

    `subject` says what is wrong in words ("interface 'eth0'"); `path` leads from there to the value at fault,
    in the keys of a topology file; `problem` and `expected` say what is the matter and what belongs there.
    """

    def __init__(self, subject: str, path: Sequence[Step], problem: str, expected: str = "") -> None:
        where = f"{subject}: {key_path(path)}" if path else subject
        super().__init__(f"{where}: {sentence(problem, expected)}")
        self.subject = subject
        self.path = tuple(path)
        self.problem = problem
        self.expected = expected


class TopologyFileError(InputError):
    """A topology file that cannot be read: where in it, what stands there and what was expected.

    `place` has file, line and column (from 1, None where the file as a whole is at fault) and the key path.
    """

    def __init__(self, place: Place, problem: str, expected: str = "", text: str = "") -> None:
        lines = [f"{place}: {sentence(problem, expected)}"]
        if text:
            lines += _pointed(text, place.column or 1)
        super().__init__("\n    ".join(lines))
        self.place = place
        self.problem = problem
        self.expected = expected


class AddressPoolError(InputError):
    """An address pool cannot do what was asked: `subnet` is the pool, `address` the address in question."""

    def __init__(
        self,
        subnet: IPv4Network | IPv6Network,
        address: IPv4Address | IPv6Address | None,
        problem: str,
        remedy: str,
    ) -> None:
        super().__init__(f"address pool {subnet}: {problem}; {remedy}")
        self.subnet = subnet
        self.address = address


class PoolExhausted(AddressPoolError):
    """Every address of the subnet is taken or reserved."""


class AddressOutsideSubnet(AddressPoolError):
    """The address does not belong to the subnet, or the subnet keeps it for itself (network, broadcast)."""


class AddressInUse(AddressPoolError):
    """The address is taken, by an earlier allocation or as the gateway."""


class PoolOverlap(AddressPoolError):
    """The subnet shares addresses with another pool."""


class DoubleRelease(AddressPoolError):
    """The address to release is not allocated (any more)."""


def sentence(problem: str, expected: str) -> str:
    """`problem`, and what was expected if there is anything to say."""
    return f"{problem}; expected {expected}" if expected else problem


def key_path(path: Iterable[Step]) -> str:
    """A path as people write it: `containers.c1.publish[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return printable(text)


def did_you_mean(word: str, known: Iterable[str], kind: str = "one of") -> str:
    """What to say instead of a word that nobody knows: the nearest known one first, then a list of them."""
    known = list(known)
    if not known:
        return "one that is there (there is none)"
    listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    near = get_close_matches(word[:80], known, n=1, cutoff=0.6)
    return f"{kind} {listed}" + (f" (did you mean {near[0]!r}?)" if near else "")


def quoted(value: object, limit: int = 60) -> str:
    """A value as errors show it: in quotes, escaped, and cut where it is long."""
    text = str(value)
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def printable(text: str) -> str:
    r"""`text` with what a terminal would obey instead of showing written as `\n`, `\x1b` and the like."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _pointed(text: str, column: int) -> list[str]:
    """Two lines: the part of `text` around `column` (from 1), and a caret under that character."""
    start = max(0, column - 1 - _EXCERPT // 2)
    before = ("..." if start else "") + printable(text[start : column - 1])
    return [before + printable(text[column - 1 : start + _EXCERPT]), " " * len(before) + "^"]
