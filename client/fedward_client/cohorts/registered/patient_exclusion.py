"""Taking patients out of every cohort: who they are there, and what is deleted of them.

A cohort may know a person by another name than the header (an image id, a lesion, an id of its own
label file), so each name under which a snapshot has images of the person is excluded with it.
The ids that were given are excluded first of all, so that nothing that fails later keeps one in.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.registered.cohort_folder import (
    CohortFolder,
    checked_cohort_name,
    registered_names,
)
from fedward_client.cohorts.registered.cohort_work import opened_index
from fedward_client.cohorts.registered.excluded_patients import add_excluded_patients
from fedward_client.cohorts.registered.snapshot import SnapshotCase
from fedward_client.cohorts.registered.snapshot_store import read_snapshot, snapshot_numbers
from fedward_client.cohorts.registered.split_record import only_snapshot_maker
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome
from fedward_common.errors import ConfigurationError, FedwardError

_PATIENT_TWICE = "W_PATIENT_TWICE"


@dataclass(frozen=True)
class ExclusionOutcome:
    """What `exclude` came to, without a name.

    Args:
        named: Ids in the file.
        unknown: Ids of which no cohort has anything.
        newly_excluded: Names that were not excluded before.
        cases: Cases of the newest snapshots that are gone from the next round on, by cohort.
        arrays_deleted: Decoded images and masks that were deleted.
        other_ids: Ids with the name, birth date and sex of a patient in the file that are not
            excluded: most likely the same person.
        damaged: Snapshots, indexes and caches that could not be read, so that names of the
            patients that stand there alone are not excluded.
    """

    named: int
    unknown: int
    newly_excluded: int
    cases: dict[str, int]
    arrays_deleted: int
    other_ids: int
    damaged: tuple[str, ...]


@dataclass
class _Search:
    """What is known of the patients so far.

    Args:
        ids: That were given.
        names: Under which snapshots have them.
        known: Of the ids, those that some cohort knows.
        persons: All ids, not of the file alone, of the persons.
        case_ids: Their cases.
        gone: Cases of the newest snapshots, by cohort.
        arrays_deleted: What was decoded of them, once `forget` is called.
        damaged: What could not be read.
    """

    ids: frozenset[str]
    names: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    persons: set[str] = field(default_factory=set)
    case_ids: set[str] = field(default_factory=set)
    gone: dict[str, int] = field(default_factory=dict)
    arrays_deleted: int = 0
    damaged: list[str] = field(default_factory=list)

    def look_into(self, home: SiteHome, cohort: str) -> None:
        """Search one cohort's index and all of its snapshots."""
        locators: frozenset[str] = frozenset()
        with self._noting(f"{cohort} (index)"):
            locators = self._files_of_patients(home, cohort)
        for number in snapshot_numbers(home, cohort):
            self.gone.pop(cohort, None)  # the newest comes last
            with self._noting(f"{cohort}@{number}"):
                snapshot = read_snapshot(home, f"{cohort}@{number}")
                theirs = list(_cases_of(snapshot.cases, self.ids, locators))
                self.names |= {one.patient for one in theirs}
                self.known |= {one.patient for one in theirs} & self.ids
                self.case_ids |= {one.case_id for one in theirs}
                self.gone[cohort] = len(theirs)

    def forget(self, home: SiteHome) -> None:
        """Delete what was decoded of the cases."""
        with self._noting("decoded images"):
            self.arrays_deleted = _forget(home, self.case_ids)

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except (FedwardError, OSError):
            self.damaged.append(what)

    def _files_of_patients(self, home: SiteHome, cohort: str) -> frozenset[str]:
        """Give the files whose headers name one of the patients."""
        if not CohortFolder(home, cohort).index_file.exists():
            return frozenset()
        locators: set[str] = set()
        with opened_index(home, cohort) as index:
            for one in self.ids:
                files = _locators_of(index, one)
                locators |= files
                if files:
                    self.known.add(one)
            self.persons |= _ids_of_persons(index, self.ids)
        return frozenset(locators)


def exclude_everywhere(home: SiteHome, ids: frozenset[str], reason: str) -> ExclusionOutcome:
    """Exclude patients for ever, from all cohorts, those still to be registered included.

    What is damaged costs nobody: it is named in the outcome. No snapshot is made meanwhile, which
    could take a patient in by a name that was not found yet.
    """
    key = home.pseudonym_key()

    def exclude(names: Iterable[str]) -> int:
        return add_excluded_patients(
            home, {pseudonym(key, "patient", one) for one in names}, reason
        )

    new = exclude(ids)
    search = _Search(ids)
    with only_snapshot_maker(home.folder):
        for cohort in registered_names(home):
            try:
                checked_cohort_name(cohort)
            except ConfigurationError:
                search.damaged.append(cohort)
                continue
            search.look_into(home, cohort)
        new += exclude(search.names)
    search.forget(home)
    return ExclusionOutcome(
        named=len(ids),
        unknown=len(ids - search.known),
        newly_excluded=new,
        cases=search.gone,
        arrays_deleted=search.arrays_deleted,
        other_ids=len(search.persons - ids - search.names),
        damaged=tuple(search.damaged),
    )


def _ids_of_persons(index: DicomIndex, ids: frozenset[str]) -> set[str]:
    """Give the ids of everybody who has one of `ids`, by name, birth date and sex."""
    groups = (
        set(one.place.split(", ")) for one in index.scan_findings() if one.code == _PATIENT_TWICE
    )
    return {patient for group in groups if group & ids for patient in group}


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
