"""Letters of figures are in a page once, and every reference finds its target."""

import re

from matplotlib.figure import Figure

from kpflow_numerics import plotting
from kpflow_numerics.experiments.report._html import Markup, page
from kpflow_numerics.plotting._sweep import _tick_labels, quantity_label


def drawn(prefix: str) -> str:
    figure = Figure()
    figure.add_subplot().set_title("the same words")
    return plotting.inline_svg(figure, prefix, "a figure")


def test_letters_are_shared_and_all_references_resolve() -> None:
    one = page("t", Markup(drawn("a")))
    two = page("t", Markup(drawn("a")), Markup(drawn("b")))
    assert two.count("scale(0.015625)") == one.count("scale(0.015625)") > 5
    names = re.findall(r'\sid="([^"]+)"', two)
    assert len(names) == len(set(names))
    assert set(re.findall(r'href="#([^"]+)"', two)) <= set(names)
    assert len(re.findall("<use ", two)) == 2 * len(re.findall("<use ", one))


def test_a_page_without_figures_is_left_alone() -> None:
    text = "<p>a  <!-- b --> c</p>\n   <pre>\n  d</pre>"
    assert text in page("t", Markup(text))


def test_quantities_name_what_they_are_of() -> None:
    assert quantity_label("alignment of K, P") == "alignment of K and P P*"
    assert quantity_label("trace of P") == "trace of P P*"
    assert quantity_label("Kaplan-Yorke dimension") == "Kaplan-Yorke dimension"


def test_ticks_show_the_grid_and_never_collide() -> None:
    import numpy as np

    few = np.array([0.5, 1.0, 2.0])
    assert _tick_labels(few, few) == ["0.5", "1", "2"]
    many = np.arange(100.0)
    shown = [place for place, label in enumerate(_tick_labels(many, many)) if label]
    assert (shown[0], shown[-1]) == (0, 99)
    assert np.diff(shown).min() > 5
