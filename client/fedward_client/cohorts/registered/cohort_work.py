"""The steps of the cohort commands: scan, match, decode, keep. Every step can be killed and rerun.

What is written, in this order: the index (which resumes), `cohort.toml`, the quarantine, the split
record, the snapshot. Each is whole or not there.
"""

import contextlib
import dataclasses
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.index.instance_store import Progress
from fedward_client.cohorts.registered.case_selection import Selection, SiteKeys
from fedward_client.cohorts.registered.cohort_checks import codes_of_equal_pixels
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.excluded_patients import (
    all_excluded_patients,
    excluded_patients,
    is_excluded,
)
from fedward_client.cohorts.registered.label_file import LabelTable
from fedward_client.cohorts.registered.quarantine import (
    Quarantine,
    quarantine_of,
    read_quarantine,
    write_quarantine,
)
from fedward_client.cohorts.registered.registration import CasesAre, CohortRegistration
from fedward_client.cohorts.registered.snapshot import Snapshot
from fedward_client.cohorts.registered.snapshot_building import build_snapshot
from fedward_client.cohorts.registered.snapshot_change import SnapshotChange, change_between
from fedward_client.cohorts.registered.snapshot_store import (
    newest_snapshot,
    snapshot_numbers,
    write_snapshot,
)
from fedward_client.cohorts.registered.split_record import SplitRecord
from fedward_client.cohorts.source import E_SOURCE_UNREADABLE, Split
from fedward_client.site_home import SiteHome, create_site_home
from fedward_common.errors import CohortError, ConfigurationError, CorruptFileError

if TYPE_CHECKING:
    from fedward_client.cohorts.cache.native_cache import NativeCache

_VOLUME_MODALITIES = frozenset({"CT", "MR", "PT", "NM"})
_LINES_LOOKED_AT = 50
_MAX_WORKERS = 8

DecodeProgress = Callable[[int, int], None]
Review = Callable[[SnapshotChange], None]


@dataclass(frozen=True)
class Kept:
    """What a step came to.

    Args:
        snapshot: As it was just built, with every finding; its number is that of the kept one.
        is_new: Whether it differs from the newest, and was written.
        not_dicom: Files in the archive that are no DICOM.
    """

    snapshot: Snapshot
    is_new: bool
    not_dicom: int


def open_site_home(folder: Path) -> SiteHome:
    """Open a site's home.

    Raises:
        ConfigurationError: There is none, or its key is gone.
    """
    folder = folder.absolute()
    _require_no_lost_key(folder)
    if not (folder / "split.key").is_file():
        raise ConfigurationError(
            f"{folder} is no home of a site", hint="cohort add makes one; check --home"
        )
    return SiteHome(folder)


def open_or_make_site_home(folder: Path) -> SiteHome:
    """Open a site's home, or make one with keys of its own.

    Raises:
        ConfigurationError: Its key is gone though there are cohorts: another key would put every
            patient into another split.
    """
    folder = folder.absolute()
    _require_no_lost_key(folder)
    return create_site_home(folder, split_key=secrets.token_bytes(32))


@contextlib.contextmanager
def home_to_try(folder: Path) -> Iterator[tuple[SiteHome, Path]]:
    """Give a site's home, and a folder beside what is kept there; nothing in the folder stays.

    Where there is no home yet, it is one for the time being, with a key of its own.

    Raises:
        ConfigurationError: The home's key is gone.
    """
    folder = folder.absolute()
    _require_no_lost_key(folder)
    is_home = (folder / "split.key").is_file()
    place = folder if is_home else next(one for one in folder.parents if one.is_dir())
    with tempfile.TemporaryDirectory(prefix=".fedward-dry-run-", dir=place) as name:
        work = Path(name)
        made = SiteHome(folder)
        if not is_home:
            made = create_site_home(work / "home", split_key=secrets.token_bytes(32))
        yield made, work


