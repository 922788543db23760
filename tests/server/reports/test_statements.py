from typing import Any

import pytest

from fedward_server.reports.statements import (
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
    assert "sums over sites only" in aggregation_statement(classification)
    statement = privacy_statement(classification)
    assert all(part in statement for part in ("3.2 (hospA)", "1e-05", "PLD", "each patient"))
    assert any("from a seed" in note for note in protection_notes(classification))


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
