"""From stored numbers to the values of the modality, and from there to a picture; pure functions.

What the data set says once holds for all frames; in an enhanced multi-frame one, the functional
groups say it for each frame (PS3.3 section C.7.6.16).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.pixel_format import PixelFormat

E_RESCALE_INVALID = "E_RESCALE_INVALID"


@dataclass(frozen=True)
class Rescale:
    """value = stored * slope + intercept; the slope is finite and not zero."""

    slope: float
    intercept: float

    @property
    def gives_whole_numbers(self) -> bool:
        """Whether whole numbers stay whole."""
        return self.slope.is_integer() and self.intercept.is_integer()

    def inverted(self, stored_range: tuple[int, int]) -> "Rescale":
        """Give the rescale that also turns the stored range upside down."""
        return Rescale(-self.slope, self.slope * sum(stored_range) + self.intercept)


def group_of(dataset: Any, frame: int, keyword: str) -> Any:
    """Give the item that holds for one frame: its own, the one all share, or the data set."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (per_frame[frame : frame + 1], shared[:1]):
        items = groups[0].get(keyword) if groups else None
        if items:
            return items[0]
    return dataset


def rescale_of(dataset: Any, frame: int = 0) -> Rescale:
    """Give the linear modality transform of one frame; 1 and 0 where nothing is said.

    Raises:
        UnusableCaseError: `E_RESCALE_INVALID`: zero slope, not finite, no number, or one alone.
    """
    item = group_of(dataset, frame, "PixelValueTransformationSequence")
    try:
        slope, intercept = item.get("RescaleSlope"), item.get("RescaleIntercept")
        if slope is None and intercept is None:
            return Rescale(1.0, 0.0)
        found = Rescale(float(slope), float(intercept))
    except (ArithmeticError, TypeError, ValueError):
        raise UnusableCaseError(E_RESCALE_INVALID) from None
    if not math.isfinite(found.slope) or not math.isfinite(found.intercept) or found.slope == 0:
        raise UnusableCaseError(E_RESCALE_INVALID)
    return found


def modality_values(
    stored: NDArray[Any], dataset: Any, frame: int, layout: PixelFormat
) -> NDArray[Any]:
    """Give one grey frame's values after the modality transform, bright always high.

    MONOCHROME1 is turned upside down within its stored range, before the transform; behind a
    modality table within the range of the table.
    """
    inverse = layout.photometric == "MONOCHROME1"
    table = dataset.get("ModalityLUTSequence")
    if table:
        values, highest = looked_up(stored, table[0], layout.little_endian)
        return highest - values if inverse else values
    rescale = rescale_of(dataset, frame)
    if inverse:
        middle = (0, 0) if stored.dtype.kind == "f" else layout.stored_range
        rescale = rescale.inverted(middle)
    return rescaled(stored, rescale)


def rescaled(stored: NDArray[Any], rescale: Rescale) -> NDArray[Any]:
    """Give whole numbers where slope and intercept are whole, else float32."""
    if stored.dtype.kind == "f" or not rescale.gives_whole_numbers:
        return (stored * np.float64(rescale.slope) + rescale.intercept).astype(np.float32)
    slope, intercept = int(rescale.slope), int(rescale.intercept)
    numbers = [slope, intercept]
    for end in (int(stored.min()), int(stored.max())):
        numbers += [end, end * slope, end * slope + intercept]
    dtype = smallest_type(min(numbers), max(numbers))  # nothing on the way overflows
    return narrowed(stored.astype(dtype) * dtype.type(slope) + dtype.type(intercept))


def narrowed(values: NDArray[Any]) -> NDArray[Any]:
    """Give whole numbers as int16 where they fit, else int32 or int64; the rest as float32."""
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    return values.astype(smallest_type(int(values.min()), int(values.max())), copy=False)


def smallest_type(low: int, high: int) -> np.dtype[Any]:
    """Give the first of int16, int32, int64 and float32 that holds both ends."""
    for whole in (np.int16, np.int32, np.int64):
        limits = np.iinfo(whole)
        if limits.min <= low and high <= limits.max:
            return np.dtype(whole)
    return np.dtype(np.float32)


def looked_up(stored: NDArray[Any], table: Any, little_endian: bool) -> tuple[NDArray[Any], int]:
    """Put values through a table; those beyond its ends become its ends (PS3.3 section C.11.1.1).

    Returns:
        The values, and the highest that an entry's bits can say.
    """
    num_entries, first, bits = (int(value) for value in table.LUTDescriptor)
    num_entries = num_entries or 1 << 16
    data = table.LUTData
    if isinstance(data, bytes):
        width = 1 if len(data) == num_entries and bits <= 8 else 2
        data = np.frombuffer(data, dtype=f"{'<' if little_endian else '>'}u{width}")
    entries = np.asarray(data, dtype=np.int32)[:num_entries]
    if len(entries) < num_entries or not 1 <= bits <= 16:
        raise ValueError("no such table")
    offset = np.floor(stored.astype(np.float64)) - first
    return entries[np.clip(offset, 0, num_entries - 1).astype(np.int64)], (1 << bits) - 1


def padding_mask(stored: NDArray[Any], dataset: Any, layout: PixelFormat) -> NDArray[Any] | None:
    """Say where there is padding instead of image (PS3.3 section C.7.5.1.1.2); None if nowhere."""
    keyword = {
        "PixelData": "PixelPaddingValue",
        "FloatPixelData": "FloatPixelPaddingValue",
        "DoubleFloatPixelData": "DoubleFloatPixelPaddingValue",
    }[layout.keyword]
    limit_keyword = keyword.replace("Value", "RangeLimit")
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return None
        other = dataset.get(limit_keyword)
        ends = [_as_stored(end, layout) for end in (value, value if other is None else other)]
    except (ArithmeticError, TypeError, ValueError):
        return None  # no number names no pixel
    found = (stored >= min(ends)) & (stored <= max(ends))
    return found if found.any() else None


def _as_stored(value: Any, layout: PixelFormat) -> float:
    """Some write the padding of signed pixels as the unsigned number of the same bits."""
    number = float(value)
    if layout.keyword == "PixelData" and layout.signed and number > layout.stored_range[1]:
        number -= 1 << layout.bits_allocated
    return number


def without_padding(values: NDArray[Any], padding: NDArray[Any] | None) -> NDArray[Any]:
    """Give padding the smallest value of the rest; all padding stays as it is."""
    if padding is None or padding.all():
        return values
    return np.where(padding, values[~padding].min(), values)