def _require_no_lost_key(folder: Path) -> None:
    key_file = folder / "split.key"
    made_with_it = (folder / "split_record.sqlite", *folder.glob("cohorts/*/cohort.toml"))
    has_snapshots = any(folder.glob("cohorts/*/snapshots/*.json"))
    if not key_file.exists() and (has_snapshots or any(one.exists() for one in made_with_it)):
        raise ConfigurationError(
            f"{key_file} is missing: it decides every patient's split, and the records know"
            " patients by it",
            hint="restore it from the backup; a new key would move patients between splits",
        )


@contextlib.contextmanager
def opened_index(home: SiteHome, name: str) -> Iterator[DicomIndex]:
    """Open a cohort's index, and close it."""
    with index_at(home, CohortFolder(home, name).index_file) as index:
        yield index


def index_at(home: SiteHome, path: Path) -> DicomIndex:
    """Open an index of this site, or make an empty one; whoever has it closes it."""
    return DicomIndex.open(path, pseudonym_key=home.pseudonym_key())


def scan_source(
    home: SiteHome,
    registration: CohortRegistration,
    index: DicomIndex,
    progress: Progress | None = None,
    *,
    thorough: bool = False,
) -> None:
    """Bring the index up to date; `thorough` as for `InstanceStore.scan`.

    Raises:
        CohortError: `E_SOURCE_UNREADABLE`: nothing can be listed, or there is no image at all.
    """
    with contextlib.closing(registration.open_store(home.cache)) as store:
        store.scan(index, progress, thorough=thorough)
    if not index.count():
        raise CohortError(
            "the source holds no usable DICOM file; no snapshot was made",
            hint="check the folder or server, and that it is mounted",
            code=E_SOURCE_UNREADABLE,
        )


def with_fitting_cases(
    registration: CohortRegistration, table: LabelTable, index: DicomIndex
) -> CohortRegistration:
    """Decide between images and volumes by the key and the modality of the first lines."""
    cases: CasesAre = "images"
    if table.key_kind not in ("instance", "file"):
        keys = [row.key for row in table.rows[:_LINES_LOOKED_AT]]
        if any(_modalities(index, table.key_kind, key) & _VOLUME_MODALITIES for key in keys):
            cases = "series"
    return dataclasses.replace(registration, cases=cases)


def _modalities(index: DicomIndex, key_kind: str, key: str) -> set[str]:
    if key_kind == "series":
        series: tuple[str, ...] = (key,)
    else:
        studies = (key,) if key_kind == "study" else index.studies_of_accession(key)
        series = tuple(uid for study in studies for uid in index.series_of_study(study))
    return {one.modality for uid in series for one in index.series(uid)[:1]}


def make_snapshot(
    home: SiteHome,
    registration: CohortRegistration,
    table: LabelTable,
    index: DicomIndex,
    quarantine: Quarantine | None = None,
    review: Review | None = None,
) -> Kept:
    """Match all lines, and keep the outcome if it differs from the newest snapshot.

    Args:
        home: The site's.
        registration: Of the cohort.
        table: Its label file.
        index: Its headers.
        quarantine: What a check just saw; None takes what the last check wrote.
        review: Told what would change before anything is written; what it raises keeps all as it
            was.
    """
    record = SplitRecord.of_home(home)
    with record.changing():
        kept, splits, change = _next(home, registration, table, index, record, quarantine)
        if review is not None:
            review(change)
        if kept.is_new:
            write_snapshot(home, kept.snapshot, record.add(splits))
    return kept


def preview_snapshot(
    home: SiteHome, registration: CohortRegistration, table: LabelTable, index: DicomIndex
) -> tuple[Kept, SnapshotChange]:
    """Give what `make_snapshot` would keep and change; nothing is written."""
    record = SplitRecord.of_home(home)
    kept, _, change = _next(home, registration, table, index, record, None)
    return kept, change


