from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from kpflow_numerics._validation import InputError
from kpflow_numerics.analysis import FailureSign
from kpflow_numerics.analysis.checkpoint import OperatorRank
from kpflow_numerics.analysis.quantities import OperatorQuantity
from kpflow_numerics.experiments.report import _figures, _interference, report_html, write_report
from kpflow_numerics.experiments.report._html import Markup, element, join, table, whole
from kpflow_numerics.experiments.report._html import page as page_of
from kpflow_numerics.experiments.report._interference import interference_panels
from kpflow_numerics.experiments.report._numbers import number
from kpflow_numerics.experiments.report._panels import report_panels
from kpflow_numerics.experiments.report._provenance import flatten
from kpflow_numerics.experiments.report._section import OPERATORS
from kpflow_numerics.results import Check, Cost, ValidationReport
from tests.cases.analyses import (
    FakeRun,
    estimate,
    make_analysis,
    make_exponents,
    make_interference,
)

INLINE = {"a", "b", "code", "span"}
VOID = {"meta", "br", "hr", "img", "link", "input"}
HOSTILE = "<script>alert(\"x\")</script> & 'quoted'"


class Document(HTMLParser):
    """What a page holds; strict about nesting, ids and whatever could leave the page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"{tag} is never closed" for tag in self.open]
        known = set(self.ids)
        self.faults += [f"id {name} is used twice" for name in known if self.ids.count(name) > 1]
        self.faults += [f"#{name} leads nowhere" for name in self.references if name not in known]
        self.faults += [f"<{tag}>" for tag in self.tags if tag in ("script", "link", "img")]

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "xlink:href", "src", "srcset", "data", "action"):
                if value.startswith("#"):
                    self.references.append(value[1:])
                else:
                    self.faults.append(f"{name}={value}")
            elif name.startswith("on"):
                self.faults.append(f"{name} runs a script")
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")
        if tag not in VOID:
            self.open.append(tag)
        self.words.append("" if tag in INLINE else " ")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()
        self.words.append("" if tag in INLINE else " ")

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)
        elif "url(" in data or "@import" in data:
            self.faults.append("the style loads something")

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def validation(passed: bool = True) -> ValidationReport:
    checks = (
        Check("adjoint of J", "<J v, q> = <v, J* q>", 1.25e-17, 1.11e-14, True, "random pairs"),
        Check("states", "h_t = f(x_t, h_{t-1})", 3.5e-16, 7.5e-13, passed, HOSTILE),
    )
    return ValidationReport(checks, passed)


@pytest.fixture(scope="module")
def page() -> str:
    return report_html(FakeRun(validation=validation()))


@pytest.fixture
def without_figures(monkeypatch):
    """Leave out the figures, which take most of the time, where only words are looked at."""
    monkeypatch.setattr(_figures, "report_panels", lambda _: {})


def test_the_page_is_well_formed_and_needs_nothing_from_outside(page) -> None:
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert Document(page).faults == []
    assert "http" not in page
    assert 'name="viewport"' in page
    assert "@media print" in page


@pytest.mark.parametrize(
    "planted",
    [
        "<p>",
        "</div>",
        '<p id="figure-1-figure_1"></p>',
        '<a href="#nowhere">x</a>',
        '<img src="a.png">',
        "<script>1</script>",
        '<p onclick="x">y</p>',
        '<a href="page.html">x</a>',
        "<style>@import 'x'</style>",
        '<p style="fill: url(#gone)"></p>',
    ],
)
def test_a_planted_fault_is_caught(planted) -> None:
    good = '<html><body><p id="figure-1-figure_1">x</p><b>HERE</b></body></html>'
    assert Document(good).faults == []
    assert Document(good.replace("HERE", planted)).faults


def test_every_number_is_on_the_page(page) -> None:
    run = FakeRun(validation=validation())
    text = Document(page).text
    for analysis in run.analyses:
        wanted = [number(analysis.evaluation_loss), number(analysis.accuracy)]
        wanted += [number(analysis.rank(name).value) for name in ("K", "P", "NTK")]
        bounds = analysis.rank("NTK")
        wanted.append(f"[{number(bounds.lower)}, {number(bounds.upper)}]")
        for each in wanted:
            assert each in text, each
    last = run.analyses[-1]
    for entry in last.ranks:
        assert entry.recipe in text
        assert number(entry.estimate.value) in text
        assert entry.estimate.method in text
        assert f"{entry.estimate.n_matvecs:,}" in text
    for entry in last.quantities:
        assert entry.name in text
        assert f"{number(entry.estimate.lower)} {number(entry.estimate.upper)}" in text
    for name, values in last.spectra.items():
        assert all(number(value) in text for value in values), name
    assert all(f"{count:,}" in text for count in last.n_products.values())
    for check in run.validation.checks:
        assert all(part in text for part in (check.name, check.formula, check.explanation))
        assert number(check.error) in text
        assert number(check.threshold) in text
    for name, value in (*flatten(run.config), *flatten(run.provenance)):
        assert name in text
        assert value in text
    assert run.task.accuracy_meaning in text
    assert "2 of 2" in text


def test_every_figure_is_there_with_a_caption(page) -> None:
    document = Document(page)
    assert document.tags.count("figure") == document.tags.count("figcaption") == 16
    assert page.count('role="img"') == 16
    for heading in (
        "Training",
        "Ranks over training",
        "Alignments over training",
        "Spectra",
        "Hidden states",
        "Validation",
    ):
        assert heading in document.text
    assert "Leading modes at iteration 40" in document.text


def test_the_same_run_gives_the_same_bytes(without_figures) -> None:
    pages = {report_html(FakeRun(validation=validation())) for _ in range(2)}
    assert len(pages) == 1


def test_text_is_escaped(without_figures) -> None:
    run = FakeRun(iterations=(0,), losses=[], validation=validation())
    run.config = {HOSTILE: {"key": HOSTILE}}
    page = report_html(run)
    assert "<script" not in page
    document = Document(page)
    assert document.faults == []
    assert document.text.count(HOSTILE) == 3


def test_a_network_trained_elsewhere_has_no_training_to_show(without_figures) -> None:
    analysis = make_analysis(evaluation_loss=float("nan"), accuracy=float("nan"))
    run = FakeRun(analyses=[analysis], losses=[])
    assert list(report_panels(run)) == [
        "Spectra",
        "Leading modes at iteration 0",
        "Hidden states",
    ]
    document = Document(report_html(run))
    assert document.faults == []
    assert "The network was trained elsewhere" in document.text
    assert "Accuracy" not in document.text
    assert not re.search(r"\bnan\b", document.text)
    assert "has not been validated" in document.text


def test_what_was_not_found_is_left_out() -> None:
    spectra = {"K": make_analysis().spectra["K"], "NTK": make_analysis().spectra["NTK"]}
    some = FakeRun(analyses=[make_analysis(spectra=spectra)], losses=[])
    assert report_panels(some)["Spectra"][0].caption == (
        "Leading eigenvalues of K and NTK at iteration 0."
    )
    bare = make_analysis(spectra={}, modes={}, mode_fractions={}, complete={})
    run = FakeRun(analyses=[bare], losses=[])
    assert list(report_panels(run)) == ["Hidden states"]
    assert "Leading eigenvalues" not in Document(report_html(run)).text


def test_failures_are_said_first(without_figures) -> None:
    complete = {"K": True, "P": False, "NTK": False}
    run = FakeRun(
        analyses=[make_analysis(complete=complete)], losses=[], validation=validation(False)
    )
    text = Document(report_html(run)).text
    notice = text.index("The leading eigenvalues of P and NTK are not certified")
    assert notice < text.rindex("Numbers")
    assert text.index("Validation failed: states.") < text.rindex("Numbers")
    assert text.count("NOT complete") == 2
    assert "FAILED" in text
    assert "1 of 2" in text


def test_signs_stand_before_the_figures_with_their_numbers() -> None:
    run = FakeRun(losses=[])
    course = ((0, estimate(1.25)), (40, estimate(1.75)))
    lacking = estimate(float("nan"), float("nan"), float("nan"))
    run.signs = (
        FailureSign("K of low rank", estimate(1.75), 2.0, "below", "largest K; bad", course),
        FailureSign("forgotten", estimate(0.5), 0.125, "below", HOSTILE, course),
        FailureSign("tasks", lacking, 0.5, "above", "mean cosine", reason="one task"),
    )
    document = Document(report_html(run))
    assert document.faults == []
    assert "K of low rank raised 1.75 1.75 1.75 below 2 Largest K; bad." in document.text
    assert "forgotten not raised 0.5" in document.text
    assert "tasks not known – – – above 0.5 Mean cosine. Not known: one task." in document.text
    assert "K of low rank: raised, 1.75, threshold 2. Measured: largest K." in document.text
    assert "Signs of trouble 1 of 2 raised" in document.text
    assert "Signs of trouble: K of low rank (1.75, threshold 2)." in document.text
    order = [document.text.rindex(word) for word in ("A sign is raised", "Spectra", "Provenance")]
    assert order == sorted(order)


def test_signs_that_were_not_looked_for_have_no_section(page) -> None:
    assert "Signs of trouble" not in Document(page).text


def test_interference_has_its_table_and_figures() -> None:
    analyses = [make_analysis(k, interference=make_interference(k)) for k in (0, 20, 40)]
    run = FakeRun(analyses=analyses, losses=[])
    page = report_html(run)
    document = Document(page)
    assert document.faults == []
    first, middle, last = (each.interference for each in analyses)
    pairs = sorted([(0, 1), (0, 2), (1, 2)], key=lambda pair: last.cosines[pair])
    places = []
    for pair in pairs:
        course = [each.cosines[pair] for each in (first, middle, last)]
        numbers = [
            course[0], min(course), course[-1], last.full_cosines[pair],
            last.contribution_cosines[pair], last.accumulated_contribution_cosines[pair],
            last.output_contribution_cosines[pair], last.state_similarity[pair],
        ]  # fmt: skip
        names = f"{last.names[pair[0]]} and {last.names[pair[1]]}"
        row = " ".join([names, *(f"{value:.3f}" for value in numbers)])
        places.append(document.text.index(row))
    assert places == sorted(places)
    figures = re.findall(r'aria-label="[^"]*"', page)
    assert sum("Cosines between" in each or "Parts of" in each for each in figures) == 11
    assert [panel.caption.split()[-1] for panel in interference_panels(analyses)[3:6]] == [
        "0.", "20.", "40.",
    ]  # fmt: skip
    order = [document.text.rindex(word) for word in ("Hidden states", "Parts of", "Numbers")]
    assert order == sorted(order)


def test_interference_of_many_conditions_is_cut_short_and_unknown_numbers_are_dashes(
    monkeypatch,
) -> None:
    monkeypatch.setattr(_interference, "interference_panels", lambda _: [])
    held = make_interference(0, tuple("abcdefg"))
    matrix = held.matrix.copy()
    matrix[2] = matrix[:, 2] = 0.0
    run = FakeRun(analyses=[make_analysis(interference=replace(held, matrix=matrix))], losses=[])
    text = Document(report_html(run)).text
    assert "The 15 least of 21 pairs" in text
    assert " c and" not in text
    few = replace(make_interference(), matrix=np.diag([1.0, 1.0, 0.0]))
    text = Document(report_html(FakeRun(analyses=[make_analysis(interference=few)]))).text
    assert "pro and delay – – –" in text
    assert not re.search(r"\bnan\b", text)


def test_a_run_of_one_task_has_no_interference(page) -> None:
    assert "Interference" not in Document(page).text


def test_every_heading_is_in_the_contents(page) -> None:
    headings = re.findall(r'<h2 id="([^"]+)">([^<]+)</h2>', page)
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', page)
    assert links == headings
    assert len(links) > 6
    planted = page.replace("<h2 id=", "<h2 class=", 1)
    assert Document(planted).faults


def test_an_interval_that_is_not_certain_says_so(without_figures) -> None:
    analysis = make_analysis()
    rank = analysis.ranks[-1]
    sampled = estimate(5.0, 4.5, 5.5, standard_error=0.25, confidence=0.95, method="hutch++")
    ranks = (*analysis.ranks[:-1], type(rank)("NTK", rank.recipe, sampled))
    text = Document(report_html(FakeRun(analyses=[make_analysis(ranks=ranks)], losses=[]))).text
    assert "4.5 to 5.5, 95 % interval" in text
    assert "5 [4.5, 5.5] (95 %)" in text
    assert "hutch++" in text


def test_what_an_estimate_took_is_in_its_row(without_figures) -> None:
    counted = estimate(5.0, 4.5, 5.5, cost=Cost(3.25e9, 3 * 2**20), n_matvecs=4321)
    entry = OperatorRank("NTK", "participation-ratio", counted)
    run = FakeRun(analyses=[make_analysis(ranks=(entry,))], losses=[])
    text = Document(report_html(run)).text
    assert "participation-ratio 5 4.5 5.5 certain bounds 4,321 3.2e+09 3 MiB" in text
    assert "paper-figure-4" not in text
    assert "paper-figure-4 is no rank of the operator" in Document(report_html(FakeRun())).text


def test_the_rank_bound_is_counted_as_published_and_as_proven(without_figures) -> None:
    names = (
        "effective rank over trials and steps",
        "effective dimension of the features",
        "proven bound of the effective rank",
    )
    rows = {"r": (2.0, 3.0, 4.0), "n": (3.5, 3.0, 4.0)}
    quantities = tuple(
        OperatorQuantity(name, (f"K of site {site}",), estimate(value))
        for site, values in rows.items()
        for name, value in zip(names, values, strict=True)
    )
    run = FakeRun(analyses=[make_analysis(quantities=quantities)], losses=[])
    text = Document(report_html(run)).text
    assert "multiply at 1 of 2 weight sites" in text
    assert "at most the proven bound at 2 of 2" in text


def test_the_kernel_of_the_outputs_has_a_panel_over_training() -> None:
    entry = OperatorQuantity("effective rank", ("output NTK, cell",), estimate(2.5))
    run = FakeRun(analyses=[make_analysis(k, quantities=(entry,)) for k in (0, 40)], losses=[])
    (panel,) = report_panels(run)["Kernel of the outputs"]
    assert "output NTK, cell" in panel.draw().get_legend_handles_labels()[1][0]
    assert "Kernel of the outputs" not in report_panels(FakeRun())


def test_quantities_with_controls_say_what_they_are(without_figures) -> None:
    quantities = (
        OperatorQuantity("cosine over trials and steps", ("NTK", "core"), estimate(0.75)),
        OperatorQuantity("cosine over trials and steps", ("NTK", "ones"), estimate(0.5)),
        OperatorQuantity("centred cosine over trials and steps", ("NTK", "core"), estimate(0.25)),
        OperatorQuantity("share in the leading modes", ("dh",), estimate(0.875)),
    )
    run = FakeRun(analyses=[make_analysis(k, quantities=quantities) for k in (0, 40)], losses=[])
    panels = report_panels(run)
    first, centred = panels["Core against kernel"]
    (share,) = panels["Self-referential bias"]
    assert "the control is a matrix of ones" in first.caption
    assert "means of rows and columns" in centred.caption
    assert "the controls are the moves of random errors" in share.caption
    assert first.draw().get_ylabel().split() == ["Cosine", "over", "trials", "and", "steps"]
    text = Document(report_html(run)).text
    assert "Cosine over trials and steps: cosine of the tangent kernel" in text
    assert "Share in the leading modes: share of the move" in text
    assert "Core against kernel" not in report_panels(FakeRun())
    assert "Share in the leading modes" not in Document(report_html(FakeRun())).text


def test_exponents_have_a_panel_at_each_end_of_training() -> None:
    exponents = make_exponents()
    run = FakeRun(analyses=[make_analysis(k, lyapunov=exponents) for k in (0, 40)])
    panels = report_panels(run)["Lyapunov exponents"]
    assert [panel.caption.split()[-1] for panel in panels] == ["0.", "40."]


def test_the_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch, without_figures) -> None:
    run = FakeRun(iterations=(0,), losses=[])
    path = write_report(tmp_path / "new" / "report.html", run=run)
    assert path.read_text(encoding="utf-8") == report_html(run)
    with pytest.raises(InputError, match=r"report\.html already exists.*overwrite=True"):
        write_report(path, run=run, overwrite=False)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    before = path.read_bytes()
    with pytest.raises(OSError, match="no space left"):
        write_report(path, run=run)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_run_without_analyses_is_refused() -> None:
    run = FakeRun()
    run.analyses = []
    with pytest.raises(InputError, match="nothing to report.*kpflow analyze"):
        report_html(run)


def test_markup_is_escaped_once() -> None:
    inner = element("b", "a < b", title='"')
    assert inner == '<b title="&quot;">a &lt; b</b>'
    assert element("p", inner, " & ") == f"<p>{inner} &amp; </p>"
    assert join(["<", Markup("<br>")], "") == "&lt;<br>"
    made = table(["x", "y"], [[1, "<"]], caption="c", numeric=(0,))
    assert Document(made).faults == []
    assert '<th scope="row" class="number">1</th><td>&lt;</td>' in made


def test_operators_are_explained_in_the_order_of_the_tables() -> None:
    assert list(OPERATORS) == ["K", "P", "NTK"]


def test_a_text_among_the_settings_is_shown_by_its_beginning() -> None:
    (entry,) = flatten({"task": {"text": "abcde" * 3000}})
    assert entry == ("task.text", f"{'abcde' * 400} ... (15,000 characters)")


def test_no_line_ends_within_a_number_or_a_product_of_operators() -> None:
    assert whole("about 95 % of P K P* and P P*") == "about 95\xa0% of P\xa0K\xa0P* and P\xa0P*"
    assert whole("at iteration 30, at 1.5e-05") == (
        'at iteration\xa030, at <span class="whole">1.5e-05</span>'
    )
    formula = "tr(A B) / (|A| |B|)"
    assert whole(formula) == f'<span class="whole">{formula}</span>'
    assert whole("a < b & 2 of 3") == "a &lt; b &amp; 2 of 3"
    assert element("p", Markup("5 %"), "5 %") == "<p>5 %5\xa0%</p>"
    assert element("p", "x", title="1e-05 of 5 %") == '<p title="1e-05 of 5 %">x</p>'


def test_what_is_measured_of_p_is_said_to_be_of_p_p_star(page) -> None:
    text = Document(page).text
    assert "Effective rank of P P*" in text
    assert "rank of P P* rank of NTK" in text
    assert "P P* participation-ratio" in text
    assert not re.search(r"(?i)rank of P(?! P\*)", text)
    assert not re.search(r"alignment[^.]{0,20} P(?! P\*)[, ]", text)


def test_a_caption_is_as_wide_as_the_page_whatever_its_table(page) -> None:
    assert "caption > span" in page
    assert re.search(r"caption > span \{[^}]*width: max-content", page)


def test_only_running_text_and_a_few_words_may_take_several_lines() -> None:
    drawn = table(["a", "b", "c", "d"], [[1, 2, 3, 4]], numeric=(1,), wide=(2,), wrapped=(3,))
    for each in ('<td class="number">2', '<td class="text">3', '<td class="words">4'):
        assert each in drawn
    text = page_of("t", drawn)
    assert "td, .whole { white-space: nowrap; }" in text
    assert "td.text, td.words { white-space: normal; }" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "–"), (0.0, "0"), (54.6234, "54.62"), (9999.4, "9999"),
        (59_123.4, "59,120"), (-1_234_567.0, "-1,235,000"), (1.2345e7, "1.234e+07"),
        (1.1e-5, "1.1e-05"), (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_numbers_have_four_digits_and_are_written_in_full(value: float, text: str) -> None:
    assert number(value) == text
