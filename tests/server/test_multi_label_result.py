"""`result.json` of a multi-label run against a slow second computation over all patients."""

import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.multi_label_pictures import FINDINGS, LABELS, findings_job, findings_of
from tests.server.test_result import Finished, finish, module_with
from tests.tiny_federation import SITES, entries_of, make_federation

from fedward_client.daemon.site_state import open_site
from fedward_common.evaluation.operating_points import Threshold

Cases = list[tuple[int, float]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("findings")
    job = findings_job(["job.rounds=8", "training.optimizer.learning_rate=0.05"])
    pictures = {site: findings_of(site) for site in SITES}
    federation = make_federation(
        folder / "f", job, pictures=pictures, settings={"labels": dict(LABELS)}
    )
    return finish(federation, folder / "run")


def cases_of(finished: Finished, finding: int, split: str = "test") -> Cases:
    """Give (label, mean probability) of each patient and label, an image at a time."""
    module = module_with(finished)
    scores: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for site, home in finished.federation.homes.items():
        view = next(iter(open_site(home).runs.values())).view
        for case in view.indices("test" if split == "test" else "validation"):
            label = int(view.labels[case, finding])
            if label >= 0:
                with torch.inference_mode():
                    logits = module(torch.from_numpy(np.array(view.images[case])[None]))
                probability = float(logits.double().sigmoid()[0, finding])
                scores[site, int(view.patients[case]), label].append(probability)
    return [(label, sum(some) / len(some)) for (_, _, label), some in scores.items()]


def slow_auc(cases: Cases) -> float:
    pairs = list(
        itertools.product([s for y, s in cases if y == 1], [s for y, s in cases if y == 0])
    )
    return sum((p > n) + (p == n) / 2 for p, n in pairs) / len(pairs)


def balanced_accuracy(cases: Cases, threshold: float) -> float:
    shares = [np.mean([(s >= threshold) == y for y, s in cases if y == label]) for label in (0, 1)]
    return float(np.mean(shares))


def test_figures_of_each_finding_are_those_of_all_its_annotated_patients(
    finished: Finished,
) -> None:
    metrics, thresholds = finished.result["metrics"], finished.result["thresholds"]
    for k, name in enumerate(FINDINGS):
        cases = cases_of(finished, k)
        auc = metrics[f"auc:{name}"]
        assert auc["support"] == len(cases)
        assert auc["positives"] == sum(label for label, _ in cases)
        assert auc["negatives"] == len(cases) - auc["positives"]
        assert abs(auc["value"] - slow_auc(cases)) <= auc.get("bin_bound", 0.0) + 1e-12
        called = [(label, score >= thresholds[name]) for label, score in cases]
        right = [label == is_called for label, is_called in called]
        assert metrics[f"accuracy:{name}"]["value"] == pytest.approx(sum(right) / len(right))
        hits = [is_called for label, is_called in called if label == 1]
        assert metrics[f"sensitivity:{name}"]["value"] == pytest.approx(sum(hits) / len(hits))


def test_the_main_figures_are_means_over_the_findings(finished: Finished) -> None:
    metrics = finished.result["metrics"]
    for metric in ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1"):
        parts = [metrics[f"{metric}:{name}"]["value"] for name in FINDINGS]
        assert metrics[metric]["value"] == pytest.approx(sum(parts) / 3)


def test_what_was_learnt_shows(finished: Finished) -> None:
    assert finished.result["metrics"]["auc"]["value"] > 0.8


def test_the_round_was_chosen_by_the_mean_auc_on_validation(finished: Finished) -> None:
    selected = finished.result["selected"]
    assert selected["metric"] == "auc"
    (entry,) = [e for e in finished.result["history"] if e["round"] == selected["round"]]
    aucs = [slow_auc(cases_of(finished, k, "validation")) for k in range(3)]
    bound = entry["metrics"]["auc"]["bin_bound"]
    assert selected["value"] == entry["metrics"]["auc"]["value"]
    assert abs(selected["value"] - sum(aucs) / 3) <= bound + 1e-12
    assert selected["value"] == max(
        h["metrics"]["auc"]["value"] for h in finished.result["history"]
    )


def test_no_other_threshold_was_better_on_validation(finished: Finished) -> None:
    edges = [Threshold(edge).probability for edge in range(1, 1024)]
    for k, name in enumerate(FINDINGS):
        cases = cases_of(finished, k, "validation")
        best = max(balanced_accuracy(cases, edge) for edge in edges)
        reached = balanced_accuracy(cases, finished.result["thresholds"][name])
        assert reached == pytest.approx(best)


def test_a_site_that_never_annotated_a_finding_counts_for_the_others(finished: Finished) -> None:
    of_birch = finished.result["metrics_per_site"]["birch"]
    assert of_birch["auc:effusion"]["value"] is not None
    assert of_birch["auc:fracture"]["value"] is None
    assert "annotated for 'fracture'" in of_birch["auc:fracture"]["reason"]
    assert of_birch["auc"]["value"] is None
    about = finished.result["sites"]["birch"]
    assert about["findings"]["train"]["fracture"] == {
        "present": 0,
        "absent": 0,
        "not_annotated": about["cases"]["train"],
    }
    cedar = finished.result["sites"]["cedar"]["findings"]["train"]
    assert all(sum(counts.values()) == about["cases"]["train"] for counts in cedar.values())


def test_a_multi_label_result_is_plain_json_with_a_curve_for_each_finding(
    finished: Finished,
) -> None:
    result = finished.result
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert [curve["class"] for curve in result["roc"]] == list(FINDINGS)
    assert result["confusion"] is None


def test_a_site_that_nobody_annotated_is_left_out_by_name(tmp_path: Path) -> None:
    pictures = {site: findings_of(site) for site in SITES}
    for picture in pictures["birch"]:
        picture.row.update(dict.fromkeys(FINDINGS, "u"))
    federation = make_federation(
        tmp_path / "f", findings_job(), pictures=pictures, settings={"labels": dict(LABELS)}
    )
    history = federation.run(tmp_path / "run")
    assert [f["code"] for f in history.failures] == ["E_NO_TRAINING_PATIENTS"]
    assert history.participants == [["alder", "cedar"]] * 4


def test_the_same_run_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    pictures = {site: findings_of(site) for site in SITES}
    federation = make_federation(
        tmp_path / "f", findings_job(), pictures=pictures, settings={"labels": dict(LABELS)}
    )

    def hashes(folder: Path) -> list[Any]:
        federation.run(folder)
        return [e["sha256"] for e in entries_of(folder) if e["kind"] == "round.committed"]

    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
