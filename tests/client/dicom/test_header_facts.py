import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import MediaStorageDirectoryStorage

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.bounded_reading import scan_header, silenced_dicom
from fedward_client.dicom.header_facts import WANTED_KEYWORDS, facts_of
from fedward_client.dicom.instance_facts import InstanceFacts

KEY = bytes(range(32))


def header(**elements: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = (
        "1.1",
        "1.2",
        "1.3",
    )
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def raw(keyword: str, vr: str | None, value: bytes, *, little_endian: bool = True) -> Dataset:
    """A header with one element as a file has it, of any kind."""
    tag = Tag(keyword)
    dataset = header()
    dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, vr is None, little_endian)
    return dataset


def facts(dataset: Dataset) -> InstanceFacts:
    return facts_of(dataset, "a/b", 7, 8, KEY)


def items(*datasets: Dataset) -> list[Dataset]:
    return list(datasets)


def item(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def test_an_ordinary_header_is_read() -> None:
    dataset = header(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2", AccessionNumber=" A1 ", PatientID="P 1",
        PatientName="DOE^JANE", PatientBirthDate="19600102", PatientSex="F", StudyDate="20200101",
        Modality="CT", Manufacturer="ACME", ManufacturerModelName="X", BurnedInAnnotation="NO",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], PhotometricInterpretation="MONOCHROME2",
        Rows=512, Columns=256, SamplesPerPixel=1, BitsAllocated=16, InstanceNumber="5",
        FrameOfReferenceUID="1.9", ImagePositionPatient=[1, 2, -3.5],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[0.5, 0.25],
        ImagerPixelSpacing=[9, 9], SliceThickness="2.5", SpacingBetweenSlices="-3",
        EchoNumbers="2", DiffusionBValue=800.0,
    )  # fmt: skip
    found = facts(dataset)
    assert dataclasses.replace(found, person_key="") == InstanceFacts(
        locator="a/b", size_bytes=7, modified_ns=8, sop_instance_uid="1.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2", series_instance_uid="1.2",
        study_instance_uid="1.3", accession_number="A1", patient_id="P 1", person_key="",
        patient_sex="F", patient_age_years=59, modality="CT", manufacturer="ACME",
        manufacturer_model_name="X", image_type="ORIGINAL\\PRIMARY\\AXIAL",
        burned_in_annotation="NO", transfer_syntax_uid="",
        photometric_interpretation="MONOCHROME2", rows=512, columns=256, number_of_frames=1,
        samples_per_pixel=1, has_pixels=True, instance_number=5, frame_of_reference_uid="1.9",
        image_position_mm=(1.0, 2.0, -3.5), image_orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        pixel_spacing_mm=(0.5, 0.25), slice_thickness_mm=2.5, spacing_between_slices_mm=3.0,
        phase="echo=2;b=800", referenced_series="",
    )  # fmt: skip
    assert len(found.person_key) == 32


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "1.2\\1.3", "not a uid", "1" * 129])
def test_a_header_without_its_identifiers_is_incomplete(keyword: str, value: str | None) -> None:
    dataset = header()
    del dataset[keyword]
    if value is not None:
        tag = Tag(keyword)
        dataset[tag] = RawDataElement(tag, "UI", len(value), value.encode(), 0, False, True)
    with pytest.raises(UnusableCaseError) as caught:
        facts(dataset)
    assert caught.value.code == "E_HEADER_INCOMPLETE"


def test_a_dicomdir_is_no_instance() -> None:
    dataset = header()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    with pytest.raises(UnusableCaseError) as caught:
        facts(dataset)
    assert caught.value.code == "E_NOT_DICOM"


@pytest.mark.parametrize(
    ("age", "birth", "study", "years"),
    [
        ("034Y", "", "", 34),
        ("34Y", "", "", 34),
        ("018M", "", "", 1),
        ("012M", "", "", 1),
        ("011M", "", "", 0),
        ("051W", "", "", 0),
        ("365D", "", "", 0),
        ("999Y", "", "", None),
        ("034X", "19600102", "20200102", 60),
        ("", "19600102", "20200101", 59),
        ("", "1960.01.02", "2020-01-02", 60),
        ("", "20200102", "19600102", None),
        ("", "19600132", "20200102", None),
        ("", "19600102", "", None),
        ("", "00000000", "20200102", None),
        ("-4Y", "", "", None),
    ],
)
def test_ages(age: str, birth: str, study: str, years: int | None) -> None:
    dataset = header()
    for keyword, value in (("PatientAge", age), ("PatientBirthDate", birth), ("StudyDate", study)):
        tag = Tag(keyword)
        dataset[tag] = RawDataElement(tag, "LO", len(value), value.encode(), 0, False, True)
    assert facts(dataset).patient_age_years == years


