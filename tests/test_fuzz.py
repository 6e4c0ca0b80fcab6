"""What `make fuzz` calls, without the fuzzer: every case that was found, the samples, and damaged samples.

The changes are those of the fuzzer's own mutator. Memory is bounded by the size of what is read.
"""

from __future__ import annotations

import tracemalloc
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.mutate import mutator
from fuzz.seeds import CASES, seeds, words
from fuzz.targets import TARGETS

FOUND = sorted(path for path in CASES.glob("*/*") if path.parent.name in TARGETS)
LARGEST = 1 << 14  # bytes
AT_ONCE, PER_BYTE = 4 << 20, 2000  # bytes of memory
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def _samples(name: str) -> tuple[bytes, ...]:
    """Those that are quick to run, each once."""
    return tuple(sample for sample in dict.fromkeys(seeds(name)) if len(sample) < LARGEST)


@cache
def _words(name: str) -> tuple[str, ...]:
    return tuple(words(name))


def test_what_was_found_once() -> None:
    for path in FOUND:
        TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_samples(name: str) -> None:
    samples = _samples(name)
    assert samples
    for sample in samples[:: max(1, len(samples) // 50)]:
        TARGETS[name](sample)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_samples(name: str) -> None:
    change = mutator(_words(name), lambda data, size: data[: size // 2])

    @settings(PATIENT, max_examples=60)
    @given(st.sampled_from(_samples(name)), st.lists(st.integers(0, 1 << 32), min_size=1, max_size=4))
    def check(sample: bytes, seeds_of_changes: list[int]) -> None:
        for seed in seeds_of_changes:
            sample = change(sample, LARGEST, seed)
        TARGETS[name](sample)

    check()


@pytest.mark.parametrize("name", ["save", "nft", "topology"])
def test_memory_is_bounded(name: str) -> None:
    change = mutator(_words(name), lambda data, size: data * 2)
    largest = max(_samples(name), key=len)
    TARGETS[name](largest)  # what is imported only now is not counted
    for seed in range(20):
        damaged = change(largest, LARGEST, seed)
        tracemalloc.start()
        try:
            TARGETS[name](damaged)
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < AT_ONCE + PER_BYTE * len(damaged), (seed, peak)
