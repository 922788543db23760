"""Label files by study and by accession number, a second delivery, and one that fits nothing."""

import dataclasses
from collections.abc import Sequence

from fedward_common.dicom_writing.identifiers import derived_uid
from fedward_server.simulation.phantom_faults import (
    MAP_LABELS,
    REGISTER_WITH,
    FaultBook,
)
from fedward_server.simulation.phantom_files import (
    KEY_COLUMNS,
    Archive,
    LabelRow,
    phantom_study,
)
from fedward_server.simulation.phantom_label_list import LabelList
from fedward_server.simulation.phantom_picture_desk import PictureDesk

_NUM_UNFITTING = 3


def list_by_study(archive: Archive, desk: PictureDesk) -> LabelList:
    """Give `labels-by-study.csv`: with the patient ids of the headers, and without a mapping."""
    made = LabelList(
        "labels-by-study.csv",
        ("study_instance_uid", "patient_id", "label", "split"),
    )
    whole = [desk.picture() for _ in range(2)]
    for drawn in whole:
        archive.add(drawn)
        made.add(drawn.study.study_uid, drawn.patient.patient_id, "no-lesion", "train")
    mistaken, unclear = desk.picture(), desk.picture()
    for drawn in (mistaken, unclear):
        archive.add(drawn)
    another = whole[0].patient.patient_id
    made.add(mistaken.study.study_uid, another, "no-lesion", "train", code="E_PATIENT_CONTRADICTS")
    ids = (unclear.study.study_uid, unclear.patient.patient_id)
    made.add(*ids, "unclear", "train", code="E_LABEL_VALUE")
    made.add(*_two_series(archive, desk), "no-lesion", "train", code="E_LABEL_AMBIGUOUS")
    uid = derived_uid("never made", made.name, desk.prefix)
    made.add(uid, "", "no-lesion", "train", code="E_STUDY_NOT_FOUND")
    return made


def _two_series(archive: Archive, desk: PictureDesk) -> tuple[str, str]:
    """Write a study with two series of images, and give the ids of study and patient."""
    patient = desk.patient()
    study = phantom_study(desk.seed, patient, 0)
    archive.add(desk.picture(patient, study))
    second = desk.picture(patient, study).images[0]
    second.SeriesInstanceUID = derived_uid(second.SeriesInstanceUID, "second")
    second.SOPInstanceUID = derived_uid(second.SOPInstanceUID, "second")
    archive.add_image(second)
    return study.study_uid, patient.patient_id


def list_by_accession(archive: Archive, desk: PictureDesk) -> LabelList:
    """Give `labels-by-accession.csv`: with ids of a study of its own, one patient under two."""
    made = LabelList(
        "labels-by-accession.csv",
        ("accession_number", "patient_id", "label", "split"),
        register_with=(*REGISTER_WITH, *MAP_LABELS, "--map", "unsharp=exclude"),
    )
    for number, label in enumerate(("no-lesion", "no-lesion", "unsharp"), start=1):
        drawn = desk.picture()
        archive.add(drawn)
        code = "EXCLUDED_BY_LABEL" if label == "unsharp" else ""
        made.add(drawn.study.accession_number, f"S-{number}", label, "train", code=code)
    patient = desk.patient()
    for name in ("S-4", "S-5"):
        drawn = desk.picture(patient)
        archive.add(drawn)
        accession = drawn.study.accession_number
        made.add(accession, name, "no-lesion", "train", code="E_PATIENT_CONTRADICTS")
    made.add("A-never-made", "S-6", "no-lesion", "train", code="E_ACCESSION_NOT_FOUND")
    made.of_no_line["W_PATIENT_RENAMED"] += 1
    return made


def second_delivery(rows: Sequence[LabelRow], book: FaultBook) -> LabelList:
    """Give `labels-2.csv`: as `labels.csv`, but its last patient has moved from train to test.

    Args:
        rows: Of `labels.csv`; the last one is whole, of a patient with no other line.
        book: What a check says of them.
    """
    made = LabelList(
        "labels-2.csv",
        (KEY_COLUMNS["chest"], "label", "split", "seg_sop_instance_uid"),
        register_with=(),
        update_of="labels.csv",
    )
    moved = dataclasses.replace(rows[-1], split="test")
    for row in (*rows[:-1], moved):
        made.add(row.key, row.label, row.split, row.mask)
    made.lines["classification"] = book.lines["classification"].copy()
    made.lines["classification"]["E_SPLIT_MOVED"] += 1
    return made


def list_that_fits_nothing(hospital: str) -> LabelList:
    """Give `labels-of-another.csv`: of images that are not here, as after a mix-up of hospitals."""
    made = LabelList(
        "labels-of-another.csv",
        (KEY_COLUMNS["chest"], "label", "split"),
        register_with=MAP_LABELS,
        limits_passed=("E_COHORT_EMPTY", "E_TOO_MANY_EXCLUDED", "E_TOO_FEW_PATIENTS"),
    )
    for number in range(_NUM_UNFITTING):
        uid = derived_uid("never made", made.name, hospital, number)
        made.add(uid, "no-lesion", "train", code="E_INSTANCE_NOT_FOUND")
    return made
