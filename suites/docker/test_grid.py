"""Every generation of Docker under every option: the same questions, with packets and by the model.

A test is one setting of the grid in one release: all answers of the lab are those of the model, those of the
table in table.py, and of the columns' own versions those on record. `pytest suites/docker --docker 24.0` asks
24.0 alone.
"""

from __future__ import annotations

import pytest

from netverify.kernel.lab import Lab
from netverify.reachability.symbols import DELIVERED, Symbol
from suites.docker.answers import Answer, observed, predicted
from suites.docker.grid import SETTINGS, Setting
from suites.docker.page import PAGE, page
from suites.docker.recorded import recorded
from suites.docker.releases import RELEASES, Release
from suites.docker.table import REACH, SEEN

pytestmark = pytest.mark.needs("br_netfilter", "nft", "match set")


def _said(answer: Answer) -> str:
    """In the table's words."""
    if answer.symbol not in DELIVERED:
        return "n"
    return "y" if answer.symbol == Symbol.ANSWERED else ">"


def test_every_cell(lab: Lab, setting: Setting, release: Release) -> None:
    """The full matrix of one setting in one release."""
    topology = setting.topology(release)
    found = observed(lab, topology)
    foretold = predicted(topology)
    differing = {str(one): (found[one], foretold[one]) for one in found if found[one] != foretold[one]}
    assert differing == {}, "the lab, and the model"

    if release not in RELEASES:  # the table and the record hold the columns' own versions
        return
    rows = [row for row in REACH if row.setting == setting.name and row.expected(release) != "-"]
    wrong = [
        (row.what, str(row.question), f"expected {row.expected(release)}", found[row.question])
        for row in rows
        if _said(found[row.question]) != row.expected(release)
    ]
    assert wrong == []
    # Of the columns' own versions: until 20.10 the proxy led from IPv6 to the container's IPv4 address.
    rows = [row for row in SEEN if row.setting == setting.name and release in RELEASES]
    assert {row.question: found[row.question].source for row in rows} == {
        row.question: row.expected(release) for row in rows
    }

    column = RELEASES.index(release)
    changed = {
        str(question): (symbols[column], found[question].symbol)
        for question, symbols in recorded(setting).items()
        if symbols[column] != found[question].symbol
    }
    assert changed == {}, "on record, and now: read the difference, then `make docker-page`"


def test_the_page_says_the_same() -> None:
    """docs/docker-generations.md is what the table and the record make it; `make docker-page` writes it."""
    assert PAGE.read_text() == page()


def test_the_table_asks_what_the_grid_holds() -> None:
    """Each row of the table is a question of the grid, in a setting that it has, and for its releases."""
    settings = {setting.name: setting for setting in SETTINGS}
    for row in (*REACH, *SEEN):
        assert row.question in recorded(SETTINGS[0]), row
        setting = settings[row.setting]
        assert len(row.answers) == len(RELEASES), row
        for release in RELEASES if row in REACH else ():
            assert (row.expected(release) != "-") is setting.exists_in(release), (row, release)
