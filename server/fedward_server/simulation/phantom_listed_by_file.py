"""`labels-by-file.csv`: images by their path, with what goes wrong with paths, pixels and pictures.

Masks are PNG files beside the label file, which is how masks from a drawing tool come.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedward_common.dicom_writing.encoded_files import file_bytes
from fedward_server.simulation.phantom_archive_faults import DAMAGED_HEADERS, LINK_TO_NOWHERE
from fedward_server.simulation.phantom_faults import BOTH_TASKS
from fedward_server.simulation.phantom_files import Archive, Drawn
from fedward_server.simulation.phantom_label_list import LabelList
from fedward_server.simulation.phantom_picture_desk import PictureDesk

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NUM_WHOLE = 3
_LARGEST_SIDE = 65535
_KNOWN_SYNTAX, _UNKNOWN_SYNTAX = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0"


def list_by_file(archive: Archive, desk: PictureDesk) -> LabelList:
    """Write images and masks, and list them."""
    made = LabelList(
        "labels-by-file.csv", ("file", "label", "split", "mask_path"), tasks=BOTH_TASKS
    )
    lines = _Lines(archive, desk, made)
    lines.masks.mkdir()
    for _ in range(_NUM_WHOLE):
        lines.add_image(desk.picture())
    for code, spoil in _SPOILED_PIXELS.items():
        drawn = desk.picture()
        spoil(drawn.images[0])
        lines.add_image(drawn, code=code)
    lines.add_unknown_compression()
    for code, write in _SPOILED_MASKS.items():
        lines.add_image(desk.picture(), code_of_mask=code, write_mask=write)
    for name, code in DAMAGED_HEADERS.items():
        lines.add_path(name, code)
    lines.add_path(LINK_TO_NOWHERE, "E_FILE_UNREADABLE")
    lines.add_path("never-made.dcm", "E_FILE_NOT_FOUND")
    lines.add_path("../labels.csv", "E_PATH_ESCAPES")
    return made


def _too_many_bits(ds: "Dataset") -> None:
    ds.BitsStored = int(ds.BitsAllocated) + 1


def _endless(ds: "Dataset") -> None:
    ds.Rows = ds.Columns = _LARGEST_SIDE


def _with_nan(ds: "Dataset") -> None:
    """Store as floating point, as converted images are, with one value that is none."""
    values = np.zeros((int(ds.Rows), int(ds.Columns)), dtype="<f4")
    values[0, 0] = np.nan
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.PhotometricInterpretation, ds.BitsAllocated = "MONOCHROME2", 32
    ds.FloatPixelData = values.tobytes()


_SPOILED_PIXELS: dict[str, Callable[["Dataset"], None]] = {
    "E_PIXEL_FORMAT": _too_many_bits,
    "E_IMAGE_TOO_LARGE": _endless,
    "E_NON_FINITE_PIXELS": _with_nan,
}


def _write_empty(path: Path, size: int) -> None:
    """Write a mask in which nothing is drawn; the images are of healthy patients."""
    from PIL import Image

    Image.fromarray(np.zeros((size, size), dtype=np.uint8)).save(path)


def _write_too_small(path: Path, size: int) -> None:
    _write_empty(path, size // 2)


def _write_damaged(path: Path, size: int) -> None:
    _write_empty(path, size)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _write_none(path: Path, size: int) -> None:
    """The label file names it, and that is all there is of it."""


_SPOILED_MASKS: dict[str, Callable[[Path, int], None]] = {
    "E_MASK_SHAPE": _write_too_small,
    "E_MASK_UNREADABLE": _write_damaged,
    "E_MASK_NOT_FOUND": _write_none,
}


class _Lines:
    """Writes files and lists them in one go."""

    def __init__(self, archive: Archive, desk: PictureDesk, made: LabelList) -> None:
        self._archive, self._desk, self._made = archive, desk, made
        self.masks = archive.folder.parent / "masks"

    def add_image(
        self,
        drawn: Drawn,
        *,
        code: str = "",
        code_of_mask: str = "",
        write_mask: Callable[[Path, int], None] = _write_empty,
    ) -> None:
        """Write an image with its mask; `code` is of its pixels."""
        size = drawn.mask.shape[0]
        path = self._archive.add_image(drawn.images[0], "none" if code else drawn.encoding)
        self._list(path, size, code, code_of_mask, write_mask)

    def add_unknown_compression(self) -> None:
        """Name a transfer syntax that DICOM does not have."""
        drawn = self._desk.picture()
        ds = drawn.images[0]
        content = file_bytes(ds).replace(_KNOWN_SYNTAX, _UNKNOWN_SYNTAX, 1)
        path = self._archive.add_bytes(ds, content)
        self._list(path, drawn.mask.shape[0], "E_TRANSFER_SYNTAX", "", _write_empty)

    def add_path(self, path: str, code: str) -> None:
        """List a path where no image is."""
        self._made.add(path, "no-lesion", "train", "masks/any.png", code=code)

    def _list(
        self,
        path: Path,
        size: int,
        code: str,
        code_of_mask: str,
        write_mask: Callable[[Path, int], None],
    ) -> None:
        mask = self.masks / f"{path.stem}.png"
        write_mask(mask, size)
        key = path.relative_to(self._archive.folder).as_posix()
        tasks = ("segmentation",) if code_of_mask else BOTH_TASKS
        cells = (key, "no-lesion", "train", f"masks/{mask.name}")
        self._made.add(*cells, code=code or code_of_mask, tasks=tasks)
