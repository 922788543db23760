"""Grey values as a person would see them: through the VOI table or window of the header.

PS3.3 section C.11.2. Training never uses this, since windows differ by who saved the image.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedward_client.dicom.frame_values import group_of, looked_up, modality_values
from fedward_client.dicom.pixel_format import PixelFormat

VoiFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


@dataclass(frozen=True)
class Window:
    """Which values are shown between black and white."""

    center: float
    width: float
    function: VoiFunction = "LINEAR"


def window_of(dataset: Any, frame: int = 0) -> Window | None:
    """Give the first window of one frame; None where there is none that can be used."""
    item = group_of(dataset, frame, "FrameVOILUTSequence")
    function = str(item.get("VOILUTFunction") or "LINEAR").strip().upper()
    try:
        center, width = _first(item.get("WindowCenter")), _first(item.get("WindowWidth"))
    except (ArithmeticError, IndexError, TypeError, ValueError):
        return None
    if not math.isfinite(center) or not math.isfinite(width):
        return None
    if function == "LINEAR":
        return Window(center, width, "LINEAR") if width >= 1 else None
    if function == "LINEAR_EXACT":
        return Window(center, width, "LINEAR_EXACT") if width > 0 else None
    return Window(center, width, "SIGMOID") if function == "SIGMOID" and width > 0 else None


def windowed(values: NDArray[Any], window: Window) -> NDArray[np.float32]:
    """Show values between 0 (black) and 1 (white).

    Source: PS3.3 sections C.11.2.1.2 and C.11.2.1.3.
    """
    numbers = values.astype(np.float64)
    if window.function == "SIGMOID":
        with np.errstate(over="ignore"):
            shown = 1 / (1 + np.exp(-4 * (numbers - window.center) / window.width))
        return shown.astype(np.float32)
    center, width = window.center, window.width
    if window.function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (numbers > center).astype(np.float32)
    return np.clip((numbers - center) / width + 0.5, 0, 1).astype(np.float32)


def shown_values(
    stored: NDArray[Any],
    dataset: Any,
    frame: int,
    layout: PixelFormat,
    padding: NDArray[Any] | None,
) -> NDArray[np.float32]:
    """Show one grey frame between 0 (black) and 1 (white), MONOCHROME1 upside down.

    Raises:
        UnusableCaseError: As `modality_values`.
    """
    # windows are said of values that are not inverted yet
    upright = replace(layout, photometric="MONOCHROME2")
    values = modality_values(stored, dataset, frame, upright)
    table = group_of(dataset, frame, "FrameVOILUTSequence").get("VOILUTSequence")
    window = window_of(dataset, frame)
    if table:
        entries, highest = looked_up(values, table[0], layout.little_endian)
        shown = np.clip(entries / np.float32(highest), 0, 1).astype(np.float32)
    elif window is not None:
        shown = windowed(values, window)
    else:
        shown = _stretched(values, padding)
    return 1 - shown if layout.photometric == "MONOCHROME1" else shown


def _stretched(values: NDArray[Any], padding: NDArray[Any] | None) -> NDArray[np.float32]:
    """Show the lowest value black and the highest white, padding not counted."""
    counted = values if padding is None or padding.all() else values[~padding]
    low, high = float(counted.min()), float(counted.max())
    span = high - low or 1.0
    return np.clip((values.astype(np.float64) - low) / span, 0, 1).astype(np.float32)


def _first(value: Any) -> float:
    """Give a number, or the first of several."""
    return float(value if isinstance(value, (str, int, float)) else value[0])
