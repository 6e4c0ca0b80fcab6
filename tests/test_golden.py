"""The golden fixture itself: it compares, shows what differs, and writes only when told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Compare = Callable[[str, str], None]


@pytest.fixture
def compare_in(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Compare]:
    """The fixture `golden`, for files in a folder of this test's own."""

    def make(*, update: bool) -> Compare:
        monkeypatch.setattr(request.config.option, "update_golden", update)
        golden: Compare = request.getfixturevalue("golden")
        monkeypatch.setitem(golden.__globals__, "GOLDEN", tmp_path)  # type: ignore[attr-defined]
        return golden

    return make


def test_the_same_text_passes(compare_in: Callable[..., Compare], tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n")
    compare_in(update=False)("a.txt", "one\ntwo\n")
    compare_in(update=False)("a.txt", "one\ntwo")


@pytest.mark.parametrize("text", ["one\nthree\n", "one\r\ntwo\n", "one\ntwo\n\n"])
def test_another_text_fails_and_shows_the_difference(
    compare_in: Callable[..., Compare], tmp_path: Path, text: str
):
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n")
    compare = compare_in(update=False)
    with pytest.raises(
        pytest.fail.Exception, match=r"(?s)a\.txt says otherwise.*--- expected.*\+\+\+ came out"
    ):
        compare("a.txt", text)
    assert (tmp_path / "a.txt").read_bytes() == b"one\ntwo\n"


def test_a_file_that_is_not_there_fails_and_shows_the_text(
    compare_in: Callable[..., Compare], tmp_path: Path
):
    compare = compare_in(update=False)
    with pytest.raises(pytest.fail.Exception, match=r"(?s)there is no tests/golden/new/a\.txt.*one"):
        compare("new/a.txt", "one")
    assert not list(tmp_path.iterdir())


def test_updating_writes(compare_in: Callable[..., Compare], tmp_path: Path):
    compare_in(update=True)("new/a.txt", "one")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"one\n"


def test_nothing_is_written_elsewhere(compare_in: Callable[..., Compare], tmp_path: Path):
    compare = compare_in(update=True)
    with pytest.raises(pytest.fail.Exception, match="is not below tests/golden"):
        compare("../a.txt", "one")
    assert not (tmp_path.parent / "a.txt").exists()
