import math
import re
from xml.etree import ElementTree

import pytest

from pipelines.reports.charts import Mark, Series, line_chart, nice_ticks, short_number


def draw(*series, marks=()):
    return line_chart(series, label="losses", x_label="step", marks=marks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 19, [0, 5, 10, 15, 20]),
        (5, 700, [0, 200, 400, 600, 800]),
        (0, 0.0013, [0, 0.0005, 0.001, 0.0015]),
    ],
)
def test_ticks_are_round_and_enclose_the_range(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_a_chart_is_well_formed_and_has_a_line_a_mean_and_a_legend_for_each_series():
    a = Series("class", (1, 2, 3), (3.0, 2.0, 1.0))
    b = Series("mask", (1, 2, 3), (1.0, 1.0, 1.0))
    root = ElementTree.fromstring(draw(a, b))
    assert root.get("aria-label") == "losses"
    classes = [path.get("class") for path in root.iter("path")]
    assert classes.count("raw s1") == classes.count("mean s2") == 1
    assert ["".join(item.itertext()).split()[0] for item in root.iter("li")] == ["class", "mask"]


def test_the_mean_is_the_exponential_mean_of_a_naive_loop():
    values = [5.0, 1.0, 4.0, 2.0]
    expected = sum(0.85 ** (3 - i) * 0.15 * v for i, v in enumerate(values)) / (1 - 0.85**4)
    chart = draw(Series("loss", (1, 2, 3, 4), tuple(values)))
    assert f"<b>{expected:.4g}</b>" in chart


def test_a_line_that_is_not_smoothed_is_drawn_alone():
    chart = draw(Series("AP", (1, 2), (0.5, 0.25), smooth=False))
    assert 'class="raw' not in chart and "<b>0.25</b>" in chart


def test_a_line_is_cut_at_marks_and_the_mean_starts_anew():
    line = Series("loss", (1, 2, 3, 4), (9.0, 9.0, 1.0, 1.0))
    chart = draw(line, marks=(Mark(0, "image"), Mark(2, "video")))
    assert re.search(r'class="mean s1" d="M[^"]+M[^"]+"', chart)
    assert "<b>1</b>" in chart and ">image<" in chart and ">video<" in chart


def test_values_that_are_not_finite_are_left_out():
    chart = draw(Series("loss", (1, 2, 3, 4), (1.0, math.nan, math.inf, 2.0)))
    assert "nan" not in chart and "inf" not in chart
    assert draw(Series("loss", (1,), (math.nan,))) == "" == draw()


@pytest.mark.parametrize("values", [(0.0, 0.0), (5.0,), (-1.0, -2.0), (1e-9, 2e-9), (1e12, 1.0)])
def test_flat_single_negative_and_extreme_lines_are_drawn(values):
    chart = draw(Series("loss", tuple(range(len(values))), values))
    ElementTree.fromstring(chart)
    assert "nan" not in chart


def test_a_long_line_is_thinned_out():
    count = 100_000
    chart = draw(Series("loss", tuple(range(count)), (1.0,) * count))
    assert len(chart) < 40_000


def test_names_are_escaped():
    chart = draw(Series("<img src=x onerror=1>", (1, 2), (1, 2)), marks=(Mark(0, "<b>"),))
    assert "<img" not in chart and "<b>&lt;b" not in chart
    ElementTree.fromstring(chart)


def test_numbers_are_short():
    assert [short_number(v) for v in (0, 0.25, 12, 1500, 16000)] == [
        "0", "0.25", "12", "1.5k", "16k"
    ]  # fmt: skip
