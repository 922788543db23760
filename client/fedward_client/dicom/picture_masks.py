"""PNG masks of single DICOM images: grey values or palette indices, as they lie on the image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedward_client.cohorts.picture_files import decode_mask_picture, read_picture_file
from fedward_client.cohorts.pixel_arrays import whole_numbers
from fedward_client.cohorts.source import E_MASK_SHAPE, E_MASK_UNREADABLE, UnusableCaseError
from fedward_client.dicom.decoded import Decoded
from fedward_client.dicom.mask_target import finished_mask, narrowed_mask, target_of


def decode_picture_mask(mask: str, paths: Sequence[str], frame: int | None = None) -> Decoded:
    """Read a picture that is the mask of one image.

    Args:
        mask: The picture.
        paths: The image's file.
        frame: As `target_of`.

    Returns:
        The mask with its own values, uint8 where they fit, shape (rows, columns).

    Raises:
        UnusableCaseError: `E_MASK_UNREADABLE`, `E_IMAGE_TOO_LARGE`, `E_MASK_SHAPE` where the image
            has another size or is a volume, or what is wrong with the image.
    """
    target = target_of(paths, frame)
    picture = decode_mask_picture(
        read_picture_file(Path(mask), E_MASK_UNREADABLE), E_MASK_UNREADABLE
    )
    values = whole_numbers(picture, 2)[np.newaxis]
    if target.is_volume or values.shape != target.shape:
        raise UnusableCaseError(E_MASK_SHAPE)
    return finished_mask(narrowed_mask(values), target, None)
