"""A cohort as one job sees it: memory-mapped arrays, built once and kept below the site's cache.

A view is a folder named by its fingerprint, which also tells what it lacks (`view_builder`). It is
built beside its place under a lock and renamed when whole, so builders of one view wait for each
other, and whatever a crash left is built anew. On opening, every file must still have the size and
SHA-256 that the index gives. While a `JobView` is alive nobody takes its folder away
(`view_folders`).
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.open_source import open_source
from fedward_client.cohorts.source import SPLITS, Split, Unit
from fedward_client.cohorts.views.view_fingerprint import fingerprint_of
from fedward_client.cohorts.views.view_folders import (
    INDEX_FILE,
    HeldView,
    folder_of_order,
    only_builder,
)
from fedward_common.annotation import NOT_ANNOTATED
from fedward_common.atomic_files import full_disk_named, sync_folder, verify_file
from fedward_common.errors import CorruptFileError
from fedward_common.job.job_file import DataSection, TaskSection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedward_client.cohorts.views.view_builder import ViewOrder

_PRIVATE_FOLDER = 0o700


@dataclass(frozen=True, eq=False)
class JobView:
    """The usable cases of a cohort, n of them, as arrays; patients are numbers.

    Args:
        folder: Where the arrays lie.
        unit: What a patient number stands for.
        images: Shape (n, channels, *image_size), read-only memory map.
        masks: Class ids or `NOT_ANNOTATED_VOXEL`, shape (n, *image_size), read-only memory map;
            None in classification.
        labels: Class ids, shape (n,), of int64; `NOT_ANNOTATED` where a case has none. In a
            multi-label task 1, 0 or `NOT_ANNOTATED` for each class, shape (n, num_classes), of
            int8. In segmentation 0, or `NOT_ANNOTATED` where no voxel of the mask is annotated.
        patients: Patient number of each case, shape (n,).
        splits: Place in `SPLITS` of each case, shape (n,).
        exclusions: Number of cases left out, by code.
        excluded_lines: Code -> (place of the source, line of its manifest), at most 20 a code.
        num_partly_annotated: Number of cases with any label or voxel that is not annotated.
        pseudonyms: Keyed pseudonym of each case's patient, shape (n, 16).
        withdrawn: Pseudonyms of the patients that `without` left out.
        is_left_out: Of each case, shape (n,); None where nobody is left out.
        held: Keeps the folder in its place.
    """

    folder: Path
    unit: Unit
    images: "NDArray[np.float32]"
    masks: "NDArray[np.uint8] | None"
    labels: "NDArray[np.int64] | NDArray[np.int8]"
    patients: "NDArray[np.int64]" = field(repr=False)
    splits: "NDArray[np.uint8]" = field(repr=False)
    exclusions: dict[str, int]
    excluded_lines: Mapping[str, Sequence[tuple[int, int]]]
    num_partly_annotated: int
    pseudonyms: "NDArray[np.uint8]" = field(repr=False)
    withdrawn: frozenset[bytes] = field(default=frozenset(), repr=False)
    is_left_out: "NDArray[np.bool_] | None" = field(default=None, repr=False)
    held: HeldView | None = field(default=None, repr=False)

    def without(self, withdrawn: frozenset[bytes]) -> "JobView":
        """Give the same view in which these patients, and no others, are in no split.

        Places in the arrays and patient numbers stay, so everybody else is sampled as before.
        """
        from fedward_client.cohorts.registered.withdrawal import cases_of_patients

        left_out = cases_of_patients(self.pseudonyms, self.patients, withdrawn)
        return replace(self, withdrawn=withdrawn, is_left_out=left_out if left_out.any() else None)

    def indices(self, split: Split) -> "NDArray[np.int64]":
        """Give the places of a split's cases, ascending, without those left out."""
        import numpy as np

        is_wanted = self.splits == SPLITS.index(split)
        if self.is_left_out is not None:
            is_wanted &= ~self.is_left_out
        return np.flatnonzero(is_wanted).astype(np.int64)

    def annotated_indices(self, split: Split) -> "NDArray[np.int64]":
        """Give the places of a split's cases that have any label at all, ascending."""
        places = self.indices(split)
        if not self.num_partly_annotated:
            return places
        known = self.labels[places] != NOT_ANNOTATED
        annotated: NDArray[np.int64] = places[known if known.ndim == 1 else known.any(axis=1)]
        return annotated

    def cases_by_patient(self, split: Split) -> "list[NDArray[np.int64]]":
        """Give each patient's places in the arrays; patients in the order of their numbers.

        Cases without any label, which neither train nor count in a metric, are left out.
        """
        import numpy as np

        places = self.annotated_indices(split)
        if not places.size:
            return []
        places = places[np.argsort(self.patients[places], kind="stable")]
        starts = np.flatnonzero(np.diff(self.patients[places])) + 1
        return list(np.split(places, starts))

    def num_patients(self, split: Split) -> int:
        """Count the split's patients that have a label."""
        return len(self.cases_by_patient(split))

    def num_cases(self, split: Split) -> int:
        """Count the split's cases, those without a label too."""
        return int(self.indices(split).size)


