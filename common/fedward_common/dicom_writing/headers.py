"""Who was imaged, where, and in which study and series: values that a header is written from."""

import datetime
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

UTF_8 = "ISO_IR 192"
Sex = Literal["F", "M", "O", ""]


@dataclass(frozen=True)
class Patient:
    """An invented patient.

    Args:
        patient_id: PatientID, at most 64 characters.
        name: PatientName, `Family^Given`.
        birth_date: `YYYYMMDD`, or "" where unknown.
        sex: "" where unknown.
        character_set: SpecificCharacterSet that `name` is written in; one term or several.
    """

    patient_id: str = field(repr=False)
    name: str = field(repr=False)
    birth_date: str = field(default="", repr=False)
    sex: Sex = ""
    character_set: str | tuple[str, ...] = UTF_8


@dataclass(frozen=True)
class Study:
    """One visit: `date` and `time` as DICOM writes them."""

    study_uid: str
    date: str
    time: str
    accession_number: str
    description: str = ""


@dataclass(frozen=True)
class Equipment:
    """The machine, or the program, that made an object."""

    manufacturer: str
    model: str
    software: str = "1.0"
    station: str = ""
    institution: str = ""
    serial_number: str = "0"

    @property
    def device(self) -> dict[str, Any]:
        """Give what highdicom asks of every object's device, by the names of its arguments."""
        return {
            "manufacturer": self.manufacturer,
            "manufacturer_model_name": self.model,
            "software_versions": self.software,
            "device_serial_number": self.serial_number,
        }


@dataclass(frozen=True)
class Series:
    """One series of a study, with everything that stands above it.

    Args:
        patient: Who.
        study: When.
        equipment: With what.
        series_uid: SeriesInstanceUID.
        number: SeriesNumber, 1 or more.
        description: SeriesDescription; "" leaves it out.
    """

    patient: Patient
    study: Study
    equipment: Equipment
    series_uid: str
    number: int = 1
    description: str = ""


def age_in_years(birth_date: str, day: str) -> int:
    """Give the whole years between two dates as DICOM writes them."""
    born, today = (datetime.datetime.strptime(text, "%Y%m%d").date() for text in (birth_date, day))
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def header_of(
    series: Series, modality: str, sop_class: str, sop_uid: str, instance_number: int
) -> "Dataset":
    """Give a data set with all that an image shares with its series; pixels are still to come."""
    from pydicom.dataset import Dataset

    patient, study, equipment = series.patient, series.study, series.equipment
    ds = Dataset()
    character_set = patient.character_set
    ds.SpecificCharacterSet = (
        character_set if isinstance(character_set, str) else list(character_set)
    )
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, sop_uid
    for kind in ("Study", "Series", "Acquisition", "Content", "InstanceCreation"):
        setattr(ds, f"{kind}Date", study.date)
        setattr(ds, f"{kind}Time", study.time)
    ds.AccessionNumber = study.accession_number
    ds.Modality = modality
    ds.Manufacturer, ds.ManufacturerModelName = equipment.manufacturer, equipment.model
    ds.SoftwareVersions, ds.StationName = equipment.software, equipment.station
    ds.InstitutionName = equipment.institution
    ds.ReferringPhysicianName = ""
    if study.description:
        ds.StudyDescription = study.description
    if series.description:
        ds.SeriesDescription = series.description
    ds.PatientName, ds.PatientID = patient.name, patient.patient_id
    ds.PatientBirthDate, ds.PatientSex = patient.birth_date, patient.sex
    if patient.birth_date:
        ds.PatientAge = f"{age_in_years(patient.birth_date, study.date):03}Y"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study.study_uid, series.series_uid
    ds.StudyID = ""
    ds.SeriesNumber, ds.InstanceNumber = series.number, instance_number
    ds.AcquisitionNumber = 1
    ds.BurnedInAnnotation = "NO"
    ds.Laterality = ""
    ds.PatientOrientation = ""
    return ds
