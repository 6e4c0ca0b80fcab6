"""What the fuzzer begins with: the samples of the tests, and the words of each language."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from netverify.ruleset.vocabulary import BUILTIN_CHAINS, CORE_OPTIONS, MATCHES, TARGETS

ROOT = Path(__file__).parents[1]
CASES = ROOT / "fuzz" / "cases"
"""What was found once, in a folder for each target: checked by the tests, and seeds of every run."""

FOLDERS: Mapping[str, tuple[str, ...]] = {
    "save": ("tests/ruleset/*.rules", "tests/golden/docker/*.rules"),
    "evaluator": ("tests/ruleset/*.rules", "tests/golden/docker/*.rules"),
    "nft": ("tests/ruleset/nft_samples/*.json",),
    "topology": ("fixtures/topologies/*.yaml",),
}


def seeds(target: str) -> Iterator[bytes]:
    """The inputs to begin with: whole files, and their parts, which are quicker to vary."""
    for pattern in FOLDERS[target]:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_bytes()
            yield text
            if target in ("save", "evaluator"):
                yield from _single_rules(text.decode())
    for path in sorted((CASES / target).glob("*")):
        yield path.read_bytes()


def _single_rules(text: str) -> Iterator[bytes]:
    """Each rule of a file in a table of its own, with the chains that it may name."""
    table, chains = "", []
    for line in text.splitlines():
        if line.startswith("*"):
            table, chains = line, []
        elif line.startswith(":"):
            chains.append(line)
        elif line.startswith("-A"):
            yield "\n".join([table, *chains, line, "COMMIT", ""]).encode()


def words(target: str) -> Iterator[str]:
    """The words that a fuzzer would take long to spell."""
    if target == "topology":
        text = " ".join(path.read_text() for path in ROOT.glob(FOLDERS[target][0]))
        yield from sorted({word.strip("{},[]\"'") for word in text.split()} - {""})
    elif target == "nft":
        found: set[str] = set()
        for path in ROOT.glob(FOLDERS[target][0]):
            _keys(json.loads(path.read_text()), found)
        yield from (f'"{word}"' for word in sorted(found))
    else:
        yield from CORE_OPTIONS
        for extensions in (MATCHES, TARGETS):
            for name, options in extensions.items():
                yield f"-m {name}" if extensions is MATCHES else f"-j {name}"
                yield from (f"--{option}" for option in options)
        for table, chains in BUILTIN_CHAINS.items():
            yield f"*{table}\n"
            yield from (f":{chain} ACCEPT [0:0]\n" for chain in chains)
        yield from ("COMMIT\n", "! ", "/255.0.255.0", "0xffffffff", "::ffff:0:0/96", "[0:0] ", "-g ")


def _keys(value: object, found: set[str]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            found.add(str(key))
            _keys(inner, found)
    elif isinstance(value, list):
        for inner in value:
            _keys(inner, found)
    elif isinstance(value, str):
        found.add(value)
