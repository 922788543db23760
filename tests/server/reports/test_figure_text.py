import math

import pytest

from fedward_server.reports.figure_text import (
    UNDEFINED,
    duration_text,
    finite,
    interval_text,
    metric_in_sentence,
    metric_label,
    ordered_metrics,
    reason_text,
    value_text,
)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "0.5", True])
def test_what_is_not_a_finite_number_is_undefined(value: object) -> None:
    assert finite(value) is None
    assert value_text({"value": value}) == UNDEFINED


def test_a_figure_shows_three_decimals_and_its_interval() -> None:
    figure = {"value": 0.9534, "low": 0.9311, "high": 0.97}
    assert value_text(figure) == "0.953"
    assert interval_text(figure) == "0.931 to 0.970"


def test_only_an_undefined_figure_has_a_reason() -> None:
    assert reason_text({"value": 0.5, "reason": "left over"}) == ""
    assert reason_text({"value": None, "reason": "one class only"}) == "one class only"
    assert reason_text(None) != ""


@pytest.mark.parametrize(
    ("name", "label", "in_sentence"),
    [
        ("auc", "AUC", "AUC"),
        ("balanced_accuracy", "Balanced accuracy", "balanced accuracy"),
        ("dice:left lung", "Dice, left lung", "Dice, left lung"),
        ("never_heard_of", "Never heard of", "never heard of"),
    ],
)
def test_a_metric_has_a_name_for_people(name: str, label: str, in_sentence: str) -> None:
    assert metric_label(name) == label
    assert metric_in_sentence(name) == in_sentence


def test_metrics_stand_main_first_and_loss_last() -> None:
    names = {"loss", "accuracy", "zeta", "dice:b", "dice", "auc", "dice:a"}
    assert ordered_metrics(names) == ("auc", "dice", "dice:a", "dice:b", "accuracy", "zeta", "loss")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.94, "4.9 s"), (59.99, "60.0 s"), (725, "12 min 5 s"), (12_030, "3 h 20 min"), (None, "–")],  # noqa: RUF001
)
def test_a_duration_is_told_in_its_natural_unit(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text
