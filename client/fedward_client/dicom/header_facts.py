"""One header to `InstanceFacts`: every value checked and bounded, nothing let out in an error.

A value that is absent, absurd, of the wrong kind or too long becomes "", None or 0; only the three
identifiers that place an instance in a series and a study are required.
"""

import re
from datetime import date
from typing import Any

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.bounded_reading import silenced_dicom
from fedward_client.dicom.header_values import (
    code_of,
    date_of,
    finite,
    integer_of,
    is_filled,
    items_along,
    meta_uid_of,
    numbers_of,
    text_of,
    uid_of,
    value_of,
    vector,
)
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicom.person_names import person_key

WANTED_KEYWORDS: tuple[str, ...] = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "SliceThickness",
    "EchoTime",
    "EchoNumbers",
    "SpacingBetweenSlices",
    "TriggerTime",
    "ImagerPixelSpacing",
    "DiffusionBValue",
    "ReferencedSeriesSequence",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BurnedInAnnotation",
    "ReferencedFrameOfReferenceSequence",
    "SharedFunctionalGroupsSequence",
)

_AGE = re.compile(r"(\d{1,3})([DWMY])", re.ASCII)
_DAYS_OF_UNIT = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}
_MAX_AGE_YEARS = 130
_MAX_ID_CHARACTERS = 256
_MAX_NAME_CHARACTERS = 1024
_MAX_SIDE = 65535
_MAX_FRAMES = 1_000_000
_MAX_MM = 100_000.0
_INT32 = 2**31 - 1
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_SHARED = "SharedFunctionalGroupsSequence"
# What can tell images at one place apart, by the word that `InstanceFacts.phase` has for it
_PHASE_KEYWORDS = {
    "temporal": "TemporalPositionIdentifier",
    "echo": "EchoNumbers",
    "echo_time": "EchoTime",
    "trigger": "TriggerTime",
    "cardiac": "NominalPercentageOfCardiacPhase",
    "b": "DiffusionBValue",
    "acquisition": "AcquisitionNumber",
}


def facts_of(
    dataset: Any,
    locator: str,
    size_bytes: int,
    modified_ns: int,
    pseudonym_key: bytes,
    *,
    has_pixels: bool | None = None,
) -> InstanceFacts:
    """Take from a header what checks need.

    Args:
        dataset: A pydicom Dataset with `WANTED_KEYWORDS`, as far as its file has them.
        locator: Where it lies, as `InstanceFacts.locator`.
        size_bytes: Of the file; 0 where only a server knows it.
        modified_ns: Of the file; of a server's instance a number that changes with its header.
        pseudonym_key: Of the site, for `person_key`.
        has_pixels: Where the reader knows; else the elements that describe pixels tell.

    Raises:
        UnusableCaseError: `E_HEADER_INCOMPLETE` without SOP, series or study instance UID;
            `E_NOT_DICOM` for a DICOMDIR, which describes a medium and no patient.
    """
    with silenced_dicom():  # pydicom converts, and so warns, on access
        if meta_uid_of(dataset, "MediaStorageSOPClassUID") == _MEDIA_DIRECTORY:
            raise UnusableCaseError("E_NOT_DICOM")
        return InstanceFacts(
            locator=locator,
            size_bytes=size_bytes,
            modified_ns=modified_ns,
            **_identifiers(dataset),
            **_patient(dataset, pseudonym_key),
            **_equipment_and_kind(dataset),
            **_image(dataset),
            has_pixels=_describes_pixels(dataset) if has_pixels is None else has_pixels,
            **_geometry(dataset),
        )


def _identifiers(dataset: Any) -> dict[str, Any]:
    return {
        "sop_instance_uid": _required_uid(dataset, "SOPInstanceUID"),
        "sop_class_uid": uid_of(dataset, "SOPClassUID"),
        "series_instance_uid": _required_uid(dataset, "SeriesInstanceUID"),
        "study_instance_uid": _required_uid(dataset, "StudyInstanceUID"),
        "accession_number": text_of(dataset, "AccessionNumber"),
        "frame_of_reference_uid": uid_of(dataset, "FrameOfReferenceUID"),
        "referenced_series": _referenced_series(dataset),
        "transfer_syntax_uid": meta_uid_of(dataset, "TransferSyntaxUID"),
    }


def _required_uid(dataset: Any, keyword: str) -> str:
    uid = uid_of(dataset, keyword)
    if not uid:
        raise UnusableCaseError("E_HEADER_INCOMPLETE")
    return uid


def _patient(dataset: Any, pseudonym_key: bytes) -> dict[str, Any]:
    birth_date = date_of(dataset, "PatientBirthDate")
    name = text_of(dataset, "PatientName", _MAX_NAME_CHARACTERS)
    sex = code_of(dataset, "PatientSex")
    sex = sex if sex in ("M", "F", "O") else ""
    return {
        "patient_id": text_of(dataset, "PatientID", _MAX_ID_CHARACTERS),
        "person_key": person_key(pseudonym_key, name, birth_date, sex),
        "patient_sex": sex,
        "patient_age_years": _age_years(dataset, birth_date),
    }


