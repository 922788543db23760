import base64
import logging
import os
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from tests.client.cohorts.small_cohorts import CLASSIFY, SEGMENT, dicom_bytes, write_manifest

from fedward_client.cohorts import dicom_files, forked_decoding
from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.dicom_source import DicomSource
from fedward_client.cohorts.source import UnusableCaseError
from fedward_common.job.job_file import DataSection, TaskSection

STORED = np.array([[0, 10], [20, 255]], dtype=np.uint8)

# a baseline JPEG, damaged so that GDCM ends the whole process with SIGABRT
ABORTS = zlib.decompress(
    base64.b64decode(
        "eNpjYBhY4OLp7MvEwMQQ6inFYKhnpGdhYqBnaGBgYKFnqmeoZwLEhnrmQHlmoAo2sApjIE8AyBNDUw/imeiZGnAw"
        "iBEwjYNBAsk0ASAM8ONhCE7OyM1MKYlzzMtLFGBQYPDxF0ARi/N0UdAAuTSYiYGRQYOBhcE5mIfB19/P39kjyN/X"
        "1QgoKwCWFQDKCsJZDIwgFgeQxQhnMYFZ7EAWM5jFAGQFCbgAWQZAU4LBLEOFB/UCDP5ODAz/geDff4YHLNAwA7Ez"
        "GIHiN/4/YBDwcvN0AxoNtIcBJHabwZmBg42NnY2VY2HpMnZ2dk5ODi4eEV4ebm4eSSFhfhFZKXk5WSkZGQUVPXUF"
        "JR1lGRkNc00dA0MTExN5dUtbCyMbPWMTo/8HGLg5QGHDyCjI8P8IgzzQfFZGMIBFHSMTMwsrGzsHJxc3UMFWAaCv"
        "mJmZWJhZWVmALmWsBcozsAiyCikaOrIJByayKxWKGDVOXMih7LTxoGjQxQ8qxklFTZxcYuISklKqauoamlompmbm"
        "FpZWzi6ubu4enl7BIaFh4RGRUckpqWnpGZlZxSWlZeUVlVXNLa1t7R2dXZMmT5k6bfqMmbMWLV6ydNnyFStXbdq8"
        "Zeu27Tt27jp0+MjRY8dPnDx16fKVq9eu37h56+Gjx0+ePnv+4uWrj58+f/n67fuPn7/+32LgAPnHnuHzkg/lf43/"
        "ah2qsP4389/U95oP3v9K/xXaAhbV/n/z3/+7D0B+BgAF1rwZ"
    )
)


