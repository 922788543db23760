"""PNG and JPEG decoding with limits, shared by the sources that hold pictures or picture masks."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import E_IMAGE_TOO_LARGE, UnusableCaseError

MAX_PICTURE_BYTES = 256 * 1024 * 1024
_MAX_PICTURE_VALUES = 64_000_000  # pixels times channels
_PLAIN_MODES = ("L", "RGB", "I", "I;16", "I;16B", "I;16L", "F")
_MASK_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # palette indices are the classes


def decode_picture(content: bytes, channels: int, unreadable: str) -> NDArray[Any]:
    """Decode a PNG or JPEG as stored: grey keeps its depth, everything else becomes RGB.

    Args:
        content: The whole file.
        channels: Of the job; with 1, palette and alpha pictures come as 8-bit grey.
        unreadable: Code for a file that cannot be decoded.

    Returns:
        Shape (rows, columns) or (rows, columns, 3).

    Raises:
        UnusableCaseError: `unreadable`, or `E_IMAGE_TOO_LARGE`.
    """
    return _decode(content, unreadable, _PLAIN_MODES, "L" if channels == 1 else "RGB")


def decode_mask_picture(content: bytes, unreadable: str) -> NDArray[Any]:
    """Decode a mask: grey values or palette indices, shape (rows, columns).

    Raises:
        UnusableCaseError: `unreadable`, also for a colour picture; or `E_IMAGE_TOO_LARGE`.
    """
    return _decode(content, unreadable, _MASK_MODES, None)


def read_picture_file(path: Path, unreadable: str) -> bytes:
    """Read a whole picture file.

    Raises:
        UnusableCaseError: `unreadable`, or `E_IMAGE_TOO_LARGE`.
    """
    try:
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise UnusableCaseError(E_IMAGE_TOO_LARGE)
        return path.read_bytes()
    except OSError:
        raise UnusableCaseError(unreadable) from None


def _decode(
    content: bytes, unreadable: str, modes: tuple[str, ...], otherwise: str | None
) -> NDArray[Any]:
    from PIL import Image, ImageMode

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # texts of decoders are never passed on
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
                mode = picture.mode if picture.mode in modes else otherwise or "L"
                channels = max(len(ImageMode.getmode(m).bands) for m in (picture.mode, mode))
                if picture.width * picture.height * channels > _MAX_PICTURE_VALUES:
                    raise UnusableCaseError(E_IMAGE_TOO_LARGE)
                if picture.mode in modes:
                    return np.array(picture)
                if otherwise is not None:
                    return np.array(picture.convert(otherwise))
    except Image.DecompressionBombError:
        raise UnusableCaseError(E_IMAGE_TOO_LARGE) from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, TypeError, KeyError):
        raise UnusableCaseError(unreadable) from None
    raise UnusableCaseError(unreadable)
