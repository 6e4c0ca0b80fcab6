"""For all tests: golden files, compared or, with --update-golden, written anew."""

from __future__ import annotations

from collections.abc import Callable
from difflib import unified_diff
from pathlib import Path

import pytest

GOLDEN = Path(__file__).with_name("golden")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the files under tests/golden anew from what the code says now",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("drawings/pod.txt", text)`: fail unless that file under tests/golden holds exactly `text`.

    Whether the text ends in a newline does not matter; the file always does.
    """
    update = bool(request.config.getoption("--update-golden"))

    def compare(name: str, text: str) -> None:
        __tracebackhide__ = True
        path = (GOLDEN / name).resolve()
        if not path.is_relative_to(GOLDEN.resolve()):
            pytest.fail(f"{name} is not below tests/golden", pytrace=False)
        text = text if text.endswith("\n") else text + "\n"
        known = path.read_bytes().decode() if path.exists() else None
        if known == text:
            return
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        elif known is None:
            pytest.fail(
                f"there is no tests/golden/{name}; `make golden` writes what came out:\n\n{text}",
                pytrace=False,
            )
        else:
            # Line ends differ too, so they are shown and not taken for the same.
            lines = [
                [repr(line) if "\r" in line else line for line in side.split("\n")] for side in (known, text)
            ]
            difference = unified_diff(*lines, "expected", "came out", lineterm="")
            pytest.fail(
                f"tests/golden/{name} says otherwise (`make golden` takes over what came out):\n\n"
                + "\n".join(difference),
                pytrace=False,
            )

    return compare
