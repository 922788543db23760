"""The operation `image` of the decode workers: one DICOM file, or one frame of it, to one array."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from fedward_client.dicom.bounded_reading import read_instance, silenced_dicom
from fedward_client.dicom.decoded import Decoded, InstanceName
from fedward_client.dicom.frame_values import group_of
from fedward_client.dicom.header_values import uid_of
from fedward_client.dicom.pixel_decoding import image_values, stored_pixels

Transform = Literal["modality", "stored", "picture"]


def decode_image(path: str, frame: int | None = None, transform: Transform = "modality") -> Decoded:
    """Decode one file.

    Args:
        path: Of the file.
        frame: From 0; all frames if None.
        transform: `modality` for what the values mean, `stored` for masks, `picture` for grey as
            a person would see it; see `pixel_decoding`.

    Returns:
        With facts `spacing_mm` ([between rows, between columns] or None), `photometric` and
        `frames` (of the file).

    Raises:
        UnusableCaseError: As `read_instance`, `image_values`, `stored_pixels`.
    """
    dataset = read_instance(Path(path)) if frame is None else _instance_at(path, _stamp(path))
    if transform == "stored":
        array = stored_pixels(dataset, frame)
    else:
        array = image_values(dataset, frame, apply_voi=transform == "picture")
    facts = {
        "spacing_mm": spacing_of(dataset, frame or 0),
        "photometric": str(dataset.PhotometricInterpretation).strip(),  # one of eight by now
        "frames": int(dataset.get("NumberOfFrames") or 1),
    }
    with silenced_dicom():
        name = InstanceName(uid_of(dataset, "SOPInstanceUID"), uid_of(dataset, "SeriesInstanceUID"))
    return Decoded(array, facts, (name,))


def _stamp(path: str) -> tuple[int, int, int]:
    """Give what changes with a file; (0, 0, 0) where reading it will say what is wrong."""
    try:
        state = Path(path).stat()
    except (OSError, ValueError):
        return 0, 0, 0
    return state.st_size, state.st_mtime_ns, state.st_ino


@lru_cache(maxsize=1)
def _instance_at(path: str, _state: tuple[int, int, int]) -> Any:
    """Keep the last file: frames of one are asked for one after the other."""
    return read_instance(Path(path))


def spacing_of(dataset: Any, frame: int = 0) -> list[float] | None:
    """Give the distances between rows and between columns, as far as they can be used."""
    try:
        with silenced_dicom():
            item = group_of(dataset, frame, "PixelMeasuresSequence")
            values = item.get("PixelSpacing") or item.get("ImagerPixelSpacing") or ()
            spacing = [float(value) for value in values]
    except Exception:  # pydicom raises anything on damaged values, and quotes them
        return None
    if len(spacing) != 2 or not all(math.isfinite(one) and one > 0 for one in spacing):
        return None
    return spacing
