"""Everything that goes wrong with single images and their label file, each once, in phantoms."""

import copy
import dataclasses
from collections.abc import Callable

from fedward_common.dicom_writing.encoded_files import file_bytes
from fedward_common.dicom_writing.identifiers import derived_uid
from fedward_server.simulation.phantom_faults import FaultBook
from fedward_server.simulation.phantom_files import Drawn, LabelRow, phantom_study
from fedward_server.simulation.phantom_hospitals import Hospital
from fedward_server.simulation.phantom_picture_desk import PictureDesk

_ODD_NAMES: tuple[tuple[str | tuple[str, ...], str], ...] = (
    ("ISO_IR 100", "Phäntom^Zoë"),
    ("ISO_IR 144", "Фантом^Пациент"),
    (("", "ISO 2022 IR 87"), "Phantom^Yamada=山田^太郎"),
    ("GB18030", "Phantom^Wang=王^小东"),
)


@dataclasses.dataclass(frozen=True)
class _Work:
    """Where a fault takes its pictures from, and where it is written down."""

    desk: PictureDesk
    book: FaultBook


def add_chest_faults(book: FaultBook, hospital: Hospital, image_size: int, seed: int) -> None:
    """Write every fault of single images into the archive and the label file."""
    work = _Work(PictureDesk.opened(hospital, image_size, seed, suffix="q", purpose=77), book)
    for fault in _FAULTS:
        fault(work)


def _row(drawn: Drawn, label: str = "no-lesion", split: str = "train") -> LabelRow:
    return dataclasses.replace(drawn.row("chest", 0, split), label=label)


