"""What the benchmarks share: interleaved rounds, medians, ratios, the machine, and where figures are kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Self

README = Path(__file__).with_name("README.md")


def arguments(description: str, *, rounds: int, **more: int) -> argparse.Namespace:
    """The command line of a benchmark; `more` are further numbers with their defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="runs of each candidate (%(default)s)")
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="%(default)s by default")
    parser.add_argument("--record", action="store_true", help="keep the figures in benchmarks/README.md")
    return parser.parse_args()


def timed(work: Callable[[], object]) -> float:
    """Seconds of wall time that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_child(script: str, size: int) -> dict[str, float]:
    """What `script measure SIZE` says, in a process of its own, whose memory is then this size's alone."""
    command = [sys.executable, script, "measure", str(size)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures: dict[str, float] = json.loads(said)
    return figures


def interleave(candidates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every candidate once a round, so that a busy moment of the machine meets all of them.

    Each returns its own seconds. The order turns by one place from round to round.
    """
    names = list(candidates)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            _progress(f"round {number + 1} of {rounds}: {name}")
            found[name].append(candidates[name]())
    _progress("")
    return found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def seconds(value: float) -> str:
    """A time as people read it."""
    if value < 0.001:
        return f"{value * 1e6:.0f} us"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 300 else f"{value / 60:.0f} min"


def spread(values: Sequence[float]) -> str:
    """The fastest and the slowest."""
    return f"{seconds(min(values))} .. {seconds(max(values))}" if len(values) > 1 else ""


def floor(what: str, value: float, at_most: float, unit: str) -> str:
    """How a figure stands to the floor it should keep. It is said, never asserted: machines differ."""
    verdict = "kept" if value <= at_most else "MISSED"
    return f"{verdict}: {what} {value:.3g} {unit} (at most {at_most:g} {unit})"


@dataclass
class Report:
    """Lines of text under one name: printed, and on demand kept in the README between two markers."""

    name: str
    lines: list[str] = field(default_factory=list)

    def say(self, *lines: str) -> Self:
        """Add lines."""
        self.lines += lines
        return self

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Self:
        """Add a table: the first column to the left, the others to the right."""
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        for row in (headings, *rows):
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            self.lines.append("  ".join(cells).rstrip())
        return self

    def ratios(self, found: Mapping[str, Sequence[float]], own: str) -> Self:
        """Add a table of medians, with what each takes as a multiple of `own`."""
        base = median(found[own])
        return self.table(
            ["", "median", "fastest .. slowest", f"x {own}"],
            [
                [name, seconds(median(values)), spread(values), f"{median(values) / base:.2f}"]
                for name, values in found.items()
            ],
        )

    def publish(self, *, record: bool) -> None:
        """Print, and with `record` replace the section of this name in the README."""
        text = "\n".join([*self.lines, "", machine()])
        print(text, flush=True)
        if not record:
            return
        begin, end = f"<!-- figures: {self.name} -->", f"<!-- end of figures: {self.name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        new = f"{begin}\n```text\n{text}\n```\n{end}"
        changed, count = pattern.subn(lambda _match: new, README.read_text())
        if count != 1:
            raise SystemExit(f"{README}: expected one section between {begin} and {end}, found {count}")
        README.write_text(changed)


def machine() -> str:
    """What the figures were measured on, when, and how busy it was."""
    load, _, _ = os.getloadavg()
    return (
        f"[{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs ({_cpu()}), "
        f"Python {platform.python_version()}, {_iproute2()}, {datetime.now(UTC):%Y-%m-%d}, load {load:.1f}]"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor()


def _iproute2() -> str:
    said = subprocess.run(["ip", "-V"], capture_output=True, text=True, check=True).stdout
    return said.removeprefix("ip utility, ").partition(",")[0].strip()
