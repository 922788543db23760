"""Public images leave as arrays of the job's form; a registered cohort does not leave at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.hold_out_sets import public_arrays, public_cohort
from tests.multi_label_pictures import findings_job, findings_of
from tests.tiny_federation import SIDE, pictures_of, tiny_job, write_site

from fedward_client.cohorts.public_cases import public_cases
from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import Job


def cases_of(table: object, folder: Path, job: Job, split: str = "test") -> dict[str, NDArray[Any]]:
    return public_cases(
        table,
        folder,
        job,
        site="public",
        split=split,
        split_key=bytes(32),
        progress=lambda done, total: None,
    )


def test_the_cases_of_one_split_come_as_the_model_takes_them(tmp_path: Path) -> None:
    cases = public_arrays(tmp_path, tiny_job(), split="test")
    wanted = [p for p in pictures_of("public") if p.row["split"] == "test"]
    assert cases["images"].shape == (len(wanted), 1, SIDE, SIDE)
    assert cases["images"].dtype == np.float32
    np.testing.assert_allclose(cases["images"].mean(axis=(1, 2, 3)), 0, atol=1e-5)  # per-image
    assert cases["labels"].tolist() == [int(p.row["label"]) for p in wanted]
    assert len(set(cases["patients"])) == len({p.row["patient"] for p in wanted})


def test_masks_come_with_a_segmentation(tmp_path: Path) -> None:
    cases = public_arrays(tmp_path, tiny_job("segmentation"), split="validation")
    assert cases.keys() == {"images", "masks", "patients"}
    wanted = [p.mask for p in pictures_of("public") if p.row["split"] == "validation"]
    np.testing.assert_array_equal(cases["masks"], np.stack(wanted))


def test_all_splits_are_every_case_once(tmp_path: Path) -> None:
    job = tiny_job()
    every = public_arrays(tmp_path / "all", job)
    parts = [
        public_arrays(tmp_path / split, job, split=split)
        for split in ("train", "validation", "test")
    ]
    assert len(every["images"]) == sum(len(part["images"]) for part in parts)
    assert every["patients"].max() + 1 == sum(part["patients"].max() + 1 for part in parts)


def test_findings_keep_what_nobody_annotated(tmp_path: Path) -> None:
    job = findings_job()
    table = {"sites": {"public": write_site(tmp_path, "public", findings_of("alder"))}}
    cases = cases_of(table, tmp_path, job, "all")
    assert cases["labels"].shape == (len(cases["images"]), len(job.task.classes))
    assert set(np.unique(cases["labels"])) <= {-1, 0, 1}
    assert (cases["labels"] != -1).any(axis=1).all()


def test_another_site_an_empty_split_and_a_registered_cohort_are_refused_by_name(
    tmp_path: Path,
) -> None:
    table = public_cohort(tmp_path)
    with pytest.raises(ConfigurationError, match="no site 'public'") as caught:
        cases_of({"sites": {"other": table["sites"]["public"]}}, tmp_path, tiny_job())
    assert "other" in caught.value.hint
    trained = [p for p in pictures_of("public") if p.row["split"] == "train"]
    table = {"sites": {"public": write_site(tmp_path, "public", trained)}}
    with pytest.raises(ConfigurationError, match="no case with a label in its test split"):
        cases_of(table, tmp_path, tiny_job())
    home = {"source": "registered", "path": "home", "cohort": "chest"}
    with pytest.raises(ConfigurationError, match="registered cohort") as caught:
        cases_of({"sites": {"public": home}}, tmp_path, tiny_job())
    assert "public images" in caught.value.hint
