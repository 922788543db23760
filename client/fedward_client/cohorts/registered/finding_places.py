"""Where a finding between files is, as files: their paths instead of patient ids and numbers.

A data manager finds the matter by path; no identifier of a patient needs to be written down again.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from fedward_client.cohorts.findings import Finding
from fedward_client.dicom.instance_facts import InstanceFacts

_ROOM = 10


class PlaceLookup(Protocol):
    """What is asked of a `DicomIndex`."""

    def series(self, uid: str) -> tuple[InstanceFacts, ...]:
        """Instances of a series."""

    def series_of_study(self, uid: str) -> tuple[str, ...]:
        """Series of a study."""

    def studies_of_accession(self, number: str) -> tuple[str, ...]:
        """Studies of an accession number."""

    def studies_of_patient(self, patient_id: str) -> tuple[str, ...]:
        """Studies of a patient."""


def with_file_places(findings: Iterable[Finding], index: PlaceLookup) -> Iterator[Finding]:
    """Give the findings of a scan with a few files each in place of identifiers."""
    studies_of: Mapping[str, Callable[[str], Iterable[str]]] = {
        "W_PATIENT_TWICE": lambda place: _studies_of_patients(place, index),
        "W_SEVERAL_STUDIES": index.studies_of_accession,
        "E_STUDY_OF_TWO_PATIENTS": lambda place: (place,),
    }
    for one in findings:
        if one.code in studies_of:
            files = list(_first_files(studies_of[one.code](one.place), index))
            place = " | ".join(files[:_ROOM])
            yield dataclasses.replace(one, place=place)
        else:
            yield one


def _studies_of_patients(place: str, index: PlaceLookup) -> Iterator[str]:
    for patient_id in place.split(", "):
        yield from index.studies_of_patient(patient_id)[:1]


def _first_files(studies: Iterable[str], index: PlaceLookup) -> Iterator[str]:
    for study in studies:
        for series in index.series_of_study(study):
            yield from (one.locator for one in index.series(series)[:1])
