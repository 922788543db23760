"""Every way in which a CT series is no volume, each as one series of a phantom patient."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fedward_common.dicom_writing.encoded_files import file_bytes
from fedward_common.dicom_writing.identifiers import derived_uid
from fedward_common.dicom_writing.images import decimal_string
from fedward_server.simulation.phantom_ct import draw_volume
from fedward_server.simulation.phantom_faults import FaultBook
from fedward_server.simulation.phantom_files import (
    CLASS_NAMES,
    Drawn,
    LabelRow,
    as_multi_frame,
    ct_drawn,
    mask_object,
    phantom_patient,
    phantom_study,
)
from fedward_server.simulation.phantom_hospitals import Hospital

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NUM_SLICES = 12
_TILT_DEGREES = 15.0

Slices: TypeAlias = "list[Dataset]"


def add_ct_faults(book: FaultBook, hospital: Hospital, image_size: int, seed: int) -> None:
    """Write every fault of series into the archive and the label file."""
    drawn = _series(hospital, image_size, seed)
    for code, spoil in _SPOILED.items():
        _add(book, next(drawn), spoil)
        book.expect(code)
    for fault in _FAULTS:
        fault(book, drawn)


def _series(hospital: Hospital, image_size: int, seed: int) -> Iterator[Drawn]:
    rng = np.random.default_rng([seed, len(hospital.name), 78])
    height = _NUM_SLICES * hospital.ct.scanner.slice_spacing_mm
    number = 0
    while True:
        number += 1
        patient = phantom_patient(f"{hospital.short_name}-ct-q", number)
        volume = draw_volume(
            hospital.ct.scanner, ill=True, image_size=image_size, rng=rng, height_mm=height
        )
        yield ct_drawn(hospital.ct, patient, phantom_study(seed, patient, 0), volume)


def _add(book: FaultBook, drawn: Drawn, spoil: Callable[[Slices], Slices]) -> None:
    spoiled = spoil([copy.deepcopy(ds) for ds in drawn.images])
    book.archive.add(dataclasses.replace(drawn, images=tuple(spoiled)))
    book.rows.append(drawn.row("ct", 1, "train"))


def _without_one(slices: Slices) -> Slices:
    return [ds for place, ds in enumerate(slices) if place != _NUM_SLICES // 2]


def _tilted(slices: Slices) -> Slices:
    """Turn the picture planes about the x axis, while the table moves along z."""
    angle = np.radians(_TILT_DEGREES)
    for ds in slices:
        cosines = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle)))
        ds.ImageOrientationPatient = [decimal_string(value) for value in cosines]
    return slices


def _two_phases(slices: Slices) -> Slices:
    """Show each place twice, before and after contrast, as scanners that mix phases do."""
    late = [_copied(ds, "late") for ds in slices]
    for phase, series in enumerate((slices, late), start=1):
        for ds in series:
            ds.AcquisitionNumber = phase
            ds.TemporalPositionIdentifier = phase
            ds.NumberOfTemporalPositions = 2
            ds.AcquisitionTime = f"1000{phase:02}"
    return [ds for pair in zip(slices, late, strict=True) for ds in pair]


def _with_localizer(slices: Slices) -> Slices:
    scout = _copied(slices[0], "scout")
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    return [scout, *slices]


def _place_twice(slices: Slices) -> Slices:
    again = _copied(slices[3], "again")
    again.PixelData = slices[4].PixelData
    return [*slices, again]


def _uneven(slices: Slices) -> Slices:
    spacing = float(slices[0].SpacingBetweenSlices)
    for place, ds in enumerate(slices):
        x, y, z = (float(value) for value in ds.ImagePositionPatient)
        moved = z + 0.4 * spacing * (place % 2)
        ds.ImagePositionPatient = [decimal_string(value) for value in (x, y, moved)]
    return slices


def _other_size(slices: Slices) -> Slices:
    last = slices[-1]
    last.PixelData = 2 * bytes(last.PixelData)
    last.Rows = 2 * int(last.Rows)
    return slices


def _without_place(slices: Slices) -> Slices:
    for ds in slices:
        del ds.ImagePositionPatient
    return slices


def _emptied(slices: Slices) -> Slices:
    for ds in slices:
        del ds.PixelData
    return slices


def _only_one(slices: Slices) -> Slices:
    return slices[:1]


_SPOILED: dict[str, Callable[[Slices], Slices]] = {
    "E_MISSING_SLICE": _without_one,
    "E_GANTRY_TILT": _tilted,
    "E_MIXED_PHASES": _two_phases,
    "E_LOCALIZER": _with_localizer,
    "E_DUPLICATE_POSITION": _place_twice,
    "E_IRREGULAR_SPACING": _uneven,
    "E_SERIES_MIXED": _other_size,
    "E_NO_GEOMETRY": _without_place,
    "E_SERIES_EMPTY": _emptied,
    "E_TOO_FEW_SLICES": _only_one,
}


def _copied(ds: "Dataset", purpose: str) -> "Dataset":
    twin = copy.deepcopy(ds)
    twin.SOPInstanceUID = derived_uid(ds.SOPInstanceUID, purpose)
    return twin


def _damaged_slice(book: FaultBook, drawn: Iterator[Drawn]) -> None:
    """Cut one file of a series short: the series is lost, the cohort is not."""
    series = next(drawn)
    book.whole(series, 1)
    damaged = series.images[_NUM_SLICES // 2]
    content = file_bytes(damaged, series.encoding)
    book.archive.add_bytes(damaged, content[: -len(content) // 4])
    book.expect("E_IMAGE_UNREADABLE")


def _line_without_series(book: FaultBook, drawn: Iterator[Drawn]) -> None:
    uid = derived_uid("never made", book.archive.folder.parent.name)
    book.rows.append(LabelRow(uid, "lesion", "train", uid))
    book.expect("E_SERIES_NOT_FOUND")


def _mask_of_another(book: FaultBook, drawn: Iterator[Drawn]) -> None:
    one, other = next(drawn), next(drawn)
    own = book.whole(one, 1)
    row = book.whole(other, 1)
    book.rows[-1] = dataclasses.replace(row, mask=own.mask)
    book.expect("E_MASK_REFERENCE", tasks=("segmentation",))


def _mask_missing(book: FaultBook, drawn: Iterator[Drawn]) -> None:
    row = book.whole(next(drawn), 1)
    book.rows[-1] = dataclasses.replace(row, mask=derived_uid(row.mask, "never made"))
    book.expect("E_MASK_NOT_FOUND", tasks=("segmentation",))


def _mask_is_an_image(book: FaultBook, drawn: Iterator[Drawn]) -> None:
    series = next(drawn)
    row = book.whole(series, 1)
    book.rows[-1] = dataclasses.replace(row, mask=str(series.images[0].SOPInstanceUID))
    book.expect("E_MASK_UNREADABLE", tasks=("segmentation",))


def _mask_between_voxels(book: FaultBook, drawn: Iterator[Drawn]) -> None:
    """Draw the mask on images that lie a third of a pixel beside these."""
    series = next(drawn)
    beside = [copy.deepcopy(ds) for ds in series.images]
    for ds in beside:
        x, y, z = (float(value) for value in ds.ImagePositionPatient)
        moved = x + float(ds.PixelSpacing[1]) / 3
        ds.ImagePositionPatient = [decimal_string(value) for value in (moved, y, z)]
    seg = mask_object(beside, series.patient, series.study, series.mask)
    book.whole(dataclasses.replace(series, seg=seg), 1)
    book.expect("E_MASK_GEOMETRY", tasks=("segmentation",))


def _mask_with_overlap(book: FaultBook, drawn: Iterator[Drawn]) -> None:
    """Let two segments claim the same voxels, so that no class is right."""
    series = next(drawn)
    halves = np.zeros_like(series.mask)
    middle = halves.shape[2] // 2
    halves[_NUM_SLICES // 2, :, :middle] = 1
    halves[_NUM_SLICES // 2, :, middle:] = 2
    names = (*CLASS_NAMES, "vessel")
    seg = mask_object(series.images, series.patient, series.study, halves, names)
    seg.PixelData = b"\xff" * len(seg.PixelData)  # now each is everywhere
    book.whole(dataclasses.replace(series, seg=seg), 1)
    book.expect("E_MASK_VALUE", tasks=("segmentation",))


def _enhanced(book: FaultBook, drawn: Iterator[Drawn]) -> None:
    """Add a series as one multi-frame file, frames out of order: no fault, and to be read right."""
    order = [int(place) for place in np.random.default_rng(5).permutation(_NUM_SLICES)]
    book.whole(as_multi_frame(next(drawn), order), 1)


_FAULTS: tuple[Callable[[FaultBook, Iterator[Drawn]], None], ...] = (
    _damaged_slice,
    _line_without_series,
    _mask_of_another,
    _mask_missing,
    _mask_is_an_image,
    _mask_between_voxels,
    _mask_with_overlap,
    _enhanced,
)
