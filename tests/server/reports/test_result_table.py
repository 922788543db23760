import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from fedward_server.reports.result_table import print_result, print_seed_summary


def _printed(print_on: Callable[[Console], None], width: int = 80) -> str:
    buffer = io.StringIO()
    print_on(Console(file=buffer, width=width, force_terminal=False))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["classification", "multi-label", "segmentation", "bare"])
def test_nothing_is_cut_at_80_columns(
    kind: str, any_result: Callable[[str], dict[str, Any]]
) -> None:
    result = any_result(kind)
    text = _printed(lambda console: print_result(console, result))
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert max(map(len, text.splitlines())) <= 80
    for figure in (result["metrics"] or {}).values():
        if figure["value"] is not None:
            assert f"{figure['value']:.3f}" in text


def test_numbers_stay_whole_beside_very_long_names(classification: dict[str, Any]) -> None:
    long = "dice:" + "very-long-structure-name-" * 4
    classification["metrics"][long] = dict(classification["metrics"]["accuracy"])
    site = "hospital-" * 12
    per_site = classification["metrics_per_site"]
    classification["metrics_per_site"] = {
        site: per_site["hospA"] | {long: per_site["hospA"]["auc"]}
    }
    text = _printed(lambda console: print_result(console, classification))
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    rows = [re.findall(r"\d\.\d{3} to \d\.\d{3}", line) for line in text.splitlines()]
    assert sum(map(len, rows)) >= 4
    assert "0.960" in text
    assert max(map(len, text.splitlines())) <= 80


def test_baselines_have_columns_only_when_there(
    classification: dict[str, Any], segmentation: dict[str, Any]
) -> None:
    assert "Local mean" in _printed(lambda console: print_result(console, classification))
    assert "Local mean" not in _printed(lambda console: print_result(console, segmentation))


def test_an_undefined_metric_is_a_dash_with_the_reason_below(segmentation: dict[str, Any]) -> None:
    text = _printed(lambda console: print_result(console, segmentation))
    assert "\N{EN DASH} Dice, posterior: no test case has this structure" in text


def test_findings_have_a_row_each_and_fit_80_columns(multi_label: dict[str, Any]) -> None:
    text = _printed(lambda console: print_result(console, multi_label))
    assert max(map(len, text.splitlines())) <= 80
    (row,) = [line for line in text.splitlines() if line.strip().startswith("nodule ")]
    assert row.split()[1:] == ["0.890", "0.860", "to", "0.920", *["0.890"] * 3, "32", "400"]
    (other,) = [line for line in text.splitlines() if line.strip().startswith("rib fracture")]
    dash = "\N{EN DASH}"
    assert other.split()[2:] == [dash, dash, dash, "0.880", dash, "0", "400"]
    assert "Balanced accuracy, nodule" not in text
    assert "no patient in the test split has 'rib fracture'" in text


def test_undefined_metrics_of_a_site_share_one_reason(classification: dict[str, Any]) -> None:
    text = _printed(lambda console: print_result(console, classification))
    assert "hospC, AUC, Balanced accuracy: the site's test cases are all of one" in text


def test_names_are_printed_as_text_not_as_markup(classification: dict[str, Any]) -> None:
    classification["job"]["job"]["name"] = "[red]x[/nope]"
    classification["failures"][0]["site"] = "[bold]"
    text = _printed(lambda console: print_result(console, classification))
    assert "[red]x[/nope]" in text
    assert "[bold]: NON_FINITE x 1" in text


def test_several_seeds_are_shown_as_mean_and_spread(
    any_result: Callable[[str], dict[str, Any]],
) -> None:
    results = [any_result("classification") for _ in range(3)]
    for seed, result in enumerate(results):
        result["seed"] = seed
        result["metrics"]["auc"]["value"] = 0.9 + 0.02 * seed
    results[2]["status"] = "failed"
    text = _printed(lambda console: print_seed_summary(console, results))
    row = next(line for line in text.splitlines() if line.split()[:1] == ["AUC"])
    assert row.split() == ["AUC", "0.910", "0.014", "0.900", "0.920", "2"]
    assert "Failed and left out: seeds 2" in text
    assert max(map(len, text.splitlines())) <= 80


def test_no_seed_at_all_still_prints() -> None:
    assert "none" in _printed(lambda console: print_seed_summary(console, []))


def test_what_the_coordinator_saw_and_what_privacy_there_was_is_printed(
    classification: dict[str, Any],
) -> None:
    text = _printed(lambda console: print_result(console, classification))
    assert "Secure aggregation: off, the coordinator saw each site's update" in text
    assert "Privacy: no differential privacy" in text