def _cut_short(work: _Work) -> None:
    drawn = work.desk.picture()
    content = file_bytes(drawn.images[0], drawn.encoding)
    work.book.archive.add_bytes(drawn.images[0], content[: -len(content) // 4])
    work.book.archive.add_image(drawn.seg)
    work.book.rows.append(_row(drawn))
    work.book.expect("E_IMAGE_UNREADABLE")


def _without_pixels(work: _Work) -> None:
    drawn = work.desk.picture()
    del drawn.images[0].PixelData
    work.book.archive.add_image(drawn.images[0])
    work.book.archive.add_image(drawn.seg)
    work.book.rows.append(_row(drawn))
    work.book.expect("E_NO_PIXEL_DATA")


def _file_twice(work: _Work) -> None:
    drawn = work.desk.picture()
    work.book.whole(drawn)
    work.book.archive.add_image(drawn.images[0], drawn.encoding, name="copy.dcm")
    work.book.expect_in_archive("W_DUPLICATE_FILE")


def _one_uid_for_two(work: _Work) -> None:
    drawn, other = work.desk.picture(), work.desk.picture()
    work.book.whole(drawn)
    twin = copy.deepcopy(drawn.images[0])
    twin.PixelData = other.images[0].PixelData
    work.book.archive.add_image(twin, drawn.encoding, name="again.dcm")
    work.book.expect("E_DUPLICATE_INSTANCE")
    work.book.expect_in_archive("E_DUPLICATE_INSTANCE")


def _one_person_twice(work: _Work, splits: tuple[str, str]) -> None:
    patient = work.desk.patient()
    family, _, given = patient.name.partition("^")
    alias = dataclasses.replace(
        patient, patient_id=f"{patient.patient_id}-old", name=f"{family.upper()} ^{given.lower()}"
    )
    work.book.whole(work.desk.picture(patient), split=splits[0])
    work.book.whole(work.desk.picture(alias), split=splits[1])
    work.book.expect_in_archive("W_PATIENT_TWICE")


def _two_spellings(work: _Work) -> None:
    _one_person_twice(work, ("train", "train"))


def _two_ids_in_two_splits(work: _Work) -> None:
    _one_person_twice(work, ("train", "test"))
    work.book.expect("E_PATIENT_IN_TWO_SPLITS", 2)


def _two_studies_one_accession(work: _Work) -> None:
    first, second = work.desk.patient(), work.desk.patient()
    study = phantom_study(work.desk.seed, first, 0)
    other = dataclasses.replace(
        phantom_study(work.desk.seed, second, 0), accession_number=study.accession_number
    )
    work.book.whole(work.desk.picture(first, study))
    work.book.whole(work.desk.picture(second, other))
    work.book.expect_in_archive("W_SEVERAL_STUDIES")


def _study_of_two_patients(work: _Work) -> None:
    first, second = work.desk.patient(), work.desk.patient()
    study = phantom_study(work.desk.seed, first, 0)
    work.book.whole(work.desk.picture(first, study))
    stranger = work.desk.picture(second, study)
    for ds in (*stranger.images, stranger.seg):
        ds.SOPInstanceUID = derived_uid(ds.SOPInstanceUID, "stranger")
        ds.SeriesInstanceUID = derived_uid(ds.SeriesInstanceUID, "stranger")
    work.book.archive.add_image(stranger.images[0], stranger.encoding)
    work.book.expect("E_STUDY_OF_TWO_PATIENTS")
    work.book.expect_in_archive("E_STUDY_OF_TWO_PATIENTS")


def _patient_in_two_splits(work: _Work) -> None:
    patient = work.desk.patient()
    for split in ("train", "test"):
        work.book.whole(work.desk.picture(patient), split=split)
    work.book.expect("E_PATIENT_IN_TWO_SPLITS", 2)


def _same_pixels(work: _Work, splits: tuple[str, str]) -> None:
    drawn = work.desk.picture()
    work.book.whole(drawn, split=splits[0])
    other = work.desk.picture()
    other.images[0].PixelData = drawn.images[0].PixelData
    work.book.whole(other, split=splits[1])


def _same_pixels_in_two_splits(work: _Work) -> None:
    _same_pixels(work, ("train", "test"))
    work.book.expect("E_PIXELS_IN_TWO_SPLITS", 2)


def _same_pixels_in_one_split(work: _Work) -> None:
    _same_pixels(work, ("train", "train"))
    work.book.expect("W_PIXELS_TWICE")


def _text_in_the_picture(work: _Work) -> None:
    drawn = work.desk.picture()
    drawn.images[0].BurnedInAnnotation = "YES"
    work.book.whole(drawn)
    work.book.expect("E_BURNED_IN_TEXT")


def _no_patient_id(work: _Work) -> None:
    drawn = work.desk.picture()
    place = work.book.archive.folder / "no-patient-id.dcm"
    drawn.images[0].PatientID = ""
    place.write_bytes(file_bytes(drawn.images[0], drawn.encoding))
    work.book.archive.add_image(drawn.seg)
    work.book.rows.append(_row(drawn))
    work.book.expect("E_PATIENT_MISSING")


def _slope_of_zero(work: _Work) -> None:
    drawn = work.desk.picture()
    drawn.images[0].RescaleSlope, drawn.images[0].RescaleIntercept = "0", "0"
    work.book.whole(drawn)
    work.book.expect("E_RESCALE_INVALID")


def _unknown_label(work: _Work) -> None:
    drawn = work.desk.picture()
    work.book.archive.add(drawn)
    work.book.rows.append(_row(drawn, label="unclear"))
    work.book.expect("E_LABEL_UNMAPPED", tasks=("classification",))


def _unknown_split(work: _Work) -> None:
    drawn = work.desk.picture()
    work.book.archive.add(drawn)
    work.book.rows.append(_row(drawn, split="holdout"))
    work.book.expect("E_SPLIT_VALUE")


def _two_lines_of_one_image(work: _Work) -> None:
    work.book.rows.append(work.book.whole(work.desk.picture()))
    work.book.expect("W_LABEL_TWICE")


def _lines_that_contradict(work: _Work) -> None:
    row = work.book.whole(work.desk.picture())
    work.book.rows.append(dataclasses.replace(row, label="lesion"))
    work.book.expect("E_LABEL_CONTRADICTS", 2, tasks=("classification",))
    work.book.expect("W_LABEL_TWICE", tasks=("segmentation",))  # one mask, whatever the label


def _line_without_image(work: _Work) -> None:
    uid = derived_uid("phantom", work.desk.seed, work.desk.hospital.name, "never made")
    work.book.rows.append(LabelRow(uid, "lesion", "train", uid))
    work.book.expect("E_INSTANCE_NOT_FOUND")


def _odd_names(work: _Work) -> None:
    """Names in other alphabets are no fault; nobody may stumble over them."""
    for character_set, name in _ODD_NAMES:
        patient = dataclasses.replace(work.desk.patient(), name=name, character_set=character_set)
        work.book.whole(work.desk.picture(patient))


_FAULTS: tuple[Callable[[_Work], None], ...] = (
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