def prepare_job_view(
    cache_folder: Path,
    sources: Sequence[SourceSettings],
    task: TaskSection,
    data: DataSection,
    split_key: bytes,
    progress: Callable[[int, int], None] | None = None,
    *,
    require_room: Callable[[int], None] | None = None,
) -> JobView:
    """Open the view of a cohort for a job; build it first if it is not there or not whole.

    Args:
        cache_folder: Nothing is written elsewhere.
        sources: At least one, with absolute paths.
        task: The job's task.
        data: The job's data section.
        split_key: Secret of the site; the same key gives the same splits.
        progress: Called while building, with the number of cases done and of all.
        require_room: Called before building, with the bytes that the view may take; may refuse.

    Raises:
        ConfigurationError: A manifest or the labels do not fit the task.
        CohortError: `E_COHORT_EMPTY`, `E_TOO_MANY_EXCLUDED`, `E_SOURCE_UNREADABLE`.
        DiskFullError: No space in the cache; what is half built is taken away.
    """
    from fedward_client.cohorts.views.view_builder import VIEW_VERSION, ViewOrder

    with ExitStack() as stack:
        opened = []
        for one in sources:
            opened.append(open_source(one, task, data))
            stack.callback(opened[-1].close)
        fingerprint = fingerprint_of(sources, opened, task, data, split_key, VIEW_VERSION)
        with contextlib.suppress(CorruptFileError):
            return open_job_view(folder_of_order(cache_folder, fingerprint))
        order = ViewOrder(sources, opened, task, data, split_key, require_room)
        with full_disk_named(cache_folder / fingerprint):
            cache_folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            with only_builder(cache_folder, fingerprint):
                with contextlib.suppress(CorruptFileError):  # another builder was faster
                    return open_job_view(folder_of_order(cache_folder, fingerprint))
                return open_job_view(_build_in_place(cache_folder, fingerprint, order, progress))


def _build_in_place(
    cache_folder: Path,
    fingerprint: str,
    order: "ViewOrder",
    progress: Callable[[int, int], None] | None,
) -> Path:
    """Build beside the view's place and rename; a damaged view goes, its open maps stay valid."""
    from fedward_client.cohorts.views.view_builder import build_view

    half_built = cache_folder / f".{fingerprint}.building"
    for useless in (half_built, folder_of_order(cache_folder, fingerprint)):
        shutil.rmtree(useless, ignore_errors=True)
    half_built.mkdir(mode=_PRIVATE_FOLDER)
    try:
        folder = cache_folder / build_view(half_built, fingerprint, order, progress)
        sync_folder(half_built)
        shutil.rmtree(folder, ignore_errors=True)
        half_built.rename(folder)
        sync_folder(cache_folder)
    except BaseException:
        shutil.rmtree(half_built, ignore_errors=True)
        raise
    return folder


def open_job_view(folder: Path) -> JobView:
    """Open a view that was built.

    Raises:
        CorruptFileError: It is not there, or anything in it is not what was written.
    """
    from fedward_client.cohorts.views.view_builder import VIEW_VERSION

    try:
        held = HeldView(folder)
        index = json.loads((folder / INDEX_FILE).read_bytes())
        if index["version"] != VIEW_VERSION or index["fingerprint"] != folder.name:
            raise _corrupt(folder)
        _verify_files(folder, index["files"])
        return replace(_view_of(folder, index), held=held)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _corrupt(folder) from error


def _corrupt(folder: Path) -> CorruptFileError:
    return CorruptFileError(
        f"{folder} holds no whole view", hint="it can be deleted and built anew"
    )


def _verify_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, written in files.items():
        path = folder / name
        if path.stat().st_size != written["bytes"]:  # cheaper than the hash, so first
            raise _corrupt(folder)
        verify_file(path, written["sha256"])


def _view_of(folder: Path, index: Mapping[str, Any]) -> JobView:
    arrays = {Path(name).stem: _map(folder / name) for name in index["files"]}
    if {len(array) for array in arrays.values()} != {index["num_cases"]}:
        raise _corrupt(folder)
    return JobView(
        folder=folder,
        unit=index["unit"],
        images=arrays["images"],
        masks=arrays.get("masks"),
        labels=arrays["labels"],
        patients=arrays["patients"],
        splits=arrays["splits"],
        pseudonyms=arrays["pseudonyms"],
        exclusions={str(code): int(n) for code, n in index["exclusions"].items()},
        excluded_lines={
            str(code): tuple((int(source), int(line)) for source, line in pairs)
            for code, pairs in index["excluded_lines"].items()
        },
        num_partly_annotated=int(index["num_partly_annotated"]),
    )


def _map(path: Path) -> "NDArray[Any]":
    import numpy as np

    return cast("NDArray[Any]", np.load(path, mmap_mode="r", allow_pickle=False))
