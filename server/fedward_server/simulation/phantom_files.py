"""Phantom patients as the DICOM files that a hospital's archive would export.

A patient's folder holds studies, these hold series, these hold images, each named by its UID. The
mask of an image is a DICOM SEG in a series of its own. Names are plainly invented:
`Phantom^N0001`, `north-0001`.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedward_common.dicom_writing.encoded_files import Encoding, file_bytes
from fedward_common.dicom_writing.headers import Equipment, Patient, Series, Study
from fedward_common.dicom_writing.identifiers import (
    derived_date,
    derived_number,
    derived_time,
    derived_uid,
)
from fedward_common.dicom_writing.images import xray_image
from fedward_common.dicom_writing.multi_frame import enhanced_ct
from fedward_common.dicom_writing.segmentations import segmentation
from fedward_common.dicom_writing.volumes import SliceDetails, VolumeGeometry, volume_slices
from fedward_server.simulation.phantom_chest import GREY_BITS
from fedward_server.simulation.phantom_ct import CtVolume
from fedward_server.simulation.phantom_hospitals import CtMachine, XrayMachine

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Kind = Literal["chest", "ct"]

CLASS_NAMES = ("no-lesion", "lesion")
KEY_COLUMNS: dict[Kind, str] = {"chest": "sop_instance_uid", "ct": "series_instance_uid"}

_CHEST_WIDTH_MM = 360.0
_UNSIGNED_OFFSET_HU = 1024
_SEGMENTER = Equipment("Fedward", "phantom")


@dataclass(frozen=True)
class LabelRow:
    """One line of a label file.

    Args:
        key: SOPInstanceUID of a chest image, SeriesInstanceUID of a CT series.
        label: What the hospital says of it.
        split: "train", "validation" or "test".
        mask: SOPInstanceUID of its SEG.
    """

    key: str
    label: str
    split: str
    mask: str


@dataclass(frozen=True)
class Drawn:
    """One image or series with its mask, as data sets.

    Args:
        images: One image, or the slices from feet to head.
        seg: The mask as SEG.
        mask: What is in it, of the shape of the images.
        encoding: How the machine's archive stores the images.
    """

    images: tuple["Dataset", ...]
    seg: "Dataset"
    mask: NDArray[np.uint8]
    encoding: Encoding
    patient: Patient
    study: Study

    def row(self, kind: Kind, label: int, split: str) -> LabelRow:
        """Give its line of the label file."""
        first = self.images[0]
        key = first.SOPInstanceUID if kind == "chest" else first.SeriesInstanceUID
        return LabelRow(str(key), CLASS_NAMES[label], split, str(self.seg.SOPInstanceUID))


def phantom_patient(prefix: str, number: int) -> Patient:
    """Give an invented patient, `north-0001` and `Phantom^N0001` for `north` and 1."""
    patient_id = f"{prefix}-{number:04}"
    year = 1930 + derived_number(70, patient_id, "year")
    month, day = (derived_number(n, patient_id, "day") + 1 for n in (12, 28))
    letters = "".join(part[0] for part in prefix.split("-")).upper()
    sexes: tuple[Literal["F", "M"], ...] = ("F", "M")
    sex = sexes[derived_number(2, patient_id, "sex")]
    return Patient(patient_id, f"Phantom^{letters}{number:04}", f"{year}{month:02}{day:02}", sex)


def phantom_study(seed: int, patient: Patient, visit: int) -> Study:
    """Give a patient's visit."""
    place = ("phantom", seed, patient.patient_id, visit)
    accession = f"A{derived_number(10**9, *place):09}"
    return Study(derived_uid(*place), derived_date(*place), derived_time(*place), accession)


def chest_drawn(
    machine: XrayMachine,
    patient: Patient,
    study: Study,
    image: NDArray[np.uint16],
    mask: NDArray[np.uint8],
) -> Drawn:
    """Give one chest image, as this machine stores it, and its SEG."""
    ds = chest_image(machine, patient, study, image)
    seg = mask_object([ds], patient, study, mask)
    return Drawn((ds,), seg, mask, machine.encoding, patient, study)


