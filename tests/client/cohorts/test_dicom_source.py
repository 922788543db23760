import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.client.cohorts.small_cohorts import CLASSIFY, SEGMENT, dicom_bytes, write_manifest
from tests.client.dicom.made_files import ABORTING_JPEG

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.dicom_source import DicomSource
from fedward_client.cohorts.source import UnusableCaseError
from fedward_common.job.job_file import DataSection, TaskSection

STORED = np.array([[0, 10], [20, 255]], dtype=np.uint8)


class Opened:
    """Opens sources and closes them at the end of the test."""

    def __init__(self) -> None:
        self.sources: list[DicomSource] = []

    def __call__(
        self, folder: Path, rows: list[dict[str, str]], task: TaskSection = CLASSIFY
    ) -> DicomSource:
        manifest = write_manifest(folder.parent / "m.csv", [{"label": "0", **row} for row in rows])
        settings = SourceSettings(source="dicom-folder", path=str(folder), manifest=str(manifest))
        data = DataSection(modality="CT", image_size=(2, 2))
        self.sources.append(DicomSource(settings, task, data))
        return self.sources[-1]

    def image(self, folder: Path, content: bytes) -> np.ndarray:
        (folder / "a").write_bytes(content)
        source = self(folder, [{"file": "a", "patient": "p"}])
        return np.asarray(source.read_image(source.cases().cases[0])[0])


@pytest.fixture
def opened() -> Iterator[Opened]:
    made = Opened()
    yield made
    for source in made.sources:
        source.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dicom"
    made.mkdir()
    return made


def test_the_patient_comes_from_the_header_where_the_manifest_has_none(
    folder: Path, opened: Opened
) -> None:
    (folder / "a").write_bytes(dicom_bytes(STORED))
    (folder / "b").write_bytes(dicom_bytes(STORED, PatientID=""))
    (folder / "c").write_bytes(b"no DICOM at all")
    listed = opened(folder, [{"file": "a"}, {"file": "b"}, {"file": "c"}]).cases()
    assert [c.patient for c in listed.cases] == ["SECRET-ID-1"]
    assert [(e.code, e.line) for e in listed.exclusions] == [
        ("E_PATIENT_MISSING", 3),
        ("E_NOT_DICOM", 4),
    ]


@pytest.mark.parametrize("column", ["sop_instance_uid", "SOPInstanceUID"])
def test_images_can_go_by_sop_instance_uid(column: str, folder: Path, opened: Opened) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a").write_bytes(dicom_bytes(STORED, SOPInstanceUID="1.2.3"))
    (folder / "notes.txt").write_text("no DICOM")
    source = opened(folder, [{column: "1.2.3"}, {column: "1.2.4"}])
    listed = source.cases()
    assert [(e.code, e.line) for e in listed.exclusions] == [("E_FILE_NOT_FOUND", 3)]
    np.testing.assert_array_equal(source.read_image(listed.cases[0])[0], STORED)
    assert [path.name for path in source.files()] == ["notes.txt", "a"]


def test_rescale_gives_the_values_of_the_modality(folder: Path, opened: Opened) -> None:
    found = opened.image(folder, dicom_bytes(STORED, RescaleSlope="2", RescaleIntercept="-1024"))
    np.testing.assert_array_equal(found, STORED * 2.0 - 1024)


def test_monochrome1_is_inverted_within_its_stored_range(folder: Path, opened: Opened) -> None:
    inverse = {"PhotometricInterpretation": "MONOCHROME1"}
    np.testing.assert_array_equal(
        opened.image(folder, dicom_bytes(STORED, **inverse)), 255 - STORED
    )
    signed = np.array([[-128, 0], [1, 127]], dtype=np.int8)
    found = opened.image(folder, dicom_bytes(signed, **inverse))
    np.testing.assert_array_equal(found, [[127, -1], [-2, -128]])


def test_several_frames_are_refused(folder: Path, opened: Opened) -> None:
    content = dicom_bytes(np.vstack([STORED, STORED]), Rows=2, NumberOfFrames=2)
    with pytest.raises(UnusableCaseError, match="E_IMAGE_SHAPE"):
        opened.image(folder, content)


def test_a_mask_may_be_dicom_itself(folder: Path, opened: Opened) -> None:
    (folder / "a").write_bytes(dicom_bytes(STORED))
    mask = (STORED > 15).astype(np.uint8)
    (folder / "m").write_bytes(dicom_bytes(mask, RescaleSlope="5", RescaleIntercept="1"))
    source = opened(folder, [{"file": "a", "mask": "m"}], SEGMENT)
    np.testing.assert_array_equal(source.read_mask(source.cases().cases[0]), mask)


def test_no_text_of_the_dicom_library_gets_out(
    folder: Path,
    opened: Opened,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG, logger="pydicom")
    broken = dicom_bytes(STORED, BitsStored=99).replace(b"1.2.", b"1 2 ")
    broken = broken.replace(b"SECRETNAME^ANNA", b"SECRETNAME=^\\^=")
    caplog.clear()
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        with pytest.raises(UnusableCaseError) as raised:
            opened.image(folder, broken)
    captured = capfd.readouterr()
    assert raised.value.code == "E_TRANSFER_SYNTAX"
    assert not caught and not caplog.records
    assert captured.out == "" and captured.err == ""


def test_a_file_that_aborts_its_decoder_costs_itself(
    folder: Path, opened: Opened, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "a").write_bytes(ABORTING_JPEG)
    (folder / "b").write_bytes(dicom_bytes(STORED))
    rows = [{"file": "a", "patient": "p"}, {"file": "b", "patient": "q"}]
    source = opened(folder, rows)
    cases = source.cases().cases
    with pytest.raises(UnusableCaseError, match="E_DECODER_CRASHED"):
        source.read_image(cases[0])
    np.testing.assert_array_equal(source.read_image(cases[1])[0], STORED)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_mask_is_unreadable(folder: Path, opened: Opened) -> None:
    (folder / "a").write_bytes(dicom_bytes(STORED))
    (folder / "m").write_bytes(dicom_bytes(STORED)[:-1])
    source = opened(folder, [{"file": "a", "mask": "m"}], SEGMENT)
    with pytest.raises(UnusableCaseError, match="E_MASK_UNREADABLE"):
        source.read_mask(source.cases().cases[0])
