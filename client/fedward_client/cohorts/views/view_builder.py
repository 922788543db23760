"""Decode a cohort once into the arrays that a job trains on.

One case is in memory at a time. Excluded cases leave no hole. Nothing that names a patient is
written: patients are numbers, in the order of their keyed hashes.

What no decoder survives, twice, is left out like any bad file. But that may have been the machine,
and the next attempt may have the case: so the view's fingerprint says which cases were left out for
that, and a run goes on with the very cases it was accepted with.
"""

import io
import json
import math
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
from fedward_client.cohorts.preprocessing import fit_mask, prepare_image
from fedward_client.cohorts.registered.withdrawal import pseudonyms_of
from fedward_client.cohorts.source import (
    E_MASK_SHAPE,
    E_NON_FINITE_PIXELS,
    SPLITS,
    CohortSource,
    Label,
    UnusableCaseError,
)
from fedward_client.cohorts.views.npy_stream import NpyStream
from fedward_client.cohorts.views.view_fingerprint import fingerprint_without
from fedward_client.cohorts.views.view_folders import INDEX_FILE
from fedward_client.dicom.decode_process import DECODER_CODES
from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.atomic_files import sha256_of_file, write_atomically
from fedward_common.identities import Sha256Hex
from fedward_common.job.job_file import DataSection, TaskSection

if TYPE_CHECKING:
    from fedward_client.cohorts.source import FloatImage

VIEW_VERSION = 5

_COLUMN_BYTES = 64  # of a case in all columns, and more
_FILES, _BLOCK_BYTES = 7, 4096

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ViewOrder:
    """What to build a view from; `settings` and `sources` go in pairs."""

    settings: Sequence[SourceSettings]
    sources: Sequence[CohortSource]
    task: TaskSection
    data: DataSection
    split_key: bytes = field(repr=False)
    require_room: Callable[[int], None] | None = None


def build_view(
    folder: Path, fingerprint: str, order: ViewOrder, progress: Progress | None = None
) -> Sha256Hex:
    """Fill an empty folder with the view's arrays and, last, its index.

    Args:
        folder: Exists and is empty.
        fingerprint: Of what is ordered.
        order: What to build.
        progress: Called with the number of cases done and of all.

    Returns:
        The fingerprint of what was built; another where decoders did not survive a case.

    Raises:
        CohortError: `E_COHORT_EMPTY` or `E_TOO_MANY_EXCLUDED`; what `order.require_room` raises.
        OSError: The disk is full, among others.
    """
    tally = ExclusionTally(order.settings)
    planned = plan_cases(order.settings, order.sources, order.task.split, order.split_key, tally)
    tally.require_usable()
    if order.require_room is not None:
        order.require_room(_bytes_at_most(len(planned), order))
    kept, left_out = _decode_all(folder, order, planned, tally, progress)
    tally.require_usable()
    _write_columns(folder, kept, order)
    built = fingerprint_without(fingerprint, left_out)
    _write_index(folder, (fingerprint, built), order, tally, kept)
    return built


def _bytes_at_most(num_cases: int, order: ViewOrder) -> int:
    """Give what the view takes of the disk if no case is lost."""
    num_voxels = math.prod(order.data.image_size)
    mask_bytes = num_voxels if order.task.kind == "segmentation" else 0
    case_bytes = num_voxels * order.data.channels * 4 + mask_bytes + _COLUMN_BYTES
    return num_cases * case_bytes + _FILES * _BLOCK_BYTES


@dataclass(frozen=True)
class _KeptCase:
    """A case of the view with its label there, and whether any of its labels or voxels has none."""

    planned: PlannedCase
    label: Label
    partly_annotated: bool


def _decode_all(
    folder: Path,
    order: ViewOrder,
    planned: Sequence[PlannedCase],
    tally: ExclusionTally,
    progress: Progress | None,
) -> tuple[list[_KeptCase], list[tuple[int, int, str]]]:
    """Write images.npy and masks.npy.

    Returns:
        The cases that are in them, in order; source, line and image of those that decoders did not
        survive.
    """
    kept: list[_KeptCase] = []
    left_out: list[tuple[int, int, str]] = []
    reader = _CaseReader(order)
    with ExitStack() as stack:
        arrays = _open_arrays(stack, folder, order, len(planned))
        for number, one in enumerate(planned, start=1):
            try:
                image, mask = reader.read(one)
            except UnusableCaseError as error:
                tally.exclude(one.source, error.code, one.case.line)
                if error.code in DECODER_CODES:
                    left_out.append((one.source, one.case.line, one.case.image))
            else:
                rows: list[NDArray[Any]] = [image] if mask is None else [image, mask]
                for stream, row in zip(arrays, rows, strict=True):
                    stream.append(row)
                kept.append(_kept(one, mask))
            if progress is not None:
                progress(number, len(planned))
        for stream in arrays:
            stream.close()
    return kept, left_out