def chest_image(
    machine: XrayMachine, patient: Patient, study: Study, image: NDArray[np.uint16]
) -> "Dataset":
    """Give one chest image; `image` has 12 bits, the machine may keep fewer."""
    series = Series(
        patient, study, machine.equipment, derived_uid(study.study_uid, "chest"), 1, "Chest PA"
    )
    kept = image >> (GREY_BITS - machine.bits_stored)
    pixels = kept.astype(np.uint8) if machine.bits_stored <= 8 else kept
    spacing = machine.scanner.field_of_view * _CHEST_WIDTH_MM / image.shape[1]
    return xray_image(
        series,
        derived_uid(series.series_uid, "image"),
        pixels,
        bits_stored=machine.bits_stored,
        inverted=machine.inverted,
        spacing_mm=(spacing, spacing),
        body_part="CHEST",
    )


def ct_drawn(machine: CtMachine, patient: Patient, study: Study, volume: CtVolume) -> Drawn:
    """Give the slices of one CT series, as this machine stores them, and their SEG."""
    slices = ct_slices(machine, patient, study, volume)
    seg = mask_object(slices, patient, study, volume.mask)
    return Drawn(tuple(slices), seg, volume.mask, machine.encoding, patient, study)


def ct_slices(
    machine: CtMachine, patient: Patient, study: Study, volume: CtVolume
) -> list["Dataset"]:
    """Give the slices of one CT series."""
    series = Series(
        patient, study, machine.equipment, derived_uid(study.study_uid, "ct"), 2, "Abdomen"
    )
    pixels: NDArray[Any] = volume.hounsfield
    intercept = 0
    if not machine.scanner.signed:
        intercept = -_UNSIGNED_OFFSET_HU
        pixels = (volume.hounsfield.astype(np.int32) - intercept).astype(np.uint16)
    details = SliceDetails(
        intercept=intercept,
        kernel=machine.scanner.kernel,
        window=(40.0, 400.0),
        body_part="ABDOMEN",
    )
    geometry = VolumeGeometry(volume.spacing_mm, volume.origin_mm)
    uids = [derived_uid(series.series_uid, "slice", number) for number in range(len(pixels))]
    return volume_slices(series, "CT", uids, pixels, geometry, details)


def as_multi_frame(drawn: Drawn, order: Sequence[int]) -> Drawn:
    """Give a series again as one Enhanced CT image, its frames the slices in this order."""
    series_uid = derived_uid(drawn.images[0].SeriesInstanceUID, "enhanced")
    equipment = Equipment("Fedward", "phantom")
    series = Series(drawn.patient, drawn.study, equipment, series_uid, 3, "Abdomen, one file")
    slices = [drawn.images[place] for place in order]
    whole = enhanced_ct(slices, series, derived_uid(series_uid, "image"))
    mask = drawn.mask[list(order)]
    seg = mask_object([whole], drawn.patient, drawn.study, mask)
    return Drawn((whole,), seg, mask, "none", drawn.patient, drawn.study)


def mask_object(
    images: Sequence["Dataset"],
    patient: Patient,
    study: Study,
    mask: NDArray[np.uint8],
    class_names: Sequence[str] = CLASS_NAMES,
) -> "Dataset":
    """Give the mask of an image or a series as SEG."""
    series_uid = derived_uid(images[0].SeriesInstanceUID, "segmentation")
    series = Series(patient, study, _SEGMENTER, series_uid, 100, "Lesions")
    return segmentation(images, series, derived_uid(series_uid, "mask"), mask, class_names)


class Archive:
    """A hospital's folder of DICOM files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.num_files = 0

    def add(self, drawn: Drawn) -> None:
        """Write the images and the mask."""
        for image in drawn.images:
            self.add_image(image, drawn.encoding)
        self.add_image(drawn.seg)

    def add_image(self, ds: "Dataset", encoding: Encoding = "none", name: str = "") -> Path:
        """Write one file at its place, `name` standing for the UID; give its path."""
        return self.add_bytes(ds, file_bytes(ds, encoding), name)

    def add_bytes(self, ds: "Dataset", content: bytes, name: str = "") -> Path:
        """Write these bytes where `ds` belongs."""
        levels = (ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID)
        parent = self.folder.joinpath(*(str(level) for level in levels))
        parent.mkdir(parents=True, exist_ok=True)
        path = parent / (name or f"{ds.SOPInstanceUID}.dcm")
        path.write_bytes(content)
        self.num_files += 1
        return path


def write_label_file(path: Path, kind: Kind, rows: Sequence[LabelRow]) -> None:
    """Write a label file: the key's column, label, split, seg_sop_instance_uid."""
    columns = (KEY_COLUMNS[kind], "label", "split", "seg_sop_instance_uid")
    write_table(path, columns, [(row.key, row.label, row.split, row.mask) for row in rows])


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a label file of any columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)
