"""A snapshot of a registered cohort as a source: its cases, and arrays from the native cache.

What the cache lacks is decoded when the first array is asked for, all cases in parallel. Patients
who were excluded since the snapshot was made are no cases, and nothing of them is decoded. Where a
case is lost for a reason that may pass, no array is given at all, so that nobody keeps the others
as if they were the cohort.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fedward_client.cohorts.cache.native_cache import open_native_cache
from fedward_client.cohorts.cache.native_decoding import (
    DECODING,
    E_FILE_UNREADABLE,
    E_MASK_NOT_FOUND,
    decode_cases,
    find_array,
    is_decoded,
)
from fedward_client.cohorts.cache.native_index import CacheEntry, Role
from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.exclusions import sorted_counts
from fedward_client.cohorts.passing_codes import PASSING_CODES
from fedward_client.cohorts.pixel_arrays import channels_first, whole_numbers
from fedward_client.cohorts.registered.class_mapping import ClassMapping
from fedward_client.cohorts.registered.excluded_patients import excluded_patients
from fedward_client.cohorts.registered.registration import read_registration
from fedward_client.cohorts.registered.snapshot import Snapshot, SnapshotCase
from fedward_client.cohorts.registered.snapshot_store import read_snapshot
from fedward_client.cohorts.source import (
    E_IMAGE_SHAPE,
    E_SOURCE_UNREADABLE,
    EXCLUDED_BY_REQUEST,
    Case,
    CaseList,
    Exclusion,
    Unit,
    UnusableCaseError,
)
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome
from fedward_common.errors import CohortError, CorruptFileError
from fedward_common.job.job_file import DataSection, TaskSection

if TYPE_CHECKING:
    from fedward_client.cohorts.source import FloatImage, IntegerMask
    from fedward_client.dicom.decode_pool import DecodePool

_MAX_DECODERS = 4
_ATTEMPTS = 2


class RegisteredSource:
    """The cases of `settings.cohort`, a snapshot `NAME@k` or the newest of `NAME`.

    Raises:
        ConfigurationError: There is no such cohort or snapshot.
        CohortError: `E_TASK_MISMATCH`.
    """

    def __init__(self, settings: SourceSettings, task: TaskSection, data: DataSection) -> None:
        self._home = SiteHome(Path(settings.path))
        self._snapshot = read_snapshot(self._home, settings.cohort)
        self._registration = read_registration(self._home, self._snapshot.name)
        self._classes = ClassMapping(
            self._registration.task,
            self._snapshot.class_names,
            dict(self._snapshot.mask_values),
            task,
        )
        self._spatial_dims = data.spatial_dims
        self._cache = open_native_cache(self._home)
        self._pool: DecodePool | None = None

    @property
    def unit(self) -> Unit:
        """What `Case.patient` stands for."""
        return self._snapshot.unit

    @property
    def fingerprint(self) -> str:
        """Of all that decides what is trained on; it stands for the files' states."""
        return f"{self._snapshot.fingerprint} decoding {DECODING}"

    def cases(self) -> CaseList:
        """List the snapshot's cases without excluded patients; why the others are not in it."""
        present = {case.case_id for case in self._present}
        cases = [self._case_of(case) for case in self._present]
        gone = [
            Exclusion(EXCLUDED_BY_REQUEST, case.line)
            for case in self._snapshot.cases
            if case.case_id not in present
        ]
        return CaseList(tuple(cases), (*self._never_were_cases(), *gone))

    def files(self) -> Iterator[Path]:
        """Give nothing: the snapshot's fingerprint stands for its files."""
        return iter(())

    def read_image(self, case: Case) -> "FloatImage":
        """Give the pixels, shape (channels, *spatial), resampled where the cohort says so."""
        one = self._case_by_id[case.image]
        self._require_dims(one)
        array, entry = self._array(one, "image")
        if self._spacing_mm is not None:
            from fedward_client.dicom.resampling import resampled_volume

            array, _ = resampled_volume(array, _grid_of(entry), self._spacing_mm)
        return channels_first(array, self._spatial_dims)

    def read_mask(self, case: Case) -> "IntegerMask":
        """Give the job's class ids, or `NOT_ANNOTATED_VOXEL`, shape (*spatial)."""
        one = self._case_by_id[case.image]
        self._require_dims(one)
        if one.mask is None:
            raise UnusableCaseError(E_MASK_NOT_FOUND)
        array, entry = self._array(one, "mask")
        if self._spacing_mm is not None:
            from fedward_client.dicom.resampling import resampled_mask

            array, _ = resampled_mask(array, _grid_of(entry), self._spacing_mm)
        values = whole_numbers(array, self._spatial_dims)
        return self._classes.mask_of(values, is_drawn=bool(one.mask.meanings))

    def close(self) -> None:
        """End the decoders."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _case_of(self, case: SnapshotCase) -> Case:
        label = self._classes.label_of(case.label)
        mask = None if case.mask is None else case.case_id
        return Case(case.patient, label, case.split, case.case_id, mask, case.line)

    def _never_were_cases(self) -> Iterator[Exclusion]:
        """Give one code a line of the label file that came to nothing."""
        usable = {case.line for case in self._snapshot.cases}
        told: set[int] = set()
        for finding in self._snapshot.findings:
            line = finding.line
            if line is None or line in usable or line in told or finding.code.startswith("W_"):
                continue
            told.add(line)
            yield Exclusion(finding.code, line)

    def _require_dims(self, case: SnapshotCase) -> None:
        if (3 if case.kind == "series" else 2) != self._spatial_dims:
            raise UnusableCaseError(E_IMAGE_SHAPE)

    def _array(self, case: SnapshotCase, role: Role) -> tuple[NDArray[Any], CacheEntry]:
        code = self._codes.get(case.case_id)
        for _ in range(_ATTEMPTS):
            if code is not None:
                raise UnusableCaseError(code)
            entry = find_array(self._cache, case, role)
            if entry is not None:
                try:
                    return self._cache.read(entry), entry
                except CorruptFileError:
                    self._cache.forget(entry)
            code = self._decode([case]).get(case.case_id)
        raise _lost_for_now(self._snapshot, {E_FILE_UNREADABLE: 1})  # the cache cannot be read

    @cached_property
    def _present(self) -> Sequence[SnapshotCase]:
        excluded = excluded_patients(self._home)
        if not excluded:
            return self._snapshot.cases
        key = self._home.pseudonym_key()
        return [
            case
            for case in self._snapshot.cases
            if pseudonym(key, "patient", case.patient) not in excluded
        ]

    @cached_property
    def _case_by_id(self) -> dict[str, SnapshotCase]:
        return {case.case_id: case for case in self._snapshot.cases}

    @cached_property
    def _spacing_mm(self) -> tuple[float, float, float] | None:
        return self._registration.spacing_mm if self._spatial_dims == 3 else None

    @cached_property
    def _codes(self) -> dict[str, str]:
        """Decode all that is missing, once, and say what can never be."""
        return self._decode(self._present)

    def _decode(self, cases: Sequence[SnapshotCase]) -> dict[str, str]:
        missing = [case for case in cases if not is_decoded(self._cache, case)]
        if not missing:
            return {}
        with contextlib.closing(self._registration.open_store(self._home.cache)) as store:
            outcomes = list(decode_cases(self._cache, missing, store, self._decoders()))
        codes = {one.case_id: one.code for one in outcomes if one.code is not None}
        passing = Counter(code for code in codes.values() if code in PASSING_CODES)
        if passing:
            raise _lost_for_now(self._snapshot, passing)
        return codes

    def _decoders(self) -> "DecodePool":
        from fedward_client.dicom.decode_pool import DecodePool

        if self._pool is None:
            self._pool = DecodePool(num_workers=min(_MAX_DECODERS, os.cpu_count() or 1))
        return self._pool


def _lost_for_now(snapshot: Snapshot, counts: Mapping[str, int]) -> CohortError:
    told = ", ".join(f"{code} {number}" for code, number in sorted_counts(counts).items())
    return CohortError(
        f"{snapshot.full_name}: cases cannot be read now: {told}",
        hint="see that folder or server is there; if they are gone or bad for good, "
        f"fedward-site cohort check {snapshot.name} makes a snapshot without them",
        code=E_SOURCE_UNREADABLE,
    )


def _grid_of(entry: CacheEntry) -> Any:
    from fedward_client.dicom.volume_grid import grid_of

    slices, rows, columns = entry.shape[:3]
    facts = entry.facts
    return grid_of(
        (slices, rows, columns), facts["spacing_mm"], facts["origin_mm"], facts["direction"]
    )
