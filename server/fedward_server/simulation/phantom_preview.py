"""A contact sheet of phantoms, lesions outlined, so that a person can look before using them."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_server.simulation.phantom_chest import GREY_BITS
from fedward_server.simulation.phantom_ct import CtVolume

_SIDE = 160
_PICTURES_A_ROW = 8
_OUTLINE = (255, 90, 60)
_WINDOW_HU = (-160.0, 240.0)

Bytes = NDArray[np.uint8]


class Preview:
    """Keeps the first pictures of each hospital and kind, and writes them as one PNG."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Bytes]] = defaultdict(list)

    def add_chest(self, hospital: str, image: NDArray[np.uint16], mask: Bytes) -> None:
        """Take one chest image, if there is room for it."""
        row = self._rows[f"{hospital} chest"]
        if len(row) < _PICTURES_A_ROW:
            row.append(_outlined(image / ((1 << GREY_BITS) - 1), mask))

    def add_ct(self, hospital: str, volume: CtVolume) -> None:
        """Take the slice of a volume that has most of a lesion, or the middle one."""
        row = self._rows[f"{hospital} ct"]
        if len(row) < _PICTURES_A_ROW:
            sizes = volume.mask.sum(axis=(1, 2))
            place = int(sizes.argmax()) if sizes.any() else len(sizes) // 2
            low, high = _WINDOW_HU
            grey = (volume.hounsfield[place] - low) / (high - low)
            row.append(_outlined(grey, volume.mask[place]))

    def write(self, path: Path) -> None:
        """Write the sheet: a row of pictures for each hospital and kind."""
        from PIL import Image

        blank = np.zeros((_SIDE, _SIDE, 3), dtype=np.uint8)
        rows = [
            np.concatenate([*row, *[blank] * (_PICTURES_A_ROW - len(row))], axis=1)
            for row in self._rows.values()
        ]
        Image.fromarray(np.concatenate(rows)).save(path)


def _outlined(grey: NDArray[np.floating[Any]], mask: Bytes) -> Bytes:
    """Scale a picture to the sheet's size, its lesions outlined in red."""
    from PIL import Image

    size = (_SIDE, _SIDE)
    picture = Image.fromarray(np.rint(255 * grey.clip(0, 1)).astype(np.uint8))
    large = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    inside = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) > 0
    edge = inside.copy()
    edge[1:-1, 1:-1] &= ~(
        inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    )
    sheet = np.stack([large] * 3, axis=-1)
    sheet[edge] = _OUTLINE
    return sheet
