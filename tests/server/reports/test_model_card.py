from collections.abc import Callable
from typing import Any

import pytest

from fedward_server.reports.model_card import model_card_text


def test_the_card_has_its_sections_and_figures(classification: dict[str, Any]) -> None:
    card = model_card_text(classification)
    headings = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        "Intended use", "Data", "Training", "Metrics", "Limits", "Privacy", "Reproducibility"
    ]  # fmt: skip
    assert "| AUC | 0.953 | 0.936 to 0.970 | 624 | 0.958 | 0.898 |" in card
    assert "No claim of clinical validity" in card
    assert classification["model_sha256"] in card
    assert "- Seed: 0" in card


@pytest.mark.parametrize("kind", ["classification", "multi-label", "segmentation", "bare"])
def test_every_kind_of_result_has_a_card(
    kind: str, any_result: Callable[[str], dict[str, Any]]
) -> None:
    card = model_card_text(any_result(kind))
    assert card == model_card_text(any_result(kind))
    assert "None" not in card


def test_each_part_may_be_null_alone(classification: dict[str, Any]) -> None:
    for key in classification:
        assert model_card_text({**classification, key: None}).startswith("# Model card")


def test_undefined_metrics_come_with_their_reason(segmentation: dict[str, Any]) -> None:
    assert "- Dice, posterior: no test case has this structure" in model_card_text(segmentation)


def test_findings_have_a_table_of_their_own(multi_label: dict[str, Any]) -> None:
    card = model_card_text(multi_label)
    assert "each finding is present or absent alone" in card
    row = "| nodule | 0.890 | 0.860 to 0.920 | 0.890 | 0.890 | 0.890 | 32 | 400 |"
    assert row in card
    assert "| AUC, nodule |" not in card
    assert "AUC, rib fracture" in card  # with its reason
    assert "- Not annotated at hospA: 13 without any label; 1 without nodule; 2 without" in card
    assert "nodule 0.210" in card


def test_markup_in_names_is_escaped(classification: dict[str, Any]) -> None:
    classification["job"]["job"]["name"] = "<script>x</script> | [a](b)\n# big"
    title = model_card_text(classification).splitlines()[0]
    assert title == r"# Model card: \<script\>x\</script\> \| \[a\](b) \# big"


def test_steps_and_weighting_are_told_in_words(classification: dict[str, Any]) -> None:
    classification["job"]["training"]["local_steps"] = 1
    card = model_card_text(classification)
    assert "each of 1 local step\n" in card
    assert "- Strategy: fedavgm, sites weighted by the band of their patients" in card
    classification["job"]["strategy"]["weighting"] = "uniform"
    assert "- Strategy: fedavgm, every site weighted alike" in model_card_text(classification)
