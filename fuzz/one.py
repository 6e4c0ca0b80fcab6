"""One target under atheris, in a process of its own: `python -m fuzz.one TARGET [options of libFuzzer]`.

Every line of netverify that is imported here counts as coverage.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["netverify"]):
    from fuzz.mutate import mutator
    from fuzz.seeds import seeds, words
    from fuzz.targets import TARGETS

    for name, target in TARGETS.items():
        target(next(seeds(name)))  # what is imported only when it is called shall count too


def main() -> None:
    """Fuzz until libFuzzer's options say stop, or something is found."""
    name, *options = sys.argv[1:]
    # Not `atheris.Mutate` itself, which Setup replaces.
    change = mutator(list(words(name)), lambda data, size: bytes(atheris.Mutate(data, size)))
    atheris.Setup([sys.argv[0], *options], TARGETS[name], custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
