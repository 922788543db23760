"""Everything that goes wrong with single images and their label file, each once, in phantoms."""

import copy
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from fedward_common.dicom_writing.encoded_files import file_bytes
from fedward_common.dicom_writing.headers import Patient, Study
from fedward_common.dicom_writing.identifiers import derived_uid
from fedward_server.simulation.phantom_chest import draw_chests
from fedward_server.simulation.phantom_faults import FaultBook
from fedward_server.simulation.phantom_files import (
    Drawn,
    LabelRow,
    chest_drawn,
    phantom_patient,
    phantom_study,
)
from fedward_server.simulation.phantom_hospitals import Hospital

_NUM_PICTURES = 40
_ODD_NAMES: tuple[tuple[str | tuple[str, ...], str], ...] = (
    ("ISO_IR 100", "Phäntom^Zoë"),
    ("ISO_IR 144", "Фантом^Пациент"),
    (("", "ISO 2022 IR 87"), "Phantom^Yamada=山田^太郎"),
    ("GB18030", "Phantom^Wang=王^小东"),
)


@dataclasses.dataclass
class _Desk:
    """Hands out pictures of patients that are nobody else's."""

    hospital: Hospital
    seed: int
    book: FaultBook
    pictures: Iterator[tuple[NDArray[np.uint16], NDArray[np.uint8]]]
    number: int = 0
    visit: int = 0

    def patient(self) -> Patient:
        """Give the next patient."""
        self.number += 1
        return phantom_patient(f"{self.hospital.short_name}-q", self.number)

    def picture(self, patient: Patient | None = None, study: Study | None = None) -> Drawn:
        """Draw the next picture, of a new patient or of this one."""
        image, mask = next(self.pictures)
        patient = patient or self.patient()
        self.visit += 1
        study = study or phantom_study(self.seed, patient, self.visit)
        return chest_drawn(self.hospital.xray, patient, study, image, mask)


def add_chest_faults(book: FaultBook, hospital: Hospital, image_size: int, seed: int) -> None:
    """Write every fault of single images into the archive and the label file."""
    rng = np.random.default_rng([seed, len(hospital.name), 77])
    healthy = draw_chests(hospital.xray.scanner, _NUM_PICTURES, image_size, rng, prevalence=0)
    pictures = (pair for some in healthy for pair in zip(some.images, some.masks, strict=True))
    desk = _Desk(hospital, seed, book, pictures)
    for fault in _FAULTS:
        fault(desk)


def _row(drawn: Drawn, label: str = "no-lesion", split: str = "train") -> LabelRow:
    return dataclasses.replace(drawn.row("chest", 0, split), label=label)


