import io
import logging
import os
import warnings
import zlib
from pathlib import Path
from struct import pack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from tests.client.cohorts.small_cohorts import dicom_bytes
from tests.client.dicom.made_files import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_LS,
    element,
    gradient,
    nested_sequences,
    preamble_and_meta,
    recoded,
)

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom import bounded_reading, element_walk, file_structure
from fedward_client.dicom.bounded_reading import (
    read_header,
    read_instance,
    scan_header,
    silenced_dicom,
)

IMAGE = dicom_bytes(gradient(), SeriesDescription="x")


NESTED = (
    preamble_and_meta()
    + element(0x0010, 0x0020, b"LO", b"ID")
    + nested_sequences(3, undefined=True)
    + nested_sequences(3, undefined=False)
    + element(0x7FE0, 0x0010, b"OW", bytes(8))
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.dcm"


def code_of_header(path: Path) -> str:
    try:
        read_header(path)
    except UnusableCaseError as problem:
        return problem.code
    return "ok"


def code_of_instance(path: Path) -> str:
    try:
        read_instance(path)
    except UnusableCaseError as problem:
        return problem.code
    return "ok"


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED, JPEG_LS])
def test_a_header_comes_without_pixels_and_says_that_they_are_there(
    syntax: str, path: Path
) -> None:
    path.write_bytes(recoded(IMAGE, syntax))
    header = scan_header(path)
    assert header.dataset.PatientID == "SECRET-ID-1"
    assert "PixelData" not in header.dataset
    assert header.has_pixels
    assert header.size_bytes == path.stat().st_size
    assert header.modified_ns == path.stat().st_mtime_ns
    assert "PixelData" in read_instance(path)


def test_only_the_elements_that_were_asked_for_come(path: Path) -> None:
    path.write_bytes(IMAGE)
    header = read_header(path, ["Rows", "PatientID"])
    assert {one.keyword for one in header} == {"Rows", "PatientID"}
    with pytest.raises(ValueError):
        read_header(path, ["NoSuchKeyword"])


def test_a_file_that_lacks_only_the_preamble_is_read(path: Path) -> None:
    path.write_bytes(IMAGE[132:])
    assert read_header(path).PatientID == "SECRET-ID-1"
    without_meta = IMAGE[132 + 12 + int.from_bytes(IMAGE[140:144], "little") :]
    path.write_bytes(without_meta)
    assert read_header(path).PatientID == "SECRET-ID-1"
    path.write_bytes(b"x" + without_meta)
    assert code_of_header(path) == "E_NOT_DICOM"


@pytest.mark.parametrize("content", [b"", b"no DICOM", b"\0" * 2000, b"%PDF-1.4" * 99])
def test_other_files_are_no_dicom(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert code_of_header(path) == code_of_instance(path) == "E_NOT_DICOM"


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "to-pipe").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "to-pipe", "loop", "."):
        assert code_of_header(tmp_path / name) == "E_NOT_A_FILE"
        assert code_of_instance(tmp_path / name) == "E_NOT_A_FILE"
    assert code_of_header(Path("/dev/zero")) == "E_NOT_A_FILE"
    assert code_of_header(tmp_path / "nowhere") == "E_FILE_NOT_FOUND"
    assert code_of_header(Path("\0")) == "E_FILE_UNREADABLE"


def test_a_pipe_put_in_the_place_of_a_file_is_refused_without_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(IMAGE)
    really_open = os.open

    def exchanged(place: Path, flags: int) -> int:
        place.unlink()
        os.mkfifo(place)
        return really_open(place, flags)

    monkeypatch.setattr(os, "open", exchanged)
    assert code_of_header(path) == "E_NOT_A_FILE"


def test_a_file_that_grows_while_it_is_read_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(IMAGE)
    really_read = os.pread

    def growing(descriptor: int, count: int, offset: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"more")
        return really_read(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", growing)
    assert code_of_header(path) == "E_FILE_CHANGED"
    assert code_of_instance(path) == "E_FILE_CHANGED"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, JPEG_LS])
def test_a_file_cut_anywhere_is_read_or_refused_by_code(syntax: str, path: Path) -> None:
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    small = dicom_bytes(gradient("uint8", 8), ReferencedImageSequence=[inner])
    content = recoded(small, syntax)
    path.write_bytes(content)
    pixels = read_instance(path).PixelData
    for length in range(len(content)):
        path.write_bytes(content[:length])
        code_of_header(path)
        try:
            dataset = read_instance(path)
        except UnusableCaseError:
            continue
        assert dataset.get("PixelData") in (None, pixels)  # padding may be cut