@pytest.mark.parametrize(
    ("field", "keyword", "vr", "value", "expected"),
    [
        ("rows", "Rows", "US", b"\x00\x02", 512),
        ("rows", "Rows", None, b"\x00\x02", 512),
        ("rows", "Rows", "SL", b"\xff\xff\xff\xff", 0),
        ("rows", "Rows", "LO", b"not a number", 0),
        ("rows", "Rows", "US", b"\x00\x02\x00\x02", 0),
        ("rows", "Rows", "US", b"", 0),
        ("columns", "Columns", "OB", b"\x00\x02", 0),
        ("number_of_frames", "NumberOfFrames", "IS", b"2147483647", 0),
        ("number_of_frames", "NumberOfFrames", "IS", b"-1", 0),
        ("number_of_frames", "NumberOfFrames", "IS", b" 12 ", 12),
        ("number_of_frames", "NumberOfFrames", "IS", b"", 1),
        ("number_of_frames", "NumberOfFrames", "IS", b"9" * 4000, 0),
        ("instance_number", "InstanceNumber", "IS", b"99999999999", None),
        ("instance_number", "InstanceNumber", "IS", b"1.5", None),
        ("slice_thickness_mm", "SliceThickness", "DS", b"NaN", None),
        ("slice_thickness_mm", "SliceThickness", "DS", b"inf", None),
        ("slice_thickness_mm", "SliceThickness", "DS", b"0", None),
        ("slice_thickness_mm", "SliceThickness", "DS", b"1e99", None),
        ("slice_thickness_mm", "SliceThickness", "DS", b"5\\6", None),
        ("pixel_spacing_mm", "PixelSpacing", "DS", b"0.5\\0.5\\0.5", None),
        ("pixel_spacing_mm", "PixelSpacing", "DS", b"0\\0", None),
        ("pixel_spacing_mm", "PixelSpacing", "DS", b"0.5 \\0.25\x00", (0.5, 0.25)),
        ("pixel_spacing_mm", "ImagerPixelSpacing", "DS", b"1\\2", (1.0, 2.0)),
        ("image_position_mm", "ImagePositionPatient", "DS", b"1\\nan\\2", None),
        ("image_position_mm", "ImagePositionPatient", "LT", b"1\\2\\3", None),
        ("image_orientation", "ImageOrientationPatient", "DS", b"7\\0\\0\\0\\1\\0", None),
        ("patient_id", "PatientID", "LO", b"A\\B", "A\\B"),
        ("patient_id", "PatientID", "LO", b"A\nB\x1b\x07 ", "AB"),
        ("patient_id", "PatientID", "LO", b"A" * 257, ""),
        ("patient_id", "PatientID", "OB", b"AB", ""),
        ("patient_id", "PatientID", "LO", b"\xff\xfe", "\xff\xfe"),
        ("modality", "Modality", "CS", b"ct", "CT"),
        ("manufacturer", "Manufacturer", "LO", b"x" * 129, ""),
        ("patient_sex", "PatientSex", "CS", b"female", ""),
        ("phase", "TriggerTime", "DS", b"nan", ""),
        ("phase", "EchoNumbers", "IS", b"1\\2", "echo=1,2"),
        ("frame_of_reference_uid", "FrameOfReferenceUID", "UI", b"1.2.3\x00", "1.2.3"),
        ("samples_per_pixel", "SamplesPerPixel", "US", b"\xff\xff", 0),
    ],
)  # fmt: skip
def test_odd_values_are_bounded(
    field: str, keyword: str, vr: str | None, value: bytes, expected: Any
) -> None:
    assert getattr(facts(raw(keyword, vr, value)), field) == expected


def test_big_endian_numbers_are_read() -> None:
    assert facts(raw("Rows", "US", b"\x02\x00", little_endian=False)).rows == 512


