"""Who reaches whom in every generation: the whole table of flows.py, with real packets, and by the model."""

from __future__ import annotations

import pytest

from netverify.docker import Generation
from netverify.kernel.lab import Lab
from netverify.model.prediction import predict
from netverify.reachability.probe import Cell
from suites.docker.flows import FLOWS, PAGE, Flow, generations_topology, with_generated_part

SETTINGS = tuple(dict.fromkeys(flow.setting for flow in FLOWS))


def _asked(generation: Generation, setting: str) -> list[Flow]:
    return [flow for flow in FLOWS if flow.setting == setting and flow.answer(generation) != "-"]


def _answer(cell: Cell) -> str:
    return "y" if cell.replied else "n"


@pytest.mark.needs("br_netfilter", "nft", "match set")
@pytest.mark.parametrize("setting", SETTINGS)
def test_with_packets(lab: Lab, generation: Generation, setting: str) -> None:
    """Every flow of the table; a measurement that failed is not a no."""
    lab.up(generations_topology(generation, setting))
    wrong = []
    for flow in _asked(generation, setting):
        cell = lab.ask(flow.probe, flow.source, flow.target)
        assert cell.outcome.value != "error", (flow.what, cell)
        if _answer(cell) != flow.answer(generation):
            wrong.append((flow.what, flow.answer(generation), cell.outcome, cell.detail))
    assert wrong == []


@pytest.mark.parametrize("setting", SETTINGS)
def test_by_the_model(generation: Generation, setting: str) -> None:
    """The same table from the rules alone."""
    topology = generations_topology(generation, setting)
    wrong = []
    for flow in _asked(generation, setting):
        cell = next(iter(predict(topology, flow.probe, sources=[flow.source], targets=[flow.target]).cells()))
        if _answer(cell) != flow.answer(generation):
            wrong.append((flow.what, flow.answer(generation), cell.outcome, cell.detail))
    assert wrong == []


def test_the_page_says_the_same() -> None:
    """docs/docker-generations.md shows this table; `python -m suites.docker.flows` rewrites it."""
    text = PAGE.read_text()
    assert text == with_generated_part(text)