@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6))
def test_a_file_with_any_bytes_changed_is_read_or_refused_by_code(
    changes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(NESTED)
    for place, value in changes:
        content[132 + place % (len(content) - 132)] = value
    path = tmp_path_factory.getbasetemp() / "changed.dcm"
    path.write_bytes(content)
    assert code_of_header(path) == "ok" or code_of_header(path).startswith("E_")
    assert code_of_instance(path) == "ok" or code_of_instance(path).startswith("E_")


def test_a_header_may_end_where_an_element_does_and_nowhere_else(path: Path) -> None:
    begin = preamble_and_meta()
    content = (
        begin + element(0x0010, 0x0020, b"LO", b"ID") + element(0x0028, 0x0010, b"US", b"\1\0")
    )
    codes = []
    for length in range(len(begin), len(content) + 1):
        path.write_bytes(content[:length])
        codes.append(code_of_header(path))
    whole = [0, 10, 20]
    assert codes == ["ok" if number in whole else "E_HEADER_UNREADABLE" for number in range(21)]


def test_zeros_behind_the_last_element_are_padding(path: Path) -> None:
    path.write_bytes(preamble_and_meta() + element(0x0010, 0x0020, b"LO", b"ID") + bytes(5))
    assert read_header(path).PatientID == "ID"


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("vr", [b"SQ", b"UN"])
def test_sequences_may_be_nested_64_deep_and_no_deeper(
    undefined: bool, vr: bytes, path: Path
) -> None:
    for depth, expected in [(64, "ok"), (65, "E_HEADER_TOO_DEEP"), (1000, "E_HEADER_TOO_DEEP")]:
        path.write_bytes(preamble_and_meta() + nested_sequences(depth, undefined=undefined, vr=vr))
        assert code_of_header(path) == expected
        assert code_of_instance(path) == expected


def test_depth_behind_the_pixels_is_never_looked_at(path: Path) -> None:
    path.write_bytes(IMAGE + nested_sequences(1000, undefined=True))
    assert code_of_header(path) == code_of_instance(path) == "ok"
    assert list(read_instance(path))[-1].keyword == "PixelData"


@pytest.mark.parametrize("length", [2**31, 2**32 - 2, 70_000_000])
def test_a_declared_length_beyond_the_limit_is_refused(length: int, path: Path) -> None:
    path.write_bytes(preamble_and_meta() + element(0x0008, 0x0119, b"UT", b"x", length))
    assert code_of_header(path) == code_of_instance(path) == "E_HEADER_TOO_LARGE"


def test_pixels_of_2_gib_that_are_not_there_cost_the_image_and_not_the_header(path: Path) -> None:
    path.write_bytes(preamble_and_meta() + element(0x7FE0, 0x0010, b"OW", b"xx", 2**31))
    assert code_of_header(path) == "ok"
    assert code_of_instance(path) == "E_IMAGE_UNREADABLE"


def test_a_header_of_100_mb_is_refused_without_reading_it(path: Path) -> None:
    begin = preamble_and_meta()
    with path.open("wb") as file:
        file.write(begin + element(0x0009, 0x1001, b"OB", b"", 100_000_000))
        file.truncate(len(begin) + 12 + 100_000_000)
    assert code_of_header(path) == code_of_instance(path) == "E_HEADER_TOO_LARGE"
    many = element(0x0009, 0x1001, b"OB", bytes(1_000_000))
    path.write_bytes(begin + many * 100)
    assert code_of_header(path) == "E_HEADER_TOO_LARGE"


def test_too_many_elements_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(element_walk, "MAX_ELEMENTS", 1000)
    path.write_bytes(preamble_and_meta() + element(0x0009, 0x1001, b"LO", b"") * 1001)
    assert code_of_header(path) == "E_HEADER_TOO_LARGE"


def test_damage_inside_a_sequence_of_known_length_stays_inside(path: Path) -> None:
    broken = element(0x0040, 0xA730, b"SQ", pack("<HHL", 0xFFFE, 0xE000, 999) + b"abc")
    path.write_bytes(preamble_and_meta() + broken + element(0x0028, 0x0010, b"US", b"\1\0"))
    assert read_header(path, ["Rows"]).Rows == 1


def test_a_private_sequence_without_a_vr_is_read(path: Path) -> None:
    inner = element(0x0009, 0x1002, b"LO", b"ab")
    value = pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    path.write_bytes(preamble_and_meta() + element(0x0009, 0x1001, b"UN", value))
    assert code_of_header(path) == "ok"


def test_a_file_beyond_the_limit_costs_the_image_and_not_the_header(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(IMAGE)
    monkeypatch.setattr(bounded_reading, "MAX_FILE_BYTES", 200)
    assert code_of_header(path) == "ok"
    assert code_of_instance(path) == "E_IMAGE_TOO_LARGE"


def test_a_deflated_file_that_grows_to_400_mb_is_refused(path: Path) -> None:
    packer = zlib.compressobj(9, wbits=-15)
    parts = [packer.compress(element(0x7FE0, 0x0010, b"OW", b"", 400_000_000))]
    parts += [packer.compress(bytes(1_000_000)) for _ in range(400)]
    bomb = preamble_and_meta(DEFLATED) + b"".join(parts) + packer.flush()
    assert len(bomb) < 500_000
    path.write_bytes(bomb)
    assert code_of_header(path) == code_of_instance(path) == "E_INFLATED_TOO_LARGE"


def test_the_limit_of_deflated_files_believes_no_group_length(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = dcmread(io.BytesIO(IMAGE))
    dataset.PixelData = bytes(2**22)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    content = bytearray(recoded(buffer.getvalue(), DEFLATED))
    content[140:144] = len(content).to_bytes(4, "little")  # FileMetaInformationGroupLength
    path.write_bytes(content)
    monkeypatch.setattr(file_structure, "MAX_INFLATED_BYTES", 2**20)
    assert code_of_header(path) == "E_INFLATED_TOO_LARGE"


@pytest.mark.parametrize(
    "charset", ["ISO_IR 192", "ISO 2022 IR 149", "NO SUCH SET", "\\ISO 2022 IR 13", "x" * 60, "\0"]
)
def test_odd_character_sets_stop_nothing(charset: str, path: Path) -> None:
    text = charset.encode() + b" " * (len(charset) % 2)
    path.write_bytes(
        preamble_and_meta()
        + element(0x0008, 0x0005, b"CS", text)
        + element(0x0010, 0x0010, b"PN", b"\x1b$)C\xfb\xf3^\xff\xfe=\x80")
    )
    assert code_of_header(path) in ("ok", "E_HEADER_UNREADABLE")


def test_a_dicomdir_is_read_as_a_file_and_followed_nowhere(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = element(0x0004, 0x1500, b"CS", b"..\\..\\etc\\passwd")
    item = pack("<HHL", 0xFFFE, 0xE000, len(record)) + record
    sop_class = element(0x0002, 0x0002, b"UI", b"1.2.840.10008.1.3.10")
    path.write_bytes(preamble_and_meta() + sop_class + element(0x0004, 0x1220, b"SQ", item))
    opened: list[object] = []
    really_open = os.open

    def noted(place: object, flags: int) -> int:
        opened.append(place)
        return really_open(place, flags)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", noted)
    assert type(read_header(path)).__name__ == "FileDataset"
    assert opened == [path]


def test_no_text_of_the_library_gets_out_of_a_damaged_header(
    path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path.write_bytes(
        preamble_and_meta()
        + element(0x0008, 0x0005, b"CS", b"SECRETSET ")
        + element(0x0010, 0x0010, b"PN", b"SECRET=^=^==\xff")
        + element(0x0040, 0xA730, b"SQ", b"SECRETSECRET")
        + element(0x0008, 0x0016, b"UI", b"SECRET.")
    )
    logging.getLogger("pydicom").setLevel(logging.DEBUG)
    caplog.clear()
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        header = read_header(path)
        with silenced_dicom():
            for tag in header.keys():  # noqa: SIM118
                try:
                    header[tag]
                except Exception:  # noqa: S112
                    continue
    assert not caught and not caplog.records
    assert capfd.readouterr() == ("", "")


def test_errors_carry_neither_text_nor_cause(path: Path) -> None:
    path.write_bytes(IMAGE[:300])
    with pytest.raises(UnusableCaseError) as raised:
        read_header(path)
    assert str(raised.value) == "a case cannot be used: E_HEADER_UNREADABLE"
    assert raised.value.__suppress_context__ and raised.value.__cause__ is None


def test_the_walk_and_pydicom_agree_on_what_a_header_holds(path: Path) -> None:
    dataset = dcmread(io.BytesIO(IMAGE))
    inner = dcmread(io.BytesIO(dicom_bytes(gradient("uint8", 4))))
    dataset.ReferencedImageSequence = [inner, inner]
    for undefined in (True, False):
        dataset["ReferencedImageSequence"].is_undefined_length = undefined
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        path.write_bytes(buffer.getvalue())
        header = read_header(path)
        assert [one.Rows for one in header.ReferencedImageSequence] == [4, 4]
        np.testing.assert_array_equal(read_instance(path).pixel_array, gradient())
