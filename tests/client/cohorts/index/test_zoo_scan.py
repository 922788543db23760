"""The real files of the data root, scanned as a hospital's: what comes out, and what does not."""

import csv
import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
from tests.client.cohorts.dicom_tree import (
    facts_at,
    instance_bytes,
    open_index,
    problems,
    scan,
    write,
)

from fedward_client.cohorts.index.folder_scan import FolderStore

pytestmark = pytest.mark.real_data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dicom"
    made.mkdir()
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def test_the_whole_zoo_is_scanned_and_nothing_of_a_patient_comes_out(
    data_root: Path,
    file: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    caplog.set_level(logging.DEBUG)
    zoo = data_root / "dicom-zoo"
    told: list[Any] = []
    with open_index(file) as index:
        summary = FolderStore(zoo).scan(index, told.append)
        told += [summary, index, *index.scan_findings(), *index.problems()]
        told += [index.at(path.name) for path in zoo.iterdir()]
    assert (summary.instances, summary.problems, summary.not_dicom) == (71, 7, 4)
    assert {code for code, _ in problems(file)} == {"E_HEADER_INCOMPLETE"}
    assert not recwarn.list
    words = " ".join([caplog.text, *capfd.readouterr(), *map(repr, told)])
    assert [needle for needle in needles(zoo) if needle in words] == []


def test_no_name_of_a_patient_is_in_the_index(data_root: Path, file: Path) -> None:
    zoo = data_root / "dicom-zoo"
    scan(zoo, file)
    content = file.read_bytes()
    with (zoo / "manifest.csv").open() as opened:
        names = {row["patient_name"] for row in csv.DictReader(opened)}
    names |= {n["value"] for n in expected_of(zoo) if n["keyword"] == "PatientName"}
    with open_index(file) as index:
        found = [index.at(path.name) for path in zoo.iterdir()]
    ids = " ".join(one.patient_id for one in found if one is not None)  # some are names too
    wanted = [name for name in names if len(name) > 3 and name not in ids]
    assert len(wanted) > 15
    assert [name for name in wanted if name.encode() in content] == []


def test_damaged_files_of_the_zoo_cost_themselves_alone_and_let_nothing_out(
    data_root: Path,
    folder: Path,
    file: Path,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    draw = random.Random(7)
    zoo = data_root / "dicom-zoo"
    for path in sorted(zoo.iterdir()):
        content = path.read_bytes()[:20_000]
        for number in range(3):
            damaged = bytearray(content[: draw.randrange(1, len(content) + 1)])
            for _ in range(8):
                damaged[draw.randrange(min(len(damaged), 2000))] = draw.randrange(256)
            write(folder, f"{path.name}-{number}", bytes(damaged))
    write(folder, "good", instance_bytes("1.9"))
    summary = scan(folder, file)
    assert summary.files_seen == summary.files_read == 3 * 82 + 1
    assert facts_at(file, "good").sop_instance_uid == "1.9"
    assert not recwarn.list
    assert [needle for needle in needles(zoo) if needle in caplog.text] == []


def expected_of(zoo: Path) -> list[dict[str, Any]]:
    expected = json.loads((zoo / "deid_expected.json").read_text())
    return [n for of_file in expected.values() for n in of_file["must_be_removed_or_replaced"]]


def needles(zoo: Path) -> list[str]:
    """Values that must not come out; short ones stand in any text."""
    values = [str(n["value"]) for n in expected_of(zoo)]
    with (zoo / "manifest.csv").open() as opened:
        values += [row["patient_name"] for row in csv.DictReader(opened)]
    return [value for value in values if len(value) > 3]
