from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from netverify.reachability.comparison import Difference, compare, explain
from netverify.reachability.matrix import ExpectedMatrix, matrix
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Outcome, tcp, udp
from netverify.reachability.symbols import Symbol
from tests.strategies.reachability import comparable, expected_matrices, observed_matrices

EXPECTED = matrix("""
     a1  a2  b1
a1   .   .   X
a2   .   .   X
b1   X   X   .
""")

INTRUDER = Cell(
    "a1",
    "b1",
    Outcome.DELIVERED,
    seen_source="172.18.0.2:40000",
    receiver="b1",
    replied=True,
    detail="the echo came back",
    rules=("filter FORWARD 3: -i br0 -j ACCEPT", "filter DOCKER-USER 1: -j RETURN"),
)
BROKEN = Cell("b1", "a2", Outcome.ERROR, detail="sendto: no buffer space\x1b[2J")


def observed(*instead: Cell) -> ObservedMatrix:
    """What EXPECTED expects, apart from these answers."""
    cells = {
        (source, target): Cell(source, target, Outcome.DELIVERED, replied=True)
        if EXPECTED.symbol(source, target) == "."
        else Cell(source, target, Outcome.FILTERED)
        for source in EXPECTED.rows
        for target in EXPECTED.columns
    }
    cells |= {(cell.source, cell.target): cell for cell in instead}
    return ObservedMatrix.of(tcp(80), cells.values(), rows=EXPECTED.rows, columns=EXPECTED.columns)


def test_differing_cells_carry_what_was_observed() -> None:
    comparison = compare(EXPECTED, observed(INTRUDER, BROKEN))
    assert comparison.differences == (
        Difference("a1", "b1", Symbol.BLOCKED, Symbol.ANSWERED, INTRUDER),
        Difference("b1", "a2", Symbol.BLOCKED, Symbol.ERROR, BROKEN),
    )
    assert comparison.compared == 9
    assert not comparison.agree


def test_the_explanation_has_both_tables_and_every_differing_cell() -> None:
    assert explain(EXPECTED, observed(INTRUDER, BROKEN)) == [
        "reachability differs in 2 of 9 cells, 1 of them probes that failed by themselves (E)",
        "",
        "expected             observed (tcp/80)",
        "     a1  a2  b1           a1  a2  b1",
        "a1   .   .  [X]      a1   .   .  [.]",
        "a2   .   .   X       a2   .   .   F",
        "b1   X  [X]  .       b1   F  [E]  .",
        "",
        "a1 -> b1: expected X (did not arrive: any of R, P, U, F), observed . (reached and answered)",
        "    the echo came back",
        "    the receiver saw the source 172.18.0.2:40000",
        "    received in b1",
        "    counted by filter FORWARD 3: -i br0 -j ACCEPT",
        "    counted by filter DOCKER-USER 1: -j RETURN",
        "",
        (
            "b1 -> a2: expected X (did not arrive: any of R, P, U, F), "
            "observed E (error: the question was not answered)"
        ),
        r"    sendto: no buffer space\x1b[2J",
    ]


def test_the_sides_may_be_swapped_and_the_order_be_another() -> None:
    seen = observed(INTRUDER)
    assert explain(seen, EXPECTED) == explain(EXPECTED, seen)
    assert explain(EXPECTED, seen.only(["b1", "a2", "a1"], ["a2", "b1", "a1"])) == explain(EXPECTED, seen)


def test_missing_and_extra_names_are_reported() -> None:
    seen = observed(INTRUDER).only(["a1", "b1"], ["b1"])
    comparison = compare(matrix("b1 lan\na1 X .\nc1 X ."), seen)
    assert comparison.missing_rows == ("c1",)
    assert comparison.missing_columns == ("lan",)
    assert comparison.extra_rows == ("b1",)
    assert comparison.extra_columns == ()
    assert [(d.source, d.target) for d in comparison.differences] == [("a1", "b1")]
    assert explain(comparison.expected, seen)[:8] == [
        "reachability differs in 1 of 1 cells",
        "rows that only the expected matrix has: c1",
        "columns that only the expected matrix has: lan",
        "rows that only the observed matrix has: b1",
        "",
        "expected          observed (tcp/80)",
        "     b1  lan           b1",
        "a1  [X]  .        a1  [.]",
    ]


