"""Figures in `result.json` against a slow second computation over all patients' predictions."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.tiny_federation import SITES, TinyFederation, make_federation, pictures_of, tiny_job

from fedward_client.daemon.site_state import open_site
from fedward_client.local_simulation import cohort_summary, sums_on_test_split
from fedward_common.models.catalogue import architecture_of
from fedward_common.models.flat_vector import load_flat, spec_of
from fedward_common.models.registry import build_model
from fedward_common.tensor_file import read_tensors
from fedward_server.result import Result, result_of_run

SECONDS = {"total": 1.0, "training": 0.5, "evaluation": 0.2, "overhead": 0.3}


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run, its result, and the weights that were selected."""

    federation: TinyFederation
    result: Result
    weights: NDArray[np.float32]


def finish(federation: TinyFederation, folder: Path) -> Finished:
    history = federation.run(folder)
    setup = federation.set_up(folder)
    assert history.final is not None
    selected = history.final["selected"]
    result = result_of_run(
        setup,
        history,
        cohorts={site: cohort_summary(home) for site, home in federation.homes.items()},
        site_sums={
            site: sums_on_test_split(home, setup.manifest.run)
            for site, home in federation.homes.items()
        },
        seconds=SECONDS,
    )
    weights = read_tensors(folder / selected["file"], selected["sha256"])["weights"]
    return Finished(federation, result, weights)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Three sites of different sizes and shares of findings; not all is learnt."""
    folder = tmp_path_factory.mktemp("result")
    birch = [p for p in pictures_of("birch") if int(p.row["patient"].split("-")[1]) % 4 != 1]
    cedar = pictures_of("cedar", num_patients=72)
    for place, picture in enumerate(cedar):
        if place % 5 == 0:
            picture.image[:] = 128  # nothing to see
    federation = make_federation(
        folder / "f",
        tiny_job(overrides=["job.rounds=3"]),
        pictures={"birch": birch, "cedar": cedar},
    )
    return finish(federation, folder / "run")


def module_with(finished: Finished) -> torch.nn.Module:
    """Give a network of the selected weights."""
    job = finished.federation.job
    module = build_model(job)
    load_flat(module, finished.weights, spec_of(module, architecture_of(job)))
    return module.eval()


def predictions(finished: Finished, site: str, split: str) -> Iterator[tuple[int, float]]:
    """Give (class, mean probability of class 1) of each patient, an image at a time."""
    module = module_with(finished)
    home = next(h for s, h in finished.federation.homes.items() if s == site)
    view = next(iter(open_site(home).runs.values())).view
    for cases in view.cases_by_patient("test" if split == "test" else "validation"):
        scores = []
        for case in cases:
            with torch.inference_mode():
                logits = module(torch.from_numpy(np.array(view.images[case])[None]))
            scores.append(float(logits.double().softmax(dim=1)[0, 1]))
        yield int(view.labels[cases[0]]), sum(scores) / len(scores)


def slow_auc(patients: list[tuple[int, float]]) -> float:
    """Share of (positive, negative) pairs in the right order; ties count half."""
    positives = [score for label, score in patients if label == 1]
    negatives = [score for label, score in patients if label == 0]
    pairs = list(itertools.product(positives, negatives))
    return sum((p > n) + (p == n) / 2 for p, n in pairs) / len(pairs)


def test_pooled_figures_are_those_of_all_patients_together(finished: Finished) -> None:
    patients = [p for site in SITES for p in predictions(finished, site, "test")]
    metrics = finished.result["metrics"]
    auc = metrics["auc"]
    assert auc["support"] == len(patients)
    assert abs(auc["value"] - slow_auc(patients)) <= auc.get("bin_bound", 0.0) + 1e-12
    threshold = finished.result["thresholds"]["finding"]
    right = [(score >= threshold) == (label == 1) for label, score in patients]
    assert metrics["accuracy"]["value"] == pytest.approx(sum(right) / len(right))
    hits = [score >= threshold for label, score in patients if label == 1]
    assert metrics["sensitivity"]["value"] == pytest.approx(sum(hits) / len(hits))
    counts = finished.result["confusion"]["counts"]
    assert sum(map(sum, counts)) == len(patients)
    assert counts[0][0] + counts[1][1] == sum(right)


def test_figures_of_a_site_are_those_of_its_own_patients(finished: Finished) -> None:
    for site in SITES:
        patients = list(predictions(finished, site, "test"))
        auc = finished.result["metrics_per_site"][site]["auc"]
        assert auc["support"] == len(patients)
        assert abs(auc["value"] - slow_auc(patients)) <= auc.get("bin_bound", 0.0) + 1e-12


def test_pooled_figures_are_no_average_of_the_sites_figures(finished: Finished) -> None:
    """The sites differ in size; were the two equal, the test above would prove little."""
    each = [finished.result["metrics_per_site"][site]["accuracy"]["value"] for site in SITES]
    assert abs(finished.result["metrics"]["accuracy"]["value"] - sum(each) / 3) > 1e-3


def test_the_validation_history_is_that_of_the_selected_weights(finished: Finished) -> None:
    selected = finished.result["selected"]
    patients = [p for site in SITES for p in predictions(finished, site, "validation")]
    (entry,) = [e for e in finished.result["history"] if e["round"] == selected["round"]]
    auc = entry["metrics"]["auc"]
    assert selected["value"] == auc["value"]
    assert abs(auc["value"] - slow_auc(patients)) <= auc.get("bin_bound", 0.0) + 1e-12


def test_a_result_is_plain_json_without_nan(finished: Finished) -> None:
    text = json.dumps(finished.result, allow_nan=False)
    assert json.loads(text) == finished.result


def test_what_the_sites_held_is_in_the_result(finished: Finished) -> None:
    sites = finished.result["sites"]
    assert sites["alder"]["band"] == "10 to 19"
    assert sites["alder"]["counts"] == {"train": 12, "validation": 6, "test": 6}
    assert sites["cedar"]["band"] == "20 to 49"
    assert finished.result["privacy"]["unit"] == "patient"


def test_a_site_of_one_class_has_an_undefined_auc_with_its_reason(tmp_path: Path) -> None:
    normal = [p for p in pictures_of("birch") if p.row["label"] == "0"]
    federation = make_federation(tmp_path / "f", pictures={"birch": normal})
    result = finish(federation, tmp_path / "run").result
    figure: dict[str, Any] = result["metrics_per_site"]["birch"]["auc"]
    assert (figure["value"], figure["low"], figure["high"]) == (None, None, None)
    assert figure["support"] == 3
    assert "finding" in figure["reason"]


def test_pooled_dice_is_the_mean_over_all_patients(tmp_path: Path) -> None:
    federation = make_federation(tmp_path / "f", tiny_job("segmentation"))
    finished = finish(federation, tmp_path / "run")
    module = module_with(finished)
    means = []
    for home in federation.homes.values():
        view = next(iter(open_site(home).runs.values())).view
        assert view.masks is not None
        for cases in view.cases_by_patient("test"):
            of_patient = []
            for case in cases:
                with torch.inference_mode():
                    logits = module(torch.from_numpy(np.array(view.images[case])[None]))
                predicted = logits.argmax(dim=1)[0].numpy() == 1
                true = np.asarray(view.masks[case]) == 1
                size = int(predicted.sum()) + int(true.sum())
                of_patient.append(2 * int((predicted & true).sum()) / size)
            means.append(sum(of_patient) / len(of_patient))
    figure = finished.result["metrics"]["dice:square"]
    assert figure["support"] == len(means) == 18
    assert figure["value"] == pytest.approx(sum(means) / len(means), abs=1e-6)
