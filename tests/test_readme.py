"""What README says that commands print is what they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SECTIONS = ("Asking the model", "Auditing a Docker host")
GAP = "..."  # a line that stands for some that are not shown


def sessions() -> Iterator[tuple[str, list[str], int]]:
    """Every command of the sections' console blocks, what it prints, and its exit code (0 unless shown)."""
    text = README.read_text()
    after = (re.split(rf"^## {section}$", text, flags=re.MULTILINE)[1] for section in SECTIONS)
    shown = "".join(re.split(r"^## ", section, flags=re.MULTILINE)[0] for section in after)
    for block in re.findall(r"^```console\n(.*?)^```$", shown, flags=re.MULTILINE | re.DOTALL):
        steps = [step.split("\n") for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
        for index, (command, *printed) in enumerate(steps):
            if command == "echo $?":
                continue
            code = steps[index + 1] if index + 1 < len(steps) else [""]
            shown = int(code[1]) if code[0] == "echo $?" else 0
            yield command, "\n".join(printed).rstrip("\n").split("\n"), shown


SESSIONS = list(sessions())


def agrees(shown: list[str], printed: list[str]) -> bool:
    """Whether the lines are those, up to gaps."""
    if not shown:
        return not printed
    if shown[0].strip() == GAP:
        return any(agrees(shown[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and shown[0] == printed[0] and agrees(shown[1:], printed[1:])


def renewed(shown: list[str], printed: list[str]) -> list[str]:
    """The same gaps around what is printed now: each part begins where a line is most like its first one."""
    lines: list[str] = []
    at = 0
    for is_gap, group in groupby(shown, key=lambda line: line.strip() == GAP):
        part = list(group)
        if is_gap:
            lines += part
            continue
        alike = [SequenceMatcher(None, part[0], line).ratio() for line in printed[at:]]
        start = at + alike.index(max(alike)) if lines else 0
        is_last = shown[-len(part) :] == part
        at = len(printed) if is_last else start + len(part)
        lines += printed[start:at]
    return lines


def test_the_sections_have_all_commands() -> None:
    words = {shlex.split(command)[1] for command, _, _ in SESSIONS}
    assert {"trace", "reach", "diff", "lint", "audit"} <= words


@pytest.mark.parametrize(("command", "shown", "code"), SESSIONS, ids=[command for command, _, _ in SESSIONS])
def test_a_command_prints_what_readme_shows(
    request: pytest.FixtureRequest, command: str, shown: list[str], code: int
) -> None:
    program, *arguments = shlex.split(command)
    assert program == "netverify"
    done = subprocess.run(
        [sys.executable, "-m", "netverify", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    printed = done.stdout.rstrip("\n").split("\n")
    assert done.returncode == code
    if request.config.getoption("--update-golden") and not agrees(shown, printed):
        text = README.read_text()
        old, new = ("\n".join([f"$ {command}", *lines]) for lines in (shown, renewed(shown, printed)))
        README.write_text(text.replace(old, new))
        return
    message = "README shows otherwise than what came out (`make golden` takes that over):"
    assert agrees(shown, printed), f"{message}\n{done.stdout}{done.stderr}"