def test_nothing_in_common_is_no_agreement() -> None:
    comparison = compare(matrix("z\nz ."), observed())
    assert not comparison.agree
    assert comparison.compared == 0
    first, *_ = explain(matrix("z\nz ."), observed())
    assert first.endswith("but their rows and columns are not the same")


def test_equal_matrices_say_so() -> None:
    assert explain(EXPECTED, observed()) == ["reachability agrees in all 9 cells that both matrices have"]


def test_two_observed_matrices_show_both_answers() -> None:
    blocked = replace(INTRUDER, outcome=Outcome.FILTERED, replied=False, detail="dropped", rules=("DROP",))
    model = replace(observed(), probe=udp(53))
    lines = explain(observed(INTRUDER), observed(blocked))
    assert "left (tcp/80)        right (tcp/80)" in lines
    assert "    left: the echo came back" in lines
    assert "    right: counted by DROP" in lines
    assert explain(model, observed(INTRUDER))[2].startswith("left (udp/53)")


def test_a_pair_that_was_not_asked_differs_without_an_answer() -> None:
    seen = ObservedMatrix.of(tcp(80), [], rows=["a"], columns=["b"])
    assert compare(matrix("b\na ."), seen).differences == (
        Difference("a", "b", Symbol.ANSWERED, Symbol.NOT_ASKED),
    )
    assert explain(matrix("b\na ."), seen)[-1].endswith("observed - (not asked)")


def test_wide_tables_stand_one_below_the_other() -> None:
    names = [f"container-with-a-long-name-{number}" for number in range(3)]
    expected = ExpectedMatrix.where(names, names, lambda _source, _target: ".")
    seen = ObservedMatrix.of(tcp(80), [Cell(names[0], names[1], Outcome.FILTERED)], rows=names, columns=names)
    lines = explain(expected, seen)
    assert lines.index("expected") + 6 == lines.index("observed (tcp/80)")


def test_large_tables_are_cut_down_to_what_differs() -> None:
    names = [f"c{number}" for number in range(400)]
    expected = ExpectedMatrix.where(names, names, lambda _source, _target: "F")
    odd = {("c7", "c300"), ("c399", "c8")}
    cells = [
        Cell(source, target, Outcome.REFUSED if (source, target) in odd else Outcome.FILTERED)
        for source in names
        for target in names
    ]
    seen = ObservedMatrix.of(tcp(80), cells)
    lines = explain(expected, seen)
    assert lines[2:6] == [
        "expected, 2 of 400 rows, 2 of 400 columns      observed (tcp/80), 2 of 400 rows, 2 of 400 columns",
        "       c8  c300                                       c8  c300",
        "c7     F  [F]                                  c7     F  [R]",
        "c399  [F]  F                                   c399  [R]  F",
    ]
    assert len(lines) == 10


def test_only_so_many_cells_are_told_in_detail() -> None:
    seen = observed(*(Cell(s, t, Outcome.ERROR) for s in EXPECTED.rows for t in EXPECTED.columns))
    lines = explain(EXPECTED, seen, details=2)
    assert sum(" -> " in line for line in lines) == 2
    assert lines[-1] == "and 7 more differing cells"


@given(
    st.one_of(comparable(), st.tuples(*[st.one_of(expected_matrices(), observed_matrices())] * 2)),
)
def test_a_comparison_agrees_exactly_when_the_matrices_are_equal(
    pair: tuple[ExpectedMatrix | ObservedMatrix, ExpectedMatrix | ObservedMatrix],
) -> None:
    left, right = pair
    assert compare(left, right).agree is (left == right)
    assert compare(right, left).agree is (left == right)
    lines = explain(left, right)
    assert all(line.isprintable() for line in lines)
    assert (len(lines) == 1) is (left == right)
    told = [line for line in lines if " -> " in line and not line.startswith(" ")]
    assert len(told) == min(len(compare(left, right).differences), 20)
