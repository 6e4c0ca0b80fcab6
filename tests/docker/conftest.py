"""Golden files of this room: rulesets as text, in tests/golden/docker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from netverify.ruleset import Ruleset
from tests.docker.saved import GOLDEN, saved_text


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, dict[str, Ruleset]], None]:
    """Compare rulesets, by title, with the file of that name; `--update-golden` writes the file instead."""
    update = request.config.getoption("--update-golden", default=False)

    def compare(name: str, rulesets: dict[str, Ruleset]) -> None:
        path = GOLDEN / f"{name}.rules"
        text = saved_text(rulesets)
        if update:
            path.write_text(text)
        assert path.exists(), f"no golden file {_short(path)}: write it with --update-golden"
        assert text.splitlines() == path.read_text().splitlines(), f"{_short(path)} has other rules"

    return compare


def _short(path: Path) -> str:
    return str(Path(*path.parts[-4:]))