def _open_arrays(
    stack: ExitStack, folder: Path, order: ViewOrder, num_cases: int
) -> list[NpyStream]:
    """Open images.npy, and in segmentation masks.npy, with room for so many cases."""
    size = order.data.image_size
    arrays = [_open_stream(stack, folder, "images", (order.data.channels, *size), np.float32)]
    if order.task.kind == "segmentation":
        arrays.append(_open_stream(stack, folder, "masks", size, np.uint8))
    for stream in arrays:
        stream.reserve(num_cases)
    return arrays


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
        # A registered cohort's masks come in the job's classes.
        self._labels = [
            None if settings.source == "registered" else LabelMap(settings.labels, order.task)
            for settings in order.settings
        ]

    def read(self, planned: PlannedCase) -> tuple["FloatImage", NDArray[np.uint8] | None]:
        source, data = self._order.sources[planned.source], self._order.data
        image = source.read_image(planned.case)
        mask: NDArray[np.uint8] | None = None
        if self._order.task.kind == "segmentation":
            raw = source.read_mask(planned.case)
            if raw.shape != image.shape[1:]:
                raise UnusableCaseError(E_MASK_SHAPE)
            labels = self._labels[planned.source]
            classes = raw.astype(np.uint8) if labels is None else labels.mask_of(raw)
            mask = fit_mask(classes, data)
        prepared = prepare_image(image, data)
        if not np.isfinite(prepared).all():
            raise UnusableCaseError(E_NON_FINITE_PIXELS)
        return prepared, mask


def _kept(planned: PlannedCase, mask: NDArray[np.uint8] | None) -> _KeptCase:
    """Find out how far a case is annotated, in segmentation by its mask in the job's size."""
    if mask is None:
        label = planned.case.label
        labels = label if isinstance(label, tuple) else (label,)
        return _KeptCase(planned, label, NOT_ANNOTATED in labels)
    unknown = mask == NOT_ANNOTATED_VOXEL
    return _KeptCase(planned, NOT_ANNOTATED if unknown.all() else 0, bool(unknown.any()))


def _write_columns(folder: Path, kept: Sequence[_KeptCase], order: ViewOrder) -> None:
    """Write labels, patient numbers, patients' pseudonyms and splits of the kept cases."""
    planned = [one.planned for one in kept]
    code_of = {key: code for code, key in enumerate(sorted({p.unit_key for p in planned}))}
    patients = [code_of[p.unit_key] for p in planned]
    splits = [SPLITS.index(p.split) for p in planned]
    dtype = np.int8 if order.task.multi_label else np.int64
    _write_array(folder / "labels.npy", np.array([one.label for one in kept], dtype=dtype))
    _write_array(folder / "patients.npy", np.array(patients, dtype=np.int64))
    pseudonyms = pseudonyms_of(planned, order.settings, order.split_key)
    _write_array(folder / "pseudonyms.npy", pseudonyms)
    _write_array(folder / "splits.npy", np.array(splits, dtype=np.uint8))


def _write_array(path: Path, array: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomically(path, buffer.getbuffer())


def _write_index(
    folder: Path,
    ordered_and_built: tuple[str, str],
    order: ViewOrder,
    tally: ExclusionTally,
    kept: Sequence[_KeptCase],
) -> None:
    ordered, built = ordered_and_built
    index: Mapping[str, Any] = {
        "version": VIEW_VERSION,
        "fingerprint": built,
        "ordered": ordered,
        "snapshots": [one.cohort for one in order.settings if one.source == "registered"],
        "unit": weakest_unit(order.sources),
        "num_cases": len(kept),
        "num_partly_annotated": sum(one.partly_annotated for one in kept),
        "exclusions": sorted_counts(tally.counts),
        "excluded_lines": {code: tally.lines[code] for code in sorted(tally.lines)},
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
            for path in sorted(folder.glob("*.npy"))
        },
    }
    write_atomically(folder / INDEX_FILE, json.dumps(index, indent=1).encode())
