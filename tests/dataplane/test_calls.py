"""A chain that rules call for one device each does the same whether it is cut by halves of them or not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane import calls
from netverify.dataplane.calls import Caller
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.program import compile_rules
from netverify.dataplane.segments import Memory
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.view import HostView, Link
from netverify.ruleset import Ruleset

DEVICES = ("a", "b", "c", "d", "e")
NAMES = st.sampled_from(DEVICES)
TESTS = st.sampled_from(
    ["", "! -i a", "-i b", "-o c", "! -o d", "-p tcp -m tcp --dport 80", "-d 10.0.0.2/32"]
)
CALLED = st.lists(st.tuples(TESTS, st.sampled_from(["ACCEPT", "DROP", "RETURN"])), max_size=6)
CALLS = st.lists(st.tuples(st.sampled_from(["-o", "-i", "! -o"]), NAMES, TESTS), max_size=12)


@pytest.fixture(autouse=True)
def _every_chain_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LARGE", 0)


@settings(max_examples=60, deadline=None)
@given(CALLS, CALLED)
def test_a_called_chain_is_the_same_in_parts(
    callers: list[tuple[str, str, str]], called: list[tuple[str, str]]
) -> None:
    lines = [
        f"-A FORWARD {side} {device} {test} -j C"
        for side, device, test in callers
        if side.split()[-1] not in test.split()
    ]
    lines += [f"-A C {test} -j {target}" for test, target in called]
    rules = Ruleset.parse(
        "*filter\n:FORWARD DROP [0:0]\n:C - [0:0]\n" + "".join(f"{line}\n" for line in lines) + "COMMIT\n"
    )
    program = compile_rules(rules, HostView("host", tuple(Link.of(name) for name in DEVICES)))
    sets = PacketSets.of(program, capacity=1 << 18)
    entering = sets.entering("FORWARD")
    whole = Evaluator(program, sets, memory=Memory()).run("filter", "FORWARD", entering)
    found = Caller(program, sets).run("filter", "FORWARD", entering)
    assert found == whole