def test_geometry_that_all_frames_share_is_read() -> None:
    shared = item(
        PixelMeasuresSequence=items(
            item(PixelSpacing=[0.5, 0.5], SliceThickness="2", SpacingBetweenSlices="2.5")
        ),
        PlaneOrientationSequence=items(item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])),
        PlanePositionSequence=items(item(ImagePositionPatient=[1, 2, 3])),
    )
    found = facts(header(SharedFunctionalGroupsSequence=items(shared), NumberOfFrames=4))
    assert found.pixel_spacing_mm == (0.5, 0.5) and found.number_of_frames == 4
    assert (found.slice_thickness_mm, found.spacing_between_slices_mm) == (2.0, 2.5)
    assert found.image_orientation == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert found.image_position_mm == (1.0, 2.0, 3.0)


def test_series_that_masks_refer_to_are_read() -> None:
    seg = header(ReferencedSeriesSequence=items(item(SeriesInstanceUID="1.5")))
    assert facts(seg).referenced_series == "1.5"
    series = items(item(SeriesInstanceUID="1.6"), item(SeriesInstanceUID="1.7"))
    study = items(item(RTReferencedSeriesSequence=series), item(RTReferencedSeriesSequence=series))
    frame = items(item(RTReferencedStudySequence=study))
    assert facts(header(ReferencedFrameOfReferenceSequence=frame)).referenced_series == "1.6\\1.7"
    assert facts(header(ReferencedSeriesSequence=items(item()))).referenced_series == ""


def test_pixels_are_where_the_reader_says_and_else_where_they_are_described() -> None:
    described = header(Rows=4, Columns=4, BitsAllocated=8)
    assert facts(described).has_pixels
    assert not facts_of(described, "", 0, 0, KEY, has_pixels=False).has_pixels
    assert not facts(header(Rows=4, Columns=4)).has_pixels
    assert facts_of(header(), "", 0, 0, KEY, has_pixels=True).has_pixels


values = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"nan", b"-inf", b"1e400", b"\\\\\\", b"1_0", b"\x1b$B", b"0" * 5000, b"^=^"]),
    st.lists(st.floats().map(lambda f: str(f).encode()), max_size=7).map(b"\\".join),
)
vrs = st.sampled_from(
    [None, "AS", "CS", "DA", "DS", "FD", "IS", "LO", "LT", "OB", "PN", "SH", "SQ", "UI", "UN", "US"]
)


@given(
    elements=st.lists(st.tuples(st.sampled_from(WANTED_KEYWORDS), vrs, values), max_size=12),
    little_endian=st.booleans(),
)
def test_whatever_a_header_holds_facts_are_bounded_or_it_is_refused_by_code(
    elements: list[tuple[str, str | None, bytes]], little_endian: bool
) -> None:
    dataset = header()
    for keyword, vr, value in elements:
        tag = Tag(keyword)
        dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, vr is None, little_endian)
    try:
        found = facts(dataset)
    except UnusableCaseError as error:
        assert error.code == "E_HEADER_INCOMPLETE"
        assert error.__suppress_context__ or error.__context__ is None
        return
    for name, value in dataclasses.asdict(found).items():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str):
                assert one.isprintable() and len(one) <= 1024, name
            elif isinstance(one, float):
                assert math.isfinite(one) and abs(one) <= 1e5, name
            else:
                assert one is None or abs(one) < 2**31, name


def test_texts_of_pydicom_stay_inside(
    recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    for keyword in WANTED_KEYWORDS:
        facts_or_code(raw(keyword, "DS", b"SECRETNAME^ANNA"))
        facts_or_code(raw(keyword, "IS", b"SECRETNAME^ANNA"))
        facts_or_code(raw(keyword, "UI", b"SECRETNAME^ANNA"))
    assert not recwarn.list
    assert "SECRET" not in caplog.text


def facts_or_code(dataset: Dataset) -> None:
    try:
        assert "SECRET" not in repr(facts(dataset)).replace("manufacturer", "").split("modality")[0]
    except UnusableCaseError as error:
        assert "SECRET" not in str(error)


@pytest.mark.real_data
def test_values_taken_from_their_bytes_are_what_pydicom_converts(data_root: Path) -> None:
    compared = 0
    for path in sorted((data_root / "dicom-zoo").iterdir()):
        try:
            dataset = scan_header(path).dataset
            quick = facts(dataset)
        except UnusableCaseError:
            continue
        with silenced_dicom():
            for keyword in WANTED_KEYWORDS:  # access converts an element for good
                dataset.get(tag_for_keyword(keyword))
        assert facts(dataset) == quick, path.name
        compared += 1
    assert compared > 60
