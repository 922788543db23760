"""The steps of the cohort commands: scan, match, decode, keep. Every step can be killed and rerun.

What is written, in this order: the index (which resumes), `cohort.toml`, the quarantine, the split
record, the snapshot. Each is whole or not there.
"""

import contextlib
import dataclasses
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.index.instance_store import Progress
from fedward_client.cohorts.registered.case_selection import Selection, SiteKeys
from fedward_client.cohorts.registered.cohort_checks import codes_of_equal_pixels
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.excluded_patients import excluded_patients, is_excluded
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
from fedward_client.cohorts.registered.snapshot_store import (
    newest_snapshot,
    snapshot_numbers,
    write_snapshot,
)
from fedward_client.cohorts.registered.split_record import SplitRecord
from fedward_client.cohorts.source import E_SOURCE_UNREADABLE
from fedward_client.site_home import SiteHome, create_site_home
from fedward_common.errors import CohortError, ConfigurationError, CorruptFileError

if TYPE_CHECKING:
    from fedward_client.cohorts.cache.native_cache import NativeCache

_VOLUME_MODALITIES = frozenset({"CT", "MR", "PT", "NM"})
_LINES_LOOKED_AT = 50
_MAX_WORKERS = 8

DecodeProgress = Callable[[int, int], None]


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
        ConfigurationError: There is none.
    """
    if not (folder / "split.key").is_file():
        raise ConfigurationError(
            f"{folder} is no home of a site", hint="cohort add makes one; check --home"
        )
    return SiteHome(folder.absolute())


def open_or_make_site_home(folder: Path) -> SiteHome:
    """Open a site's home, or make one with keys of its own.

    Raises:
        ConfigurationError: Its key is gone though there are cohorts: another key would put every
            patient into another split.
    """
    folder = folder.absolute()
    key_file = folder / "split.key"
    if not key_file.exists() and any(folder.glob("cohorts/*/snapshots/*.json")):
        raise ConfigurationError(f"{key_file} is missing", hint="restore it from the backup")
    return create_site_home(folder, split_key=secrets.token_bytes(32))


@contextlib.contextmanager
def opened_index(home: SiteHome, name: str) -> Iterator[DicomIndex]:
    """Open a cohort's index, and close it."""
    path = CohortFolder(home, name).index_file
    with DicomIndex.open(path, pseudonym_key=home.pseudonym_key()) as index:
        yield index


def scan_source(
    home: SiteHome,
    registration: CohortRegistration,
    index: DicomIndex,
    progress: Progress | None = None,
) -> None:
    """Bring the index up to date.

    Raises:
        CohortError: `E_SOURCE_UNREADABLE`: nothing can be listed, or there is no image at all.
    """
    with contextlib.closing(registration.open_store(home.cache)) as store:
        store.scan(index, progress)
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
) -> Kept:
    """Match all lines, and keep the outcome if it differs from the newest snapshot.

    Args:
        home: The site's.
        registration: Of the cohort.
        table: Its label file.
        index: Its headers.
        quarantine: What a check just saw; None takes what the last check wrote.
    """
    record = SplitRecord.of_home(home)
    with record.changing():
        newest = _newest_if_whole(home, registration.name)
        snapshot, selection = _built(home, registration, table, index, record, quarantine)
        not_dicom = index.counts().not_dicom
        if newest is not None and newest.fingerprint == snapshot.fingerprint:
            same = dataclasses.replace(snapshot, number=newest.number)
            return Kept(same, is_new=False, not_dicom=not_dicom)
        record.add(selection.splits)
        write_snapshot(home, snapshot)
    return Kept(snapshot, is_new=True, not_dicom=not_dicom)


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
        excluded=excluded_patients(home),
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