def source_of(
    folder: Path, rows: list[dict[str, str]], task: TaskSection = CLASSIFY
) -> DicomSource:
    manifest = write_manifest(folder.parent / "m.csv", [{"label": "0", **row} for row in rows])
    settings = SourceSettings(source="dicom-folder", path=str(folder), manifest=str(manifest))
    return DicomSource(settings, task, DataSection(modality="CT", image_size=(2, 2)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dicom"
    made.mkdir()
    return made


def image_of(folder: Path, content: bytes) -> np.ndarray:
    (folder / "a").write_bytes(content)
    source = source_of(folder, [{"file": "a", "patient": "p"}])
    return np.asarray(source.read_image(source.cases().cases[0])[0])


def test_the_patient_comes_from_the_header_where_the_manifest_has_none(folder: Path) -> None:
    (folder / "a").write_bytes(dicom_bytes(STORED))
    (folder / "b").write_bytes(dicom_bytes(STORED, PatientID=""))
    (folder / "c").write_bytes(b"no DICOM at all")
    listed = source_of(folder, [{"file": "a"}, {"file": "b"}, {"file": "c"}]).cases()
    assert [c.patient for c in listed.cases] == ["SECRET-ID-1"]
    assert [(e.code, e.line) for e in listed.exclusions] == [
        ("E_PATIENT_MISSING", 3),
        ("E_IMAGE_UNREADABLE", 4),
    ]


@pytest.mark.parametrize("column", ["sop_instance_uid", "SOPInstanceUID"])
def test_images_can_go_by_sop_instance_uid(column: str, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a").write_bytes(dicom_bytes(STORED, SOPInstanceUID="1.2.3"))
    (folder / "notes.txt").write_text("no DICOM")
    source = source_of(folder, [{column: "1.2.3"}, {column: "1.2.4"}])
    listed = source.cases()
    assert [(e.code, e.line) for e in listed.exclusions] == [("E_FILE_NOT_FOUND", 3)]
    np.testing.assert_array_equal(source.read_image(listed.cases[0])[0], STORED)
    assert [path.name for path in source.files()] == ["notes.txt", "a"]


def test_rescale_gives_the_values_of_the_modality(folder: Path) -> None:
    found = image_of(folder, dicom_bytes(STORED, RescaleSlope="2", RescaleIntercept="-1024"))
    np.testing.assert_array_equal(found, STORED * 2.0 - 1024)


def test_monochrome1_is_inverted_within_its_stored_range(folder: Path) -> None:
    inverse = {"PhotometricInterpretation": "MONOCHROME1"}
    np.testing.assert_array_equal(image_of(folder, dicom_bytes(STORED, **inverse)), 255 - STORED)
    signed = np.array([[-128, 0], [1, 127]], dtype=np.int8)
    found = image_of(folder, dicom_bytes(signed, **inverse))
    np.testing.assert_array_equal(found, [[127, -1], [-2, -128]])


def test_several_frames_are_refused(folder: Path) -> None:
    content = dicom_bytes(np.vstack([STORED, STORED]), Rows=2, NumberOfFrames=2)
    with pytest.raises(UnusableCaseError, match="E_IMAGE_SHAPE"):
        image_of(folder, content)


def test_a_mask_may_be_dicom_itself(folder: Path) -> None:
    (folder / "a").write_bytes(dicom_bytes(STORED))
    mask = (STORED > 15).astype(np.uint8)
    (folder / "m").write_bytes(dicom_bytes(mask, RescaleSlope="5", RescaleIntercept="1"))
    source = source_of(folder, [{"file": "a", "mask": "m"}], SEGMENT)
    np.testing.assert_array_equal(source.read_mask(source.cases().cases[0]), mask)


def test_a_file_too_large_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_files, "_MAX_FILE_BYTES", 200)
    with pytest.raises(UnusableCaseError, match="E_IMAGE_TOO_LARGE"):
        image_of(folder, dicom_bytes(STORED) + b"\0" * 200)


def test_a_deflated_bomb_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = folder.parent / "plain"
    plain.write_bytes(dicom_bytes(STORED))
    dataset = dcmread(plain)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.save_as(plain, enforce_file_format=True)
    content = plain.read_bytes()
    np.testing.assert_array_equal(image_of(folder, content), STORED)

    monkeypatch.setattr(dicom_files, "_MAX_INFLATED_BYTES", 2**20)
    begin = 144 + int(dcmread(plain).file_meta.FileMetaInformationGroupLength)
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(bytes(2**22)) + packer.flush()
    with pytest.raises(UnusableCaseError, match="E_IMAGE_TOO_LARGE"):
        image_of(folder, content[:begin] + bomb)


def test_no_text_of_the_dicom_library_gets_out(
    folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("pydicom").setLevel(logging.DEBUG)
    broken = dicom_bytes(STORED, BitsStored=99).replace(b"1.2.", b"1 2 ")
    broken = broken.replace(b"SECRETNAME^ANNA", b"SECRETNAME=^\\^=A")
    caplog.clear()
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        with pytest.raises(UnusableCaseError) as raised:
            image_of(folder, broken)
    captured = capfd.readouterr()
    assert raised.value.code == "E_IMAGE_UNREADABLE"
    assert not caught and not caplog.records
    assert captured.out == "" and captured.err == ""


def test_a_file_that_aborts_its_decoder_is_unreadable(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnusableCaseError, match="E_IMAGE_UNREADABLE"):
        image_of(folder, ABORTS)
    assert capfd.readouterr() == ("", "")


def test_a_compressed_image_comes_back_from_the_child_unchanged(folder: Path) -> None:
    plain = folder.parent / "plain"
    deep = np.arange(100, dtype=np.uint16).reshape(10, 10) * 600
    plain.write_bytes(dicom_bytes(deep))
    dataset = dcmread(plain)
    dataset.compress("1.2.840.10008.1.2.5")
    dataset.save_as(plain, enforce_file_format=True)
    np.testing.assert_array_equal(image_of(folder, plain.read_bytes()), deep)


def killed() -> np.ndarray:
    os.abort()


def late() -> np.ndarray:
    time.sleep(30)  # ended by the parent
    return STORED


@pytest.mark.parametrize(
    "decode",
    [killed, late, lambda: 1 // 0, lambda: np.array([None]), lambda: np.zeros(11), lambda: "text"],
)
def test_a_child_that_gives_no_array_in_time_is_an_error_and_is_gone(
    decode: Callable[[], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked_decoding, "_TIME_LIMIT_SECONDS", 0.5)
    before = time.monotonic()
    with pytest.raises(ValueError):
        forked_decoding.decoded_in_child(decode, max_values=10)
    assert time.monotonic() - before < 10
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_limit_of_deflated_files_believes_no_group_length(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = folder.parent / "plain"
    plain.write_bytes(dicom_bytes(STORED))
    dataset = dcmread(plain)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.SeriesDescription = "x"
    dataset.PixelData = bytes(2**22)
    dataset.save_as(plain, enforce_file_format=True)
    content = bytearray(plain.read_bytes())
    content[140:144] = len(content).to_bytes(4, "little")  # FileMetaInformationGroupLength
    monkeypatch.setattr(dicom_files, "_MAX_INFLATED_BYTES", 2**20)
    with pytest.raises(UnusableCaseError, match="E_IMAGE_TOO_LARGE"):
        image_of(folder, bytes(content))
