from __future__ import annotations

import json
from html.parser import HTMLParser

from hypothesis import given

from netverify.reachability.comparison import compare, explain
from netverify.reachability.matrix import ExpectedMatrix, matrix
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Outcome, tcp
from netverify.report.matrix import differences_html, differences_json, render, render_differences, to_html
from tests.strategies.reachability import comparable, observed_matrices

SEEN = ObservedMatrix.of(
    tcp(80),
    [
        Cell("a1", "a1", Outcome.DELIVERED, replied=True),
        Cell("a1", "<b>", Outcome.FILTERED, rules=("-m comment --comment \"<script>alert('1')</script>\"",)),
        Cell("<b>", "a1", Outcome.ERROR, detail="sendto: \x1b]0;owned\x07"),
        Cell("<b>", "<b>", Outcome.DELIVERED, replied=True),
    ],
)
EXPECTED = matrix("""
       a1  <b>
a1     .   .
<b>    X   .
""")


class Page(HTMLParser):
    """What a browser would make of a fragment: its elements in order and its texts; it must be balanced."""

    VOID = ("br",)

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.texts.append(data)

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def classes(self) -> list[str | None]:
        return [attributes.get("class") for tag, attributes in self.elements if tag == "td"][1:]


def test_terminal_text_has_a_title_a_legend_with_counts_and_the_errors() -> None:
    assert render(SEEN, "sealed\x1b[0m").split("\n") == [
        r"sealed\x1b[0m: tcp/80, 2 sources x 2 targets",
        "",
        "      a1  <b>",
        "a1    .   F",
        "<b>   E   .",
        "",
        "2  .  reached and answered",
        "1  F  silently dropped, and proved to be",
        "1  E  error: the question was not answered",
        r"error <b> -> a1: sendto: \x1b]0;owned\x07",
    ]


def test_an_expectation_is_called_one() -> None:
    assert render(EXPECTED).startswith("expected, 2 sources x 2 targets\n")


def test_only_so_many_errors_are_listed() -> None:
    names = [f"c{number}" for number in range(4)]
    seen = ObservedMatrix.of(tcp(80), [Cell(s, t, Outcome.ERROR) for s in names for t in names])
    lines = render(seen).split("\n")
    assert lines[-2:] == ["error c2 -> c1: no details", "and 6 more errors"]


def test_differences_are_the_explanation() -> None:
    assert render_differences(SEEN, EXPECTED).split("\n") == explain(EXPECTED, SEEN)


def test_html_shows_names_and_rules_as_text() -> None:
    page = Page(to_html(SEEN, "<i>title"))
    assert page.tags == {"style", "table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "li", "code"}
    assert page.texts[:3] == ["<i>title: tcp/80, 2 sources x 2 targets", "a1", "<b>"]
    tooltips = [attributes["title"] for _, attributes in page.elements if "title" in attributes]
    assert tooltips[1] == (
        "a1 -> <b>: silently dropped, and proved to be; "
        "counted by -m comment --comment \"<script>alert('1')</script>\""
    )
    assert page.classes == ["answered", "filtered", "error", "answered"]
    one_way = ObservedMatrix.of(tcp(80), [Cell("a", "b", Outcome.DELIVERED)])
    assert '<td class="one_way" title="a -&gt; b: reached, but no answer came back">&gt;</td>' in to_html(
        one_way
    )


def test_html_differences_mark_cells_and_tell_details() -> None:
    page = Page(differences_html(compare(EXPECTED, SEEN)))
    assert page.classes == [
        *("answered", "answered differs", "blocked differs", "answered"),
        *([None, "answered", "filtered differs", "error differs", "answered"]),
    ]
    assert "script" not in page.tags
    assert r"sendto: \x1b]0;owned\x07" in page.texts
    assert (
        "reachability differs in 2 of 4 cells, 1 of them probes that failed by themselves (E)" in page.texts
    )


def test_html_differences_name_what_only_one_side_has() -> None:
    page = Page(differences_html(compare(matrix("<i>\na1 ."), SEEN)))
    assert "columns that only the expected matrix has: <i>" in page.texts
    assert "columns that only the observed matrix has: a1, <b>" in page.texts


def test_large_html_tables_have_tooltips_where_they_matter() -> None:
    names = [f"c{number}" for number in range(60)]
    expected = ExpectedMatrix.where(names, names, lambda _source, _target: "F")
    cells = [
        Cell(s, t, Outcome.ERROR if (s, t) == ("c1", "c2") else Outcome.FILTERED)
        for s in names
        for t in names
    ]
    assert to_html(ObservedMatrix.of(tcp(80), cells)).count("title=") == 1
    assert differences_html(compare(expected, ObservedMatrix.of(tcp(80), cells))).count("title=") == 2


@given(observed_matrices())
def test_html_of_any_matrix_is_balanced_and_has_every_cell(seen: ObservedMatrix) -> None:
    html = to_html(seen)
    assert len(Page(html).classes) == len(seen.rows) * len(seen.columns)
    assert all(line.isprintable() for line in html.split("\n"))
    assert all(line.isprintable() for line in render(seen).split("\n"))


@given(comparable())
def test_differences_of_any_two_can_be_shown(pair: tuple[ExpectedMatrix, ObservedMatrix]) -> None:
    comparison = compare(*pair)
    html = differences_html(comparison)
    Page(html)
    assert html.count(' differs"') == 2 * len(comparison.differences)
    document = json.loads(differences_json(comparison))
    assert document["agree"] is comparison.agree
    assert [(d["source"], d["target"], d["expected"], d["observed"]) for d in document["differences"]] == [
        (d.source, d.target, d.expected, d.observed) for d in comparison.differences
    ]


def test_differences_as_json_hold_the_answer() -> None:
    document = json.loads(differences_json(compare(EXPECTED, SEEN)))
    assert document["compared"] == 4
    assert document["differences"][1] == {
        "source": "<b>",
        "target": "a1",
        "expected": "X",
        "observed": "E",
        "cell": {
            "source": "<b>",
            "target": "a1",
            "outcome": "error",
            "seen_source": None,
            "receiver": None,
            "replied": False,
            "detail": "sendto: \x1b]0;owned\x07",
            "rules": [],
        },
        "expected_cell": None,
    }
