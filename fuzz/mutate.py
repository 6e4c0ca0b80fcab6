"""Changes to an input that keep its language in mind: words and lines moved, not bytes.

libFuzzer changes bytes, which a parser refuses at the first place it reads. Most of what goes wrong goes
wrong behind that: a word too many, another one's value, a line that stands twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

_TOKENS = re.compile(rb"[A-Za-z0-9_.+-]+|\s|.", re.DOTALL)
_ODD = (
    b"0",
    b"-1",
    b"4294967296",
    b"99999999999999999999",
    b"::",
    b"0.0.0.0/0",
    b"",
    b'"',
    b"!",
    b"\t",
    b",",
)


def mutator(
    words: Sequence[str], anyhow: Callable[[bytes, int], bytes]
) -> Callable[[bytes, int, int], bytes]:
    """A mutator for a language with these words; `anyhow` is libFuzzer's own, for a third of the changes."""
    known = [word.encode() for word in words] + list(_ODD)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.randrange(3) == 0:
            return anyhow(data, size)
        by_line = random.randrange(3) == 0
        parts = data.splitlines(keepends=True) if by_line else _TOKENS.findall(data)
        for _ in range(random.randint(1, 3)):
            _change(parts, random, [] if by_line else known)
        return b"".join(parts)[:size]

    return mutate


def _change(parts: list[bytes], random: Random, known: Sequence[bytes]) -> None:
    """One change: a part goes, comes twice, comes elsewhere, or is another one."""
    if not parts:
        parts.append(random.choice(known) if known else b"\n")
        return
    place, other = random.randrange(len(parts)), random.randrange(len(parts))
    kind = random.randrange(5 if known else 4)
    if kind == 0:
        del parts[place]
    elif kind == 1:
        parts.insert(other, parts[place])
    elif kind == 2:
        parts[place], parts[other] = parts[other], parts[place]
    elif kind == 3:
        del parts[place : place + random.randint(1, 8)]
    else:
        parts[place] = random.choice(known)