def _next(
    home: SiteHome,
    registration: CohortRegistration,
    table: LabelTable,
    index: DicomIndex,
    record: SplitRecord,
    quarantine: Quarantine | None,
) -> tuple[Kept, Mapping[str, Split], SnapshotChange]:
    """Give the next snapshot, the splits that it records, and what it changes."""
    newest = _newest_if_whole(home, registration.name)
    snapshot, selection = _built(home, registration, table, index, record, quarantine)
    change = change_between(
        newest,
        snapshot,
        excluded=_excluded_since(home, newest),
        recorded=record.splits_of(selection.splits),
    )
    if newest is not None and not change.is_new:
        snapshot = dataclasses.replace(snapshot, number=newest.number)
    kept = Kept(snapshot, change.is_new, index.counts().not_dicom)
    return kept, selection.splits, change


def _excluded_since(home: SiteHome, snapshot: Snapshot | None) -> frozenset[str]:
    if snapshot is None:
        return frozenset()
    names, key = excluded_patients(home), home.pseudonym_key()
    patients = {one.patient for one in snapshot.cases}
    return frozenset(one for one in patients if is_excluded(key, names, (one,)))


def _newest_if_whole(home: SiteHome, name: str) -> Snapshot | None:
    """A damaged snapshot is another than any: the next one takes its place."""
    try:
        return newest_snapshot(home, name)
    except CorruptFileError:
        return None


def _built(
    home: SiteHome,
    registration: CohortRegistration,
    table: LabelTable,
    index: DicomIndex,
    record: SplitRecord,
    quarantine: Quarantine | None,
) -> tuple[Snapshot, Selection]:
    folder = CohortFolder(home, registration.name)
    return build_snapshot(
        registration,
        table,
        index,
        SiteKeys(home.split_key(), home.pseudonym_key()),
        record,
        excluded=all_excluded_patients(home, record),
        quarantine=read_quarantine(folder.quarantine_file) if quarantine is None else quarantine,
        number=(snapshot_numbers(home, registration.name) or (0,))[-1] + 1,
    )


def check_pixels(
    home: SiteHome,
    registration: CohortRegistration,
    table: LabelTable,
    index: DicomIndex,
    num_workers: int | None,
    progress: DecodeProgress | None = None,
) -> Quarantine:
    """Decode every case, those in quarantine again too, and write the list anew.

    Raises:
        CohortError: `E_CACHE_FULL`, or the source is gone; the list stays as it was.
    """
    from fedward_client.cohorts.cache.native_cache import open_native_cache
    from fedward_client.dicom.decode_pool import DecodePool

    record = SplitRecord.of_home(home)
    candidate, _ = _built(home, registration, table, index, record, Quarantine())
    cache = open_native_cache(home)
    codes: dict[str, str] = {}
    pixels: list[tuple[str, str]] = []
    workers = num_workers or min(os.cpu_count() or 1, _MAX_WORKERS)
    with (
        contextlib.closing(registration.open_store(home.cache)) as store,
        DecodePool(num_workers=workers) as pool,
    ):
        for one in cache.decode_cases(candidate, store, pool, progress):
            if one.code is not None:
                codes[one.case_id] = one.code
            else:
                pixels.append((one.case_id, one.pixels_sha256))
    _forget_excluded(home, candidate, cache)
    codes |= codes_of_equal_pixels(candidate.cases, pixels)
    quarantine = quarantine_of(
        (case, codes[case.case_id]) for case in candidate.cases if case.case_id in codes
    )
    write_quarantine(CohortFolder(home, registration.name).quarantine_file, quarantine)
    return quarantine


def _forget_excluded(home: SiteHome, snapshot: Snapshot, cache: "NativeCache") -> None:
    """Delete what was decoded of patients who were excluded meanwhile."""
    excluded, key = excluded_patients(home), home.pseudonym_key()
    late = [o.case_id for o in snapshot.cases if is_excluded(key, excluded, (o.patient,))]
    if late:
        cache.remove(late)
