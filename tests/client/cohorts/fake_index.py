"""An index of facts that a test makes up; no file, no database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedward_client.cohorts.findings import Finding
from fedward_client.dicom.instance_facts import InstanceFacts

_BLANK: dict[str, Any] = {
    "size_bytes": 100,
    "modified_ns": 1,
    "sop_class_uid": "",
    "accession_number": "",
    "patient_id": "p1",
    "person_key": "",
    "patient_sex": "F",
    "patient_age_years": 47,
    "modality": "DX",
    "manufacturer": "",
    "manufacturer_model_name": "",
    "image_type": "ORIGINAL\\PRIMARY",
    "burned_in_annotation": "",
    "transfer_syntax_uid": "1.2.840.10008.1.2.1",
    "photometric_interpretation": "MONOCHROME2",
    "rows": 4,
    "columns": 4,
    "number_of_frames": 1,
    "samples_per_pixel": 1,
    "has_pixels": True,
    "instance_number": 1,
    "frame_of_reference_uid": "1.9",
    "image_position_mm": None,
    "image_orientation": None,
    "pixel_spacing_mm": None,
    "slice_thickness_mm": None,
    "spacing_between_slices_mm": None,
    "phase": "",
    "referenced_series": "",
}


def facts(sop: str, series: str = "1.5", study: str = "1.4", **others: Any) -> InstanceFacts:
    values = _BLANK | {"locator": f"{sop}.dcm"} | others
    return InstanceFacts(
        sop_instance_uid=sop, series_instance_uid=series, study_instance_uid=study, **values
    )


def slices(series: str, places: Sequence[float] = (0, 1, 2), **others: Any) -> list[InstanceFacts]:
    values: dict[str, Any] = {
        "modality": "CT",
        "image_orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        "pixel_spacing_mm": (1.0, 1.0),
        "slice_thickness_mm": 1.0,
    }
    return [
        facts(
            f"{series}.{number + 1}",
            series,
            image_position_mm=(0.0, 0.0, float(place)),
            **(values | others),
        )
        for number, place in enumerate(places)
    ]


@dataclass
class FakeIndex:
    """Answers as a `DicomIndex` does."""

    instances: list[InstanceFacts]
    trouble: list[Finding] = field(default_factory=list)
    between: list[Finding] = field(default_factory=list)

    def series(self, uid: str) -> tuple[InstanceFacts, ...]:
        return tuple(one for one in self.instances if one.series_instance_uid == uid)

    def instance(self, uid: str) -> tuple[InstanceFacts, ...]:
        return tuple(one for one in self.instances if one.sop_instance_uid == uid)

    def at(self, locator: str) -> InstanceFacts | None:
        return next((one for one in self.instances if one.locator == locator), None)

    def studies_of_accession(self, number: str) -> tuple[str, ...]:
        return self._studies(one for one in self.instances if one.accession_number == number)

    def studies_of_patient(self, patient_id: str) -> tuple[str, ...]:
        return self._studies(one for one in self.instances if one.patient_id == patient_id)

    def series_of_study(self, uid: str) -> tuple[str, ...]:
        theirs = {o.series_instance_uid for o in self.instances if o.study_instance_uid == uid}
        return tuple(sorted(theirs))

    def problems(self) -> Iterable[Finding]:
        return self.trouble

    def scan_findings(self) -> Iterable[Finding]:
        return self.between

    def _studies(self, found: Iterable[InstanceFacts]) -> tuple[str, ...]:
        return tuple(sorted({one.study_instance_uid for one in found}))
