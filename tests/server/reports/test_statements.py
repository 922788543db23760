from typing import Any

import pytest

from fedward_server.reports.html_report import html_of
from fedward_server.reports.statements import (
    aggregation_line,
    aggregation_statement,
    figure_notes,
    privacy_statement,
    protection_notes,
    selection_sentence,
    verdict,
)


def test_the_verdict_names_interval_and_both_baselines(classification: dict[str, Any]) -> None:
    assert verdict(classification) == (
        "The federated model reached an AUC of 0.953 (95 % interval 0.936 to 0.970) on 624 pooled "
        "test cases: 0.005 below a model trained on all data in one place (0.958), and 0.055 above "
        "the mean of the models each site trained alone (0.898)."
    )


def test_the_verdict_without_baselines_is_about_the_model_alone(
    segmentation: dict[str, Any],
) -> None:
    sentence = verdict(segmentation)
    assert sentence.startswith("The federated model reached a Dice of 0.871")
    assert sentence.endswith("on 52 pooled test cases.")


def test_the_verdict_on_findings_says_that_each_has_at_least_so_many_cases(
    multi_label: dict[str, Any],
) -> None:
    multi_label["metrics"]["auc"] = {"value": 0.9, "support": 43}
    assert verdict(multi_label).endswith("on 43 pooled test cases or more of each finding.")


def test_a_run_that_chose_its_round_by_loss_is_judged_by_auc(
    classification: dict[str, Any],
) -> None:
    classification["selected"]["metric"] = "loss"
    assert "an AUC of 0.953" in verdict(classification)


def test_an_undefined_main_metric_is_told_with_its_reason(classification: dict[str, Any]) -> None:
    classification["metrics"]["auc"] = {"value": None, "reason": "one class only"}
    assert verdict(classification) == "The AUC of the model is undefined: one class only."


def test_a_failed_run_says_how_far_it_got_and_why(bare: dict[str, Any]) -> None:
    bare.update(status="failed", error="too few sites", rounds_completed=7)
    assert verdict(bare) == "The run failed after 7 of 150 rounds: too few sites."


def test_without_protection_the_reader_is_told_plainly(classification: dict[str, Any]) -> None:
    assert "visible to the coordinator" in aggregation_statement(classification)
    assert "no differential privacy" in privacy_statement(classification)
    assert any("carry no noise" in note for note in protection_notes(classification))


def test_with_protection_the_numbers_of_the_guarantee_are_told(
    classification: dict[str, Any],
) -> None:
    classification["secure_aggregation"] = {"enabled": True}
    classification["privacy"].update(
        mechanism="per-site", unit="patient", epsilon={"hospA": 3.2}, delta=1e-5, accountant="PLD"
    )
    assert "saw only sums over sites" in aggregation_statement(classification)
    statement = privacy_statement(classification)
    assert all(part in statement for part in ("3.2 (hospA)", "1e-05", "PLD", "each patient"))
    assert any("from a seed" in note for note in protection_notes(classification))


MASKED = {
    "enabled": True, "suite": "S1", "bits": 32, "sites_ready": 5, "threshold": 4,
    "values_clipped": 0, "rounds_left_out": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "saw only sums over at least 4 of 5 sites"),
        ({"sites_ready": 3, "threshold": 3}, "saw only sums over all 3 sites"),
        ({"values_clipped": 1}, "1 value of updates had no room in it"),
        ({"values_clipped": 1200}, "1,200 values of updates had no room in it"),
        ({"rounds_left_out": [2, 7]}, "The sum was lost in 2 rounds (2, 7)"),
    ],
)
def test_what_the_coordinator_saw_of_masked_sites_is_told_in_numbers(
    classification: dict[str, Any], changes: dict[str, Any], wanted: str
) -> None:
    classification["secure_aggregation"] = MASKED | changes
    statement = aggregation_statement(classification)
    assert wanted in statement
    assert "never the update or the evaluation of one site" in statement
    assert ("clipped" in statement) == ("values_clipped" in changes)
    assert ("lost" in statement) == ("rounds_left_out" in changes)


def test_a_simulation_is_said_to_hide_nothing_from_whoever_ran_it(
    classification: dict[str, Any],
) -> None:
    classification["secure_aggregation"] = MASKED
    assert "hides nothing from whoever ran it" in aggregation_statement(classification)
    assert "statement protected" not in html_of(classification)
    simulated = aggregation_line(classification)
    _make_real(classification)
    assert "whoever ran it" not in aggregation_statement(classification)
    assert 'class="statement protected">Secure aggregation' in html_of(classification)
    assert aggregation_line(classification) == (
        "Secure aggregation: the coordinator saw only sums over at least 4 of 5 sites"
    )
    assert simulated.endswith("at least 4 of 5 sites; in a simulation it hides nothing")


def _make_real(result: dict[str, Any]) -> None:
    """Take out what a simulation alone knows: figures and counts of single sites."""
    result["metrics_per_site"] = None
    for about in result["sites"].values():
        about["counts"] = None


def test_one_line_says_whether_the_coordinator_saw_single_updates(
    classification: dict[str, Any],
) -> None:
    classification["secure_aggregation"] = {"enabled": False}
    assert "saw each site's update" in aggregation_line(classification)
    classification["secure_aggregation"] = {"enabled": True}
    assert "saw only sums over sites" in aggregation_line(classification)
    del classification["secure_aggregation"]
    assert aggregation_line(classification) == ""


@pytest.mark.parametrize("is_hidden", [True, False])
def test_the_epsilon_of_one_noise_for_all_is_said_to_be_that_of_sums(
    classification: dict[str, Any], is_hidden: bool
) -> None:
    classification["secure_aggregation"] = {"enabled": is_hidden}
    classification["privacy"].update(mechanism="joint", epsilon={"hospA": 3.2}, delta=1e-5)
    statement = privacy_statement(classification)
    assert "holds against whoever sees sums over all sites only" in statement
    assert ("against the coordinator the bound is weaker" in statement) != is_hidden


def test_the_bin_bound_and_left_out_cases_are_told(classification: dict[str, Any]) -> None:
    classification["metrics"]["accuracy"]["excluded"] = 4
    notes = " ".join(figure_notes(classification))
    assert "not an average of averages" in notes
    assert "0.0004 at most" in notes
    assert "Accuracy 4" in notes


def test_the_kept_round_is_explained(classification: dict[str, Any], bare: dict[str, Any]) -> None:
    assert selection_sentence(classification).startswith("The weights of round 140 (moving average")
    assert selection_sentence(bare) == ""


def test_rounds_that_a_public_set_rejected_are_told_beside_the_one_that_was_kept(
    classification: dict[str, Any],
) -> None:
    without = selection_sentence(classification)
    section = {"metric": "auc", "largest_drop": 0.1, "rounds_rejected": []}
    assert selection_sentence({**classification, "hold_out": section}) == without
    section["rounds_rejected"] = [2, 5]
    told = selection_sentence({**classification, "hold_out": section})
    assert told.startswith(without)
    assert "2 rounds (2, 5) made the AUC on a public hold-out set worse by more than 0.1" in told


def test_an_auc_that_binning_did_not_move_is_not_told_as_moved_by_0(
    classification: dict[str, Any],
) -> None:
    assert any("moves it by 0.0004 at most" in note for note in figure_notes(classification))
    classification["metrics"]["auc"]["bin_bound"] = 0.0
    assert any("did not move it" in note for note in figure_notes(classification))
