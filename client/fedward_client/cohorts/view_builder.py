"""Decode a cohort once into the arrays that a job trains on.

One case is in memory at a time. Excluded cases leave no hole. Nothing that names a patient is
written: patients are numbers, in the order of their keyed hashes.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.case_plan import PlannedCase, plan_cases, weakest_unit
from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.exclusions import ExclusionTally, sorted_counts
from fedward_client.cohorts.labels import LabelMap
from fedward_client.cohorts.npy_stream import NpyStream
from fedward_client.cohorts.preprocessing import fit_mask, prepare_image
from fedward_client.cohorts.source import (
    E_MASK_SHAPE,
    E_NON_FINITE_PIXELS,
    SPLITS,
    CohortSource,
    UnusableCaseError,
)
from fedward_common.atomic_files import sha256_of_file, write_atomically
from fedward_common.job.job_file import DataSection, TaskSection

if TYPE_CHECKING:
    from fedward_client.cohorts.source import FloatImage

INDEX_FILE = "index.json"
VIEW_VERSION = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ViewOrder:
    """What to build a view from; `settings` and `sources` go in pairs."""

    settings: Sequence[SourceSettings]
    sources: Sequence[CohortSource]
    task: TaskSection
    data: DataSection
    split_key: bytes = field(repr=False)


def build_view(
    folder: Path, fingerprint: str, order: ViewOrder, progress: Progress | None = None
) -> None:
    """Fill an empty folder with the view's arrays and, last, its index.

    Args:
        folder: Exists and is empty.
        fingerprint: Goes into the index.
        order: What to build.
        progress: Called with the number of cases done and of all.

    Raises:
        CohortError: `E_COHORT_EMPTY` or `E_TOO_MANY_EXCLUDED`.
        OSError: The disk is full, among others.
    """
    tally = ExclusionTally(order.settings)
    planned = plan_cases(order.settings, order.sources, order.task.split, order.split_key, tally)
    tally.require_usable()
    kept = _decode_all(folder, order, planned, tally, progress)
    tally.require_usable()
    _write_columns(folder, kept)
    _write_index(folder, fingerprint, order, tally, len(kept))


def _decode_all(
    folder: Path,
    order: ViewOrder,
    planned: Sequence[PlannedCase],
    tally: ExclusionTally,
    progress: Progress | None,
) -> list[PlannedCase]:
    """Write images.npy and masks.npy; give the cases that are in them, in order."""
    kept: list[PlannedCase] = []
    reader = _CaseReader(order)
    size = order.data.image_size
    with ExitStack() as stack:
        images = _open_stream(stack, folder, "images", (order.data.channels, *size), np.float32)
        masks = None
        if order.task.kind == "segmentation":
            masks = _open_stream(stack, folder, "masks", size, np.uint8)
        for number, one in enumerate(planned, start=1):
            try:
                image, mask = reader.read(one)
            except UnusableCaseError as error:
                tally.exclude(one.source, error.code, one.case.line)
            else:
                images.append(image)
                if masks is not None and mask is not None:
                    masks.append(mask)
                kept.append(one)
            if progress is not None:
                progress(number, len(planned))
        images.close()
        if masks is not None:
            masks.close()
    return kept


def _open_stream(
    stack: ExitStack, folder: Path, name: str, row_shape: tuple[int, ...], dtype: type[Any]
) -> NpyStream:
    stream = NpyStream(folder / f"{name}.npy", row_shape, dtype)
    stack.callback(stream.abandon)
    return stream


class _CaseReader:
    """Reads one case as the job sees it."""

    def __init__(self, order: ViewOrder) -> None:
        self._order = order
        self._labels = [LabelMap(settings.labels, order.task) for settings in order.settings]

    def read(self, planned: PlannedCase) -> tuple["FloatImage", NDArray[np.uint8] | None]:
        source, data = self._order.sources[planned.source], self._order.data
        image = source.read_image(planned.case)
        mask: NDArray[np.uint8] | None = None
        if self._order.task.kind == "segmentation":
            raw = source.read_mask(planned.case)
            if raw.shape != image.shape[1:]:
                raise UnusableCaseError(E_MASK_SHAPE)
            mask = fit_mask(self._labels[planned.source].mask_of(raw), data)
        prepared = prepare_image(image, data)
        if not np.isfinite(prepared).all():
            raise UnusableCaseError(E_NON_FINITE_PIXELS)
        return prepared, mask


def _write_columns(folder: Path, kept: Sequence[PlannedCase]) -> None:
    """Write labels, patient numbers and splits of the kept cases."""
    code_of = {key: code for code, key in enumerate(sorted({p.unit_key for p in kept}))}
    labels = [p.case.label or 0 for p in kept]
    patients = [code_of[p.unit_key] for p in kept]
    splits = [SPLITS.index(p.split) for p in kept]
    _write_array(folder / "labels.npy", np.array(labels, dtype=np.int64))
    _write_array(folder / "patients.npy", np.array(patients, dtype=np.int64))
    _write_array(folder / "splits.npy", np.array(splits, dtype=np.uint8))


def _write_array(path: Path, array: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomically(path, buffer.getbuffer())


def _write_index(
    folder: Path, fingerprint: str, order: ViewOrder, tally: ExclusionTally, num_cases: int
) -> None:
    index: Mapping[str, Any] = {
        "version": VIEW_VERSION,
        "fingerprint": fingerprint,
        "unit": weakest_unit(order.sources),
        "num_cases": num_cases,
        "exclusions": sorted_counts(tally.counts),
        "excluded_lines": {code: tally.lines[code] for code in sorted(tally.lines)},
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
            for path in sorted(folder.glob("*.npy"))
        },
    }
    write_atomically(folder / INDEX_FILE, json.dumps(index, indent=1).encode())
