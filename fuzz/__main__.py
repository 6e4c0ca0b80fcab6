"""Fuzzes what reads people's files: `make fuzz SECONDS=60 TARGETS='save nft'`.

For each target, coverage-guided fuzzing (atheris, on libFuzzer) for so many seconds, from the samples of the
tests. What is found is made small and written to reports/fuzz, and its path printed; the exit code is 1 then.
Fix it, and keep the file as fuzz/cases/TARGET/what-it-was: the tests run every case.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

from fuzz.seeds import ROOT, seeds, words
from fuzz.shrink import smallest
from fuzz.targets import TARGETS

OUT = ROOT / "reports" / "fuzz"
MEMORY = 2048  # MiB of one process
SLOW = 10  # seconds for one input
LONGEST = 1 << 14  # bytes of one input


def main() -> int:
    """Fuzz each target in turn; 1 if anything was found."""
    parser = argparse.ArgumentParser("python -m fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    chosen = parser.parse_args()
    unheard = set(chosen.targets) - set(TARGETS)
    if unheard:
        parser.error(f"no target {', '.join(sorted(unheard))}: expected some of {', '.join(TARGETS)}")
    found = [path for name in chosen.targets or TARGETS for path in _fuzz(name, chosen.seconds)]
    for path in found:
        print(f"found: {path}")
    return 1 if found else 0


def _fuzz(name: str, seconds: int) -> list[Path]:
    """Fuzz one target; returns the small inputs that made it fail."""
    corpus, finds = OUT / "corpus" / name, OUT / "found" / name
    for folder in (corpus, finds):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds(name):
        (corpus / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    dictionary = OUT / f"{name}.dict"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words(name)))
    known = set(finds.iterdir())
    print(f"== {name}: {seconds} s, from {len(list(corpus.iterdir()))} inputs", flush=True)
    done = _run(name, f"-max_total_time={seconds}", f"-dict={dictionary}", str(corpus))
    new = sorted(set(finds.iterdir()) - known)
    if done.returncode != 0 and not new:
        raise SystemExit(f"{name}: the fuzzer itself ended with exit code {done.returncode}")
    return [_small(name, path) for path in new]


def _run(name: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    """One process of libFuzzer; its progress goes where ours goes."""
    limits = [f"-rss_limit_mb={MEMORY}", f"-timeout={SLOW}", f"-max_len={LONGEST}", "-print_final_stats=1"]
    prefix = f"-artifact_prefix={OUT / 'found' / name}/"
    command = [sys.executable, "-m", "fuzz.one", name, *limits, prefix, *options]
    return subprocess.run(command, cwd=ROOT, check=False)


def _small(name: str, path: Path) -> Path:
    """The same failure with fewer bytes; what fails by time or memory alone stays as it is."""
    small = smallest(TARGETS[name], path.read_bytes())
    if small is None:
        return path
    written = path.with_name(f"small-{path.name}")
    written.write_bytes(small)
    return written


def _escaped(word: str) -> str:
    """A word as libFuzzer's dictionaries write it."""
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word.encode()
    )


if __name__ == "__main__":
    sys.exit(main())
