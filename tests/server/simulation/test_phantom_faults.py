"""`fedward phantom --quirks` shows every code that a check of a folder can give."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedward_client.cohorts.finding_codes import CODE_MEANINGS
from fedward_server.simulation.phantom_writing import Kinds, PhantomOrder, make_phantoms

NOT_SHOWN_BY_A_FOLDER = {
    "E_FILE_CHANGED": "a file must change while a command reads it, or between two commands",
    "E_DECODER_CRASHED": "a file that kills a decoder is a defect of the decoder, to be mended",
    "E_DECODER_TIMEOUT": "no file within the limits keeps a decoder busy for so long",
    "E_DECODER_MEMORY": "no file within the limits needs so much memory",
    "E_IMAGE_SHAPE": "only a job says what shape it wants",
    "EXCLUDED_BY_REQUEST": "a command excludes patients",
    "E_SOURCE_UNREADABLE": "the folder is away, so that no command goes on",
    "E_CACHE_FULL": "depends on the quota of the site",
    "E_TASK_MISMATCH": "only a job asks for another task",
    "E_COHORT_CHANGED": "only a run meets a cohort that changed",
    "E_NO_TRAINING_PATIENTS": "only a run needs somebody to train on",
    "E_REPORT_TOO_ALIKE": "depends on the reports that were shown before",
    "E_SERVER_UNREACHABLE": "of a server",
    "E_SERVER_CERTIFICATE": "of a server",
    "E_SERVER_REFUSED": "of a server",
    "E_SERVER_NOT_FOUND": "of a server",
    "E_SERVER_ANSWER": "of a server",
    "E_SERVER_TOO_LARGE": "of a server",
}


def faulty_hospital(folder: Path, kinds: Kinds = "both") -> tuple[Path, dict[str, Any]]:
    made = make_phantoms(folder, PhantomOrder((10,), kinds, 32, quirks=True))[0]
    assert made.expected is not None
    return made.folder, made.expected


def codes_in(expected: dict[str, Any]) -> Iterator[str]:
    yield from expected["archive"]
    for found_by_task in expected["lines"].values():
        for found in found_by_task.values():
            yield from found
    for one in expected["further"]:
        yield from (*one["archive"], *one["lines"], *one["limits_passed"])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return faulty_hospital(tmp_path_factory.mktemp("faulty"))


def test_every_code_is_shown_by_a_phantom_or_named_with_the_reason_why_none_can(
    hospital: tuple[Path, dict[str, Any]],
) -> None:
    shown = set(codes_in(hospital[1]))
    assert not shown & set(NOT_SHOWN_BY_A_FOLDER)
    assert shown | set(NOT_SHOWN_BY_A_FOLDER) == set(CODE_MEANINGS)


def test_each_further_label_file_is_there_and_has_a_line_for_each_finding(
    hospital: tuple[Path, dict[str, Any]],
) -> None:
    folder, expected = hospital
    assert json.loads((folder / "expected_findings.json").read_text("utf-8")) == expected
    for one in expected["further"]:
        rows = rows_of(folder / one["labels"])
        assert len(rows) >= sum(one["lines"].values()) > 0
        assert one["update_of"] in ("", "labels.csv")


def test_the_second_delivery_is_the_first_with_one_patient_moved_to_another_split(
    hospital: tuple[Path, dict[str, Any]],
) -> None:
    folder, expected = hospital
    first, second = (rows_of(folder / name) for name in ("labels.csv", "labels-2.csv"))
    differing = [(one, other) for one, other in zip(first, second, strict=True) if one != other]
    assert [(one["split"], other["split"]) for one, other in differing] == [("train", "test")]
    found = next(one for one in expected["further"] if one["labels"] == "labels-2.csv")
    before = expected["lines"]["labels.csv"]["classification"]
    assert found["lines"] == before | {"E_SPLIT_MOVED": 1}


def test_a_hospital_of_series_alone_has_the_faults_of_its_archive_and_no_further_label_file(
    tmp_path: Path,
) -> None:
    folder, expected = faulty_hospital(tmp_path, "ct")
    assert expected["further"] == []
    assert sorted(path.name for path in folder.glob("*.csv")) == ["labels.csv"]
    assert expected["archive"]["E_INFLATED_TOO_LARGE"] == 1
    assert expected["lines"]["labels.csv"]["segmentation"]["E_MASK_VALUE"] == 1


def test_a_file_that_inflates_too_far_is_small_itself(
    hospital: tuple[Path, dict[str, Any]],
) -> None:
    assert (hospital[0] / "dicom" / "inflates-too-far.dcm").stat().st_size < 1_000_000