def _cut_short(desk: _Desk) -> None:
    drawn = desk.picture()
    content = file_bytes(drawn.images[0], drawn.encoding)
    desk.book.archive.add_bytes(drawn.images[0], content[: -len(content) // 4])
    desk.book.archive.add_image(drawn.seg)
    desk.book.rows.append(_row(drawn))
    desk.book.expect("E_IMAGE_UNREADABLE")


def _without_pixels(desk: _Desk) -> None:
    drawn = desk.picture()
    del drawn.images[0].PixelData
    desk.book.archive.add_image(drawn.images[0])
    desk.book.archive.add_image(drawn.seg)
    desk.book.rows.append(_row(drawn))
    desk.book.expect("E_NO_PIXEL_DATA")


def _file_twice(desk: _Desk) -> None:
    drawn = desk.picture()
    desk.book.whole(drawn)
    desk.book.archive.add_image(drawn.images[0], drawn.encoding, name="copy.dcm")
    desk.book.expect_in_archive("W_DUPLICATE_FILE")


def _one_uid_for_two(desk: _Desk) -> None:
    drawn, other = desk.picture(), desk.picture()
    desk.book.whole(drawn)
    twin = copy.deepcopy(drawn.images[0])
    twin.PixelData = other.images[0].PixelData
    desk.book.archive.add_image(twin, drawn.encoding, name="again.dcm")
    desk.book.expect("E_DUPLICATE_INSTANCE")
    desk.book.expect_in_archive("E_DUPLICATE_INSTANCE")


def _one_person_twice(desk: _Desk, splits: tuple[str, str]) -> None:
    patient = desk.patient()
    family, _, given = patient.name.partition("^")
    alias = dataclasses.replace(
        patient, patient_id=f"{patient.patient_id}-old", name=f"{family.upper()} ^{given.lower()}"
    )
    desk.book.whole(desk.picture(patient), split=splits[0])
    desk.book.whole(desk.picture(alias), split=splits[1])
    desk.book.expect_in_archive("W_PATIENT_TWICE")


def _two_spellings(desk: _Desk) -> None:
    _one_person_twice(desk, ("train", "train"))


def _two_ids_in_two_splits(desk: _Desk) -> None:
    _one_person_twice(desk, ("train", "test"))
    desk.book.expect("E_PATIENT_IN_TWO_SPLITS", 2)


def _two_studies_one_accession(desk: _Desk) -> None:
    first, second = desk.patient(), desk.patient()
    study = phantom_study(desk.seed, first, 0)
    other = dataclasses.replace(
        phantom_study(desk.seed, second, 0), accession_number=study.accession_number
    )
    desk.book.whole(desk.picture(first, study))
    desk.book.whole(desk.picture(second, other))
    desk.book.expect_in_archive("W_SEVERAL_STUDIES")


def _study_of_two_patients(desk: _Desk) -> None:
    first, second = desk.patient(), desk.patient()
    study = phantom_study(desk.seed, first, 0)
    desk.book.whole(desk.picture(first, study))
    stranger = desk.picture(second, study)
    for ds in (*stranger.images, stranger.seg):
        ds.SOPInstanceUID = derived_uid(ds.SOPInstanceUID, "stranger")
        ds.SeriesInstanceUID = derived_uid(ds.SeriesInstanceUID, "stranger")
    desk.book.archive.add_image(stranger.images[0], stranger.encoding)
    desk.book.expect("E_STUDY_OF_TWO_PATIENTS")
    desk.book.expect_in_archive("E_STUDY_OF_TWO_PATIENTS")


def _patient_in_two_splits(desk: _Desk) -> None:
    patient = desk.patient()
    for split in ("train", "test"):
        desk.book.whole(desk.picture(patient), split=split)
    desk.book.expect("E_PATIENT_IN_TWO_SPLITS", 2)


def _same_pixels(desk: _Desk, splits: tuple[str, str]) -> None:
    drawn = desk.picture()
    desk.book.whole(drawn, split=splits[0])
    other = desk.picture()
    other.images[0].PixelData = drawn.images[0].PixelData
    desk.book.whole(other, split=splits[1])


def _same_pixels_in_two_splits(desk: _Desk) -> None:
    _same_pixels(desk, ("train", "test"))
    desk.book.expect("E_PIXELS_IN_TWO_SPLITS", 2)


def _same_pixels_in_one_split(desk: _Desk) -> None:
    _same_pixels(desk, ("train", "train"))
    desk.book.expect("W_PIXELS_TWICE")


def _text_in_the_picture(desk: _Desk) -> None:
    drawn = desk.picture()
    drawn.images[0].BurnedInAnnotation = "YES"
    desk.book.whole(drawn)
    desk.book.expect("E_BURNED_IN_TEXT")


def _no_patient_id(desk: _Desk) -> None:
    drawn = desk.picture()
    place = desk.book.archive.folder / "no-patient-id.dcm"
    drawn.images[0].PatientID = ""
    place.write_bytes(file_bytes(drawn.images[0], drawn.encoding))
    desk.book.archive.add_image(drawn.seg)
    desk.book.rows.append(_row(drawn))
    desk.book.expect("E_PATIENT_MISSING")


def _slope_of_zero(desk: _Desk) -> None:
    drawn = desk.picture()
    drawn.images[0].RescaleSlope, drawn.images[0].RescaleIntercept = "0", "0"
    desk.book.whole(drawn)
    desk.book.expect("E_RESCALE_INVALID")


def _unknown_label(desk: _Desk) -> None:
    drawn = desk.picture()
    desk.book.archive.add(drawn)
    desk.book.rows.append(_row(drawn, label="unclear"))
    desk.book.expect("E_LABEL_UNMAPPED", tasks=("classification",))


def _unknown_split(desk: _Desk) -> None:
    drawn = desk.picture()
    desk.book.archive.add(drawn)
    desk.book.rows.append(_row(drawn, split="holdout"))
    desk.book.expect("E_SPLIT_VALUE")


def _two_lines_of_one_image(desk: _Desk) -> None:
    desk.book.rows.append(desk.book.whole(desk.picture()))
    desk.book.expect("W_LABEL_TWICE")


def _lines_that_contradict(desk: _Desk) -> None:
    row = desk.book.whole(desk.picture())
    desk.book.rows.append(dataclasses.replace(row, label="lesion"))
    desk.book.expect("E_LABEL_CONTRADICTS", 2, tasks=("classification",))
    desk.book.expect("W_LABEL_TWICE", tasks=("segmentation",))  # one mask, whatever the label


def _line_without_image(desk: _Desk) -> None:
    uid = derived_uid("phantom", desk.seed, desk.hospital.name, "never made")
    desk.book.rows.append(LabelRow(uid, "lesion", "train", uid))
    desk.book.expect("E_INSTANCE_NOT_FOUND")


def _odd_names(desk: _Desk) -> None:
    """Names in other alphabets are no fault; nobody may stumble over them."""
    for character_set, name in _ODD_NAMES:
        patient = dataclasses.replace(desk.patient(), name=name, character_set=character_set)
        desk.book.whole(desk.picture(patient))


_FAULTS: tuple[Callable[[_Desk], None], ...] = (
    _cut_short,
    _without_pixels,
    _file_twice,
    _one_uid_for_two,
    _two_spellings,
    _two_studies_one_accession,
    _study_of_two_patients,
    _patient_in_two_splits,
    _two_ids_in_two_splits,
    _same_pixels_in_two_splits,
    _same_pixels_in_one_split,
    _text_in_the_picture,
    _no_patient_id,
    _slope_of_zero,
    _unknown_label,
    _unknown_split,
    _two_lines_of_one_image,
    _lines_that_contradict,
    _line_without_image,
    _odd_names,
)
