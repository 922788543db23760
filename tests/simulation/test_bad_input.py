"""Data and weights that are not what they should be: one clear line, or a named exclusion."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny_federation import (
    SITES,
    Picture,
    TinyFederation,
    entries_of,
    make_federation,
    pictures_of,
    tiny_job,
)

from fedward_client.local_simulation import cohort_summary
from fedward_common.errors import ConfigurationError, QuorumError, WeightsMismatchError
from fedward_common.identities import SiteId
from fedward_common.models.weights_file import write_weights
from fedward_server.initial_weights import initial_weights_of


def summary_of(federation: TinyFederation, site: str) -> dict[str, Any]:
    summary = cohort_summary(federation.homes[SiteId(site)])
    assert summary is not None
    return summary


def with_cells(pictures: Sequence[Picture], number: int, **cells: str) -> list[Picture]:
    """Change one line of a manifest."""
    pictures[number].row.update(cells)
    return list(pictures)


def test_a_site_without_patients_of_a_class_takes_part(tmp_path: Path) -> None:
    normal = [p for p in pictures_of("birch") if p.row["label"] == "0"]
    federation = make_federation(tmp_path, pictures={"birch": normal})
    history = federation.run(tmp_path / "run")
    assert history.participants == [list(SITES)] * 4
    assert history.failures == []
    assert summary_of(federation, "birch")["patients"]["train"] == 6


def test_an_empty_site_is_left_out_by_name(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, pictures={"birch": []})
    history = federation.run(tmp_path / "run")
    assert history.failures == [
        {"round": 0, "attempt": 0, "site": "birch", "code": "E_COHORT_EMPTY"}
    ]
    assert history.participants == [["alder", "cedar"]] * 4


def test_a_site_without_training_patients_is_left_out_by_name(tmp_path: Path) -> None:
    tests = [p for p in pictures_of("birch") if p.row["split"] == "test"]
    federation = make_federation(tmp_path, pictures={"birch": tests})
    history = federation.run(tmp_path / "run")
    assert [f["code"] for f in history.failures] == ["E_NO_TRAINING_PATIENTS"]


def test_a_site_without_validation_patients_trains_and_is_tested(tmp_path: Path) -> None:
    others = [p for p in pictures_of("birch") if p.row["split"] != "validation"]
    federation = make_federation(tmp_path, pictures={"birch": others})
    history = federation.run(tmp_path / "run")
    assert history.failures == []
    assert history.evaluations[0]["figures"]["auc"]["support"] == 12


def test_no_site_with_data_is_one_line_that_names_them_all(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, pictures={site: [] for site in SITES})
    with pytest.raises(QuorumError) as caught:
        federation.run(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert all(f"{site}: E_COHORT_EMPTY" in str(caught.value) for site in SITES)
    assert caught.value.hint


def test_labels_outside_the_classes_are_excluded_and_counted(tmp_path: Path) -> None:
    pictures = with_cells(pictures_of("birch"), 3, label="7")
    pictures = with_cells(pictures, 5, label="unclear")
    federation = make_federation(tmp_path, pictures={"birch": pictures})
    history = federation.run(tmp_path / "run")
    assert history.finished
    assert summary_of(federation, "birch")["exclusions"] == {"E_LABEL_VALUE": 2}


def test_a_site_of_which_half_the_labels_are_of_no_class_is_left_out_by_name(
    tmp_path: Path,
) -> None:
    pictures = pictures_of("birch")
    for number in range(0, len(pictures), 2):
        with_cells(pictures, number, label="7")
    federation = make_federation(tmp_path, pictures={"birch": pictures})
    history = federation.run(tmp_path / "run")
    assert [f["code"] for f in history.failures] == ["E_TOO_MANY_EXCLUDED"]


def test_a_mask_of_another_shape_is_excluded_and_counted(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, tiny_job("segmentation"))
    archive = federation.data / "birch.npz"
    with np.load(archive) as loaded:
        arrays = dict(loaded)
    np.savez(archive, **arrays, small=np.ones((8, 8), dtype=np.uint8))
    manifest = federation.data / "birch.csv"
    manifest.write_text(manifest.read_text().replace("masks[4]", "small", 1))
    history = federation.run(tmp_path / "run")
    assert history.finished
    assert history.failures == []
    assert summary_of(federation, "birch")["exclusions"] == {"E_MASK_SHAPE": 1}


def test_a_mask_with_a_value_outside_the_classes_is_excluded_and_counted(tmp_path: Path) -> None:
    pictures = pictures_of("birch")
    pictures[2].mask[0, 0] = 9
    federation = make_federation(tmp_path, tiny_job("segmentation"), pictures={"birch": pictures})
    history = federation.run(tmp_path / "run")
    assert history.finished
    assert summary_of(federation, "birch")["exclusions"] == {"E_MASK_VALUE": 1}


def test_a_segmentation_of_learnable_squares_is_learnt(tmp_path: Path) -> None:
    federation = make_federation(
        tmp_path, tiny_job("segmentation", ["job.rounds=12", "training.local_steps=4"])
    )
    history = federation.run(tmp_path / "run")
    dice = [e["figures"]["dice"]["value"] for e in history.evaluations]
    assert dice[-1] > 0.5
    assert dice[-1] > dice[0]


def test_a_truncated_image_is_excluded_and_counted(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    whole = io.BytesIO()
    np.save(whole, np.zeros((16, 16), dtype=np.uint8))
    with zipfile.ZipFile(federation.data / "birch.npz", "a") as archive:
        archive.writestr("torn.npy", whole.getvalue()[:-100])
    manifest = federation.data / "birch.csv"
    manifest.write_text(manifest.read_text().replace("images[3]", "torn", 1))
    history = federation.run(tmp_path / "run")
    assert history.finished
    assert summary_of(federation, "birch")["exclusions"] == {"E_IMAGE_UNREADABLE": 1}


def test_a_truncated_archive_leaves_the_site_out_by_name(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    archive = federation.data / "birch.npz"
    archive.write_bytes(archive.read_bytes()[:-500])
    history = federation.run(tmp_path / "run")
    assert [(f["site"], f["code"]) for f in history.failures] == [("birch", "E_SOURCE_UNREADABLE")]


def test_an_archive_that_is_gone_leaves_the_site_out_by_name(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    (federation.data / "birch.npz").unlink()
    history = federation.run(tmp_path / "run")
    assert [(f["site"], f["code"]) for f in history.failures] == [("birch", "E_SOURCE_UNREADABLE")]


def test_exclusions_and_failures_quote_no_patient(tmp_path: Path) -> None:
    pictures = with_cells(pictures_of("birch"), 3, label="SECRET^NAME", patient="SECRET-4711")
    federation = make_federation(tmp_path, pictures={"birch": pictures})
    federation.run(tmp_path / "run")
    assert "E_LABEL_VALUE" in json.dumps(summary_of(federation, "birch"))
    shown = json.dumps([entries_of(tmp_path / "run"), summary_of(federation, "birch")])
    assert "SECRET" not in shown
    assert "birch-" not in shown  # what patients are called there


# -- weights to begin with (F17) -------------------------------------------------------------------


def test_a_run_can_begin_with_given_weights(tmp_path: Path, tiny: TinyFederation) -> None:
    weights, spec = initial_weights_of(tiny.job, seed=3)
    write_weights(tmp_path / "start.safetensors", spec, weights)
    federation = tiny.with_job(f"model.start='{tmp_path / 'start.safetensors'}'")
    setup = federation.set_up(tmp_path / "run")
    np.testing.assert_array_equal(setup.initial_weights(), weights)
    assert federation.run(tmp_path / "run").finished


def test_weights_of_another_width_are_refused_before_the_run(
    tmp_path: Path, tiny: TinyFederation
) -> None:
    weights, spec = initial_weights_of(tiny.with_job("model.options.width=16").job, seed=3)
    write_weights(tmp_path / "start.safetensors", spec, weights)
    federation = tiny.with_job(f"model.start='{tmp_path / 'start.safetensors'}'")
    with pytest.raises(WeightsMismatchError) as caught:
        federation.run(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "manifest.cbor").exists()


def test_going_on_with_another_job_seed_or_site_is_refused(
    tmp_path: Path, tiny: TinyFederation
) -> None:
    folder = tmp_path / "run"
    tiny.set_up(folder)
    with pytest.raises(ConfigurationError, match="another job, seed or set of sites"):
        tiny.with_job("job.rounds=5").set_up(folder)
