import math
import re
import sys
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from fedward_server.reports.comparison import contestants
from fedward_server.reports.example_svg import example_figure
from fedward_server.reports.examples import ExamplePrediction
from fedward_server.reports.figures_svg import comparison_chart, curve_of, curves_chart, roc_chart
from fedward_server.reports.svg_canvas import SvgFigure

HOSTILE = "<script>alert(1)</script> & $x$"


def _figures(result: dict[str, Any]) -> list[SvgFigure]:
    curves = [curve_of(result["history"], name) for name in ("auc", "accuracy")]
    return [
        comparison_chart(contestants(result, "auc"), "auc", key="a"),
        curves_chart(curves, 140, key="b"),
        roc_chart(result["roc"], key="c"),
    ]


def test_every_chart_is_well_formed_and_described(classification: dict[str, Any]) -> None:
    for figure in _figures(classification):
        root = ElementTree.fromstring(figure.svg)  # noqa: S314
        assert root.get("role") == "img"
        assert root.get("aria-label") == figure.description
        assert "width" not in root.keys()  # noqa: SIM118


def test_a_single_evaluation_stands_above_a_whole_round(classification: dict[str, Any]) -> None:
    curve = curve_of(classification["history"][:1], "auc")
    ticks = re.findall(r">([\d.]+)</text>", curves_chart([curve], None, key="b").svg)
    assert "10" in ticks
    assert not [tick for tick in ticks if float(tick) > 2 and "." in tick]


def test_the_same_data_give_the_same_bytes(classification: dict[str, Any]) -> None:
    assert [f.svg for f in _figures(classification)] == [f.svg for f in _figures(classification)]


def test_text_stays_text_in_the_font_and_colours_of_the_page(
    classification: dict[str, Any],
) -> None:
    svg = comparison_chart(contestants(classification, "auc"), "auc", key="a").svg
    assert ">hospA alone</text>" in svg
    assert "DejaVu" not in svg
    assert "var(--federated, #0072b2)" in svg


def test_ids_of_two_figures_never_meet(classification: dict[str, Any]) -> None:
    ids = [
        element.get("id")
        for figure in _figures(classification)
        for element in ElementTree.fromstring(figure.svg).iter()  # noqa: S314
        if element.get("id")
    ]
    assert len(ids) == len(set(ids))


def test_a_hostile_name_is_drawn_as_text(classification: dict[str, Any]) -> None:
    classification["roc"][0]["class"] = HOSTILE
    svg = roc_chart(classification["roc"], key="roc").svg
    assert "<script" not in svg
    ElementTree.fromstring(svg)  # noqa: S314


def test_an_undefined_value_is_a_gap_not_a_zero(classification: dict[str, Any]) -> None:
    classification["history"][3]["metrics"]["auc"] = {"value": None}
    classification["history"][4]["metrics"] = None
    curve = curve_of(classification["history"], "auc")
    assert [math.isnan(value) for value in curve.values[2:6]] == [False, True, True, False]
    assert "nan" not in curves_chart([curve], None, key="x").svg


def test_models_without_a_value_keep_their_row(classification: dict[str, Any]) -> None:
    classification["baselines"]["local"]["hospC"]["metrics"]["auc"] = {"value": None}
    svg = comparison_chart(contestants(classification, "auc"), "auc", key="a").svg
    assert ">hospC alone</text>" in svg


def test_an_example_shows_both_outlines(segmentation_examples: list[ExamplePrediction]) -> None:
    figure = example_figure(segmentation_examples[0], key="e")
    assert "data:image/png;base64" in figure.svg
    assert "#ffb000" in figure.svg
    assert "stroke-dasharray" in figure.svg
    assert "prediction outlined" in figure.description


def test_an_image_without_masks_or_contrast_is_drawn_too() -> None:
    image = np.full((400, 700), np.nan, dtype=np.float32)
    image[0] = 3.0
    ExamplePrediction("hospA", "flat", image, None, None)
    figure = example_figure(ExamplePrediction("hospA", "flat", image, None, None), key="e")
    assert "outlined" not in figure.description
    assert len(figure.svg) < 50_000


def test_a_mask_of_another_shape_is_refused() -> None:
    image, mask = np.zeros((4, 4), np.float32), np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match="truth"):
        ExamplePrediction("hospA", "t", image, mask, None)
    with pytest.raises(ValueError, match="rows, columns"):
        ExamplePrediction("hospA", "t", np.zeros((4, 4, 4), np.float32), None, None)


def test_drawing_leaves_no_trace_in_matplotlib(classification: dict[str, Any]) -> None:
    import matplotlib

    keys: tuple[Any, ...] = (
        "svg.fonttype",
        "svg.hashsalt",
        "text.parse_math",
        "font.family",
        "text.color",
    )
    before = [matplotlib.rcParams[key] for key in keys]
    pyplot_was_there = "matplotlib.pyplot" in sys.modules
    _figures(classification)
    assert [matplotlib.rcParams[key] for key in keys] == before
    assert ("matplotlib.pyplot" in sys.modules) == pyplot_was_there