def _age_years(dataset: Any, birth_date: date | None) -> int | None:
    """Whole years at the time of the study."""
    given = _AGE.fullmatch(code_of(dataset, "PatientAge"))
    if given is not None:
        years = int(int(given[1]) * _DAYS_OF_UNIT[given[2]] / 365.25 + 1e-9)
        return years if years <= _MAX_AGE_YEARS else None
    if birth_date is None:
        return None
    dates = (date_of(dataset, k) for k in ("StudyDate", "SeriesDate", "AcquisitionDate"))
    day = next((one for one in dates if one is not None), None)
    if day is None:
        return None
    before_birthday = (day.month, day.day) < (birth_date.month, birth_date.day)
    years = day.year - birth_date.year - before_birthday
    return years if 0 <= years <= _MAX_AGE_YEARS else None


def _equipment_and_kind(dataset: Any) -> dict[str, Any]:
    return {
        "modality": code_of(dataset, "Modality"),
        "manufacturer": text_of(dataset, "Manufacturer"),
        "manufacturer_model_name": text_of(dataset, "ManufacturerModelName"),
        "image_type": code_of(dataset, "ImageType"),
        "burned_in_annotation": code_of(dataset, "BurnedInAnnotation"),
        "phase": _phase(dataset),
    }


def _phase(dataset: Any) -> str:
    """Words and numbers alone, as `echo=2;b=800`."""
    numbers = {word: numbers_of(dataset, key, 1e9) for word, key in _PHASE_KEYWORDS.items()}
    return ";".join(
        f"{word}={','.join(f'{number:g}' for number in several)}"
        for word, several in numbers.items()
        if several
    )


def _image(dataset: Any) -> dict[str, Any]:
    return {
        "photometric_interpretation": code_of(dataset, "PhotometricInterpretation"),
        "rows": integer_of(dataset, "Rows", 0, _MAX_SIDE) or 0,
        "columns": integer_of(dataset, "Columns", 0, _MAX_SIDE) or 0,
        "number_of_frames": _number_of_frames(dataset),
        "samples_per_pixel": integer_of(dataset, "SamplesPerPixel", 0, 4) or 0,
        "instance_number": integer_of(dataset, "InstanceNumber", -_INT32, _INT32),
    }


def _describes_pixels(dataset: Any) -> bool:
    if any(keyword in dataset for keyword in _PIXELS):
        return True
    return all(integer_of(dataset, k, 1, _MAX_SIDE) for k in ("Rows", "Columns", "BitsAllocated"))


def _number_of_frames(dataset: Any) -> int:
    """1 where the file does not say; 0 where it says what cannot be."""
    if not is_filled(dataset, "NumberOfFrames"):
        return 1
    return integer_of(dataset, "NumberOfFrames", 0, _MAX_FRAMES) or 0


def _geometry(dataset: Any) -> dict[str, Any]:
    """Position, directions and spacings; of a multi-frame image what all its frames share."""
    thickness = _shared_value(dataset, "SliceThickness", "PixelMeasuresSequence")
    between = _shared_value(dataset, "SpacingBetweenSlices", "PixelMeasuresSequence")
    position = _shared_value(dataset, "ImagePositionPatient", "PlanePositionSequence")
    directions = _shared_value(dataset, "ImageOrientationPatient", "PlaneOrientationSequence")
    spacing = _shared_value(dataset, "PixelSpacing", "PixelMeasuresSequence")
    if spacing is None:
        spacing = value_of(dataset, "ImagerPixelSpacing")
    return {
        "image_position_mm": vector(position, 3, -_MAX_MM, _MAX_MM),
        "image_orientation": vector(directions, 6, -1.01, 1.01),
        "pixel_spacing_mm": vector(spacing, 2, 1e-6, _MAX_MM),
        "slice_thickness_mm": _length_mm(thickness),
        "spacing_between_slices_mm": _length_mm(between),
    }


def _shared_value(dataset: Any, keyword: str, group: str) -> Any:
    plain = value_of(dataset, keyword)
    if plain is not None or _SHARED not in dataset:
        return plain
    return next((value_of(item, keyword) for item in items_along(dataset, _SHARED, group)), None)


def _length_mm(value: Any) -> float | None:
    number = finite(value, -_MAX_MM, _MAX_MM)
    # PS3.3 C.8.4.15: in nuclear medicine a negative spacing only tells the direction
    return abs(number) if number else None


def _referenced_series(dataset: Any) -> str:
    """The series a SEG or RTSTRUCT refers to; several stay apart by a backslash."""
    items = items_along(dataset, "ReferencedSeriesSequence") or items_along(
        dataset,
        "ReferencedFrameOfReferenceSequence",
        "RTReferencedStudySequence",
        "RTReferencedSeriesSequence",
    )
    found = dict.fromkeys(uid_of(item, "SeriesInstanceUID") for item in items)
    return "\\".join(uid for uid in found if uid)
