"""Taking patients out of every cohort: who they are there, and what is deleted of them.

A cohort may know a person by another name than the header (an image id, a lesion, an id of its own
label file), so each name under which a snapshot has images of the person is excluded with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.registered.cohort_folder import CohortFolder, registered_names
from fedward_client.cohorts.registered.cohort_work import opened_index
from fedward_client.cohorts.registered.excluded_patients import add_excluded_patients
from fedward_client.cohorts.registered.snapshot import SnapshotCase
from fedward_client.cohorts.registered.snapshot_store import read_snapshot, snapshot_numbers
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome


@dataclass(frozen=True)
class ExclusionOutcome:
    """What `exclude` came to, without a name.

    Args:
        named: Ids in the file.
        unknown: Ids of which no cohort has anything.
        newly_excluded: Names that were not excluded before.
        cases: Cases of the newest snapshots that are gone from the next round on, by cohort.
        arrays_deleted: Decoded images and masks that were deleted.
    """

    named: int
    unknown: int
    newly_excluded: int
    cases: dict[str, int]
    arrays_deleted: int


def exclude_everywhere(home: SiteHome, ids: frozenset[str], reason: str) -> ExclusionOutcome:
    """Exclude patients for ever, from all cohorts, those still to be registered included."""
    key = home.pseudonym_key()
    names, known = set(ids), set()
    case_ids: set[str] = set()
    gone: dict[str, int] = {}
    for cohort in registered_names(home):
        locators, known_here = _files_of_patients(home, cohort, ids)
        known |= known_here
        for number in snapshot_numbers(home, cohort):
            snapshot = read_snapshot(home, f"{cohort}@{number}")
            theirs = list(_cases_of(snapshot.cases, ids, locators))
            names |= {one.patient for one in theirs}
            known |= {one.patient for one in theirs} & ids
            case_ids |= {one.case_id for one in theirs}
            gone[cohort] = len(theirs)  # the newest comes last
    pseudonyms = {pseudonym(key, "patient", one) for one in names}
    new = add_excluded_patients(home, pseudonyms, reason)
    return ExclusionOutcome(len(ids), len(ids - known), new, gone, _forget(home, case_ids))


def _files_of_patients(
    home: SiteHome, cohort: str, ids: Iterable[str]
) -> tuple[frozenset[str], set[str]]:
    """Give the files whose headers name one of the patients, and those whom they name."""
    if not CohortFolder(home, cohort).index_file.exists():
        return frozenset(), set()
    locators: set[str] = set()
    known: set[str] = set()
    with opened_index(home, cohort) as index:
        for one in ids:
            files = _locators_of(index, one)
            locators |= files
            if files:
                known.add(one)
    return frozenset(locators), known


def _locators_of(index: DicomIndex, patient_id: str) -> set[str]:
    studies = index.studies_of_patient(patient_id)
    series = [uid for study in studies for uid in index.series_of_study(study)]
    return {
        one.locator
        for uid in series
        for one in index.series(uid)
        if one.patient_id.strip() == patient_id
    }


def _cases_of(
    cases: Iterable[SnapshotCase], ids: frozenset[str], locators: frozenset[str]
) -> Iterable[SnapshotCase]:
    for one in cases:
        if one.patient in ids or any(file.locator in locators for file in one.files):
            yield one


def _forget(home: SiteHome, case_ids: set[str]) -> int:
    """Delete what was decoded of these cases; what cannot be deleted is never read again."""
    if not case_ids or not (home.cache / "native").is_dir():
        return 0
    from fedward_client.cohorts.cache.native_cache import open_native_cache

    return open_native_cache(home).remove(case_ids)
