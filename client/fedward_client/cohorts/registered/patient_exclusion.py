"""Taking patients out of every cohort: who they are there, and what is deleted of them.

A cohort may know a person by another name than the header (an image id, a lesion, an id of its own
label file), so each name under which a snapshot has images of the person is excluded with it.
Other ids of the person are only counted, or excluded too where that is asked for.
The ids that were given are excluded first of all, so that nothing that fails later keeps one in.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.registered.case_identities import MOST_IDS_OF_A_PERSON
from fedward_client.cohorts.registered.cohort_folder import (
    CohortFolder,
    checked_cohort_name,
    registered_names,
)
from fedward_client.cohorts.registered.cohort_work import opened_index
from fedward_client.cohorts.registered.excluded_patients import add_excluded_patients
from fedward_client.cohorts.registered.snapshot import SnapshotCase
from fedward_client.cohorts.registered.snapshot_store import (
    newest_snapshot,
    read_snapshot,
    snapshot_numbers,
)
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
        other_ids: Ids of the same persons, by name, birth date and sex or by a case that has both
            ids, that are not excluded.
        other_ids_excluded: Ids of the same persons that were not in the file and were excluded with
            them; 0 unless that was asked for.
        damaged: Snapshots, indexes and caches that could not be read, so that names of the
            patients that stand there alone are not excluded.
    """

    named: int
    unknown: int
    newly_excluded: int
    cases: dict[str, int]
    arrays_deleted: int
    other_ids: int
    other_ids_excluded: int
    damaged: tuple[str, ...]


@dataclass
class _Search:
    """What is known of the patients so far.

    Args:
        ids: That were given, or are of the same persons.
        names: Under which snapshots have them.
        known: Of the ids, those that some cohort knows.
        persons: All ids, not of the file alone, of the persons.
        sure_ids: Of these, the ones that stand for nobody else.
        identities: Under which the split record has their cases.
        case_ids: Their cases.
        gone: Cases of the newest snapshots, by cohort.
        arrays_deleted: What was decoded of them, once `forget` is called.
        damaged: What could not be read.
    """

    ids: frozenset[str]
    names: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    persons: set[str] = field(default_factory=set)
    sure_ids: set[str] = field(default_factory=set)
    identities: set[str] = field(default_factory=set)
    case_ids: set[str] = field(default_factory=set)
    gone: dict[str, int] = field(default_factory=dict)
    arrays_deleted: int = 0
    damaged: list[str] = field(default_factory=list)

    @classmethod
    def through(cls, home: SiteHome, ids: frozenset[str]) -> "_Search":
        """Search all cohorts."""
        search = cls(ids)
        for cohort in registered_names(home):
            try:
                checked_cohort_name(cohort)
            except ConfigurationError:
                search.damaged.append(cohort)
                continue
            search._look_into(home, cohort)
        return search

    def look_for_other_ids(self, home: SiteHome) -> None:
        """Find the ids under which the newest snapshots have the same persons, in all cohorts."""
        for cohort in registered_names(home):
            with contextlib.suppress(FedwardError, OSError):  # told of already
                snapshot = newest_snapshot(home, cohort)
                cases = () if snapshot is None else snapshot.cases
                theirs = [one for one in cases if not self.identities.isdisjoint(one.identities)]
                if snapshot is not None and snapshot.unit == "patient":
                    self._found({one.patient for one in theirs})
                if theirs and CohortFolder(home, cohort).index_file.exists():
                    with opened_index(home, cohort) as index:
                        self._found(_ids_in_headers(theirs, index, home.pseudonym_key()))

    def forget(self, home: SiteHome) -> None:
        """Delete what was decoded of the cases."""
        with self._noting("decoded images"):
            self.arrays_deleted = _forget(home, self.case_ids)

    def _look_into(self, home: SiteHome, cohort: str) -> None:
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
                self.identities.update(name for one in theirs for name in one.identities)
                self.case_ids |= {one.case_id for one in theirs}
                self.gone[cohort] = len(theirs)

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except (FedwardError, OSError):
            self.damaged.append(what)

    def _found(self, ids: set[str]) -> None:
        self.persons |= ids
        self.sure_ids |= ids

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
            for ids in _ids_of_persons(index, self.ids):
                self.persons |= ids
                if len(ids) <= MOST_IDS_OF_A_PERSON:
                    # an id with a comma is no id in two parts
                    self.sure_ids |= {one for one in ids if index.studies_of_patient(one)}
        return frozenset(locators)


def exclude_everywhere(
    home: SiteHome, ids: frozenset[str], reason: str, *, with_other_ids: bool = False
) -> ExclusionOutcome:
    """Exclude patients for ever, from all cohorts, those still to be registered included.

    What is damaged costs nobody: it is named in the outcome. No snapshot is made meanwhile, which
    could take a patient in by a name that was not found yet.

    Args:
        home: The site's.
        ids: Patient ids, of headers or of label files.
        reason: Kept with each.
        with_other_ids: Exclude further ids of the same persons too: ids with their name, birth date
            and sex, and the other id of a case that header and label file name differently. An id
            or a name that stands for too many (`case_identities`) is never taken along.
    """
    key = home.pseudonym_key()

    def exclude(names: Iterable[str]) -> int:
        return add_excluded_patients(
            home, {pseudonym(key, "patient", one) for one in names}, reason
        )

    new = exclude(ids)
    others: frozenset[str] = frozenset()
    with only_snapshot_maker(home.folder):
        search = _Search.through(home, ids)
        search.look_for_other_ids(home)
        persons = search.persons
        if with_other_ids:
            others = frozenset(search.sure_ids - ids)
            new += exclude(others)
            search = _Search.through(home, ids | others)
        new += exclude(search.names)
    search.forget(home)
    return ExclusionOutcome(
        named=len(ids),
        unknown=len(ids - search.known),
        newly_excluded=new,
        cases=search.gone,
        arrays_deleted=search.arrays_deleted,
        other_ids=len(persons - ids - others - search.names),
        other_ids_excluded=len(others),
        damaged=tuple(search.damaged),
    )


def _ids_of_persons(index: DicomIndex, ids: frozenset[str]) -> Iterator[set[str]]:
    """Give the ids of everybody who has one of `ids`, by name, birth date and sex."""
    for one in index.scan_findings():
        if one.code == _PATIENT_TWICE:
            group = set(one.place.split(", "))
            if group & ids:
                yield group


def _ids_in_headers(cases: Iterable[SnapshotCase], index: DicomIndex, key: bytes) -> set[str]:
    """Give the ids of the cases' headers that stand for one person each."""
    found = ((one, index.at(one.files[0].locator)) for one in cases)
    ids = ((one, facts.patient_id.strip()) for one, facts in found if facts is not None)
    return {name for one, name in ids if pseudonym(key, "patient", name) in one.identities}


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
