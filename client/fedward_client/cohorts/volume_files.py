"""Checks on a volume's file that its reader does not make.

SimpleITK reads a NIfTI file cut anywhere as if the rest were noise, and follows a MetaImage or NRRD
header to any file of the machine. Both are refused here, before a pixel is read.
"""

import gzip
import re
import struct
import zlib
from pathlib import Path

from fedward_client.cohorts.contained_path import existing_file_inside
from fedward_client.cohorts.source import UnusableCaseError

_HEADER_BYTES = 64 * 1024
_BLOCK_BYTES = 1024 * 1024
_DETACHED = {
    "MetaImageIO": re.compile(rb"^\s*ElementDataFile\s*=\s*(.*?)\s*$", re.MULTILINE | re.I),
    "NrrdImageIO": re.compile(rb"^data ?file:\s*(.*?)\s*$", re.MULTILINE | re.I),
}
IMAGE_IO_OF_SUFFIX = {
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
    ".mhd": "MetaImageIO",
    ".mha": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
}


def image_io_of(path: Path) -> str | None:
    """Name the one reader that fits a file's ending; None for any other ending."""
    name = path.name.lower()
    return next((io for end, io in IMAGE_IO_OF_SUFFIX.items() if name.endswith(end)), None)


def detached_data_file(path: Path, folder: Path, unreadable: str) -> Path | None:
    """Find the file that holds the pixels of a MetaImage or NRRD header.

    Args:
        path: The header, inside `folder`.
        folder: Already resolved.
        unreadable: Code for lists and patterns of files, which are not taken.

    Returns:
        None where the pixels are in `path` itself.

    Raises:
        UnusableCaseError: The file is missing or outside `folder`, or `unreadable`.
    """
    pattern = _DETACHED.get(image_io_of(path) or "")
    if pattern is None:
        return None
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        raise UnusableCaseError(unreadable) from None
    if image_io_of(path) == "NrrdImageIO":
        header = re.split(rb"\r?\n\r?\n", header, maxsplit=1)[0]
    match = pattern.search(header)
    if match is None or match[1].upper() == b"LOCAL":
        return None
    name = match[1].decode("utf-8", errors="replace")
    if not name or name.upper().startswith("LIST") or "%" in name or len(name.split()) > 1:
        raise UnusableCaseError(unreadable)
    named = Path(name)
    inside = named if named.is_absolute() else path.parent.relative_to(folder) / named
    return existing_file_inside(folder, str(inside))


def require_whole_nifti(path: Path, num_pixel_bytes: int, unreadable: str) -> None:
    """Check that a NIfTI file holds all the pixels that its header promises.

    Args:
        path: A .nii, or a .nii.gz, which is inflated once and thrown away block by block.
        num_pixel_bytes: Bytes of all voxels.
        unreadable: Code to raise.

    Raises:
        UnusableCaseError: It is cut short, or damaged.
    """
    try:
        if path.name.lower().endswith(".gz"):
            with gzip.open(path, "rb") as file:
                needed = _pixels_begin(file.read(_HEADER_BYTES)) + num_pixel_bytes
                file.seek(0)
                remaining = needed
                while remaining > 0:
                    block = file.read(min(_BLOCK_BYTES, remaining))
                    if not block:
                        break
                    remaining -= len(block)
                # the checksum at the end is read with the bytes after the last pixel
                trailing = file.read(_BLOCK_BYTES) if remaining <= 0 else b""
                complete = remaining <= 0 and len(trailing) < _BLOCK_BYTES
        else:
            with path.open("rb") as file:
                needed = _pixels_begin(file.read(_HEADER_BYTES)) + num_pixel_bytes
            complete = path.stat().st_size >= needed
    except (OSError, EOFError, zlib.error, struct.error, OverflowError, ValueError):
        raise UnusableCaseError(unreadable) from None
    if not complete:
        raise UnusableCaseError(unreadable)


def _pixels_begin(header: bytes) -> int:
    """Read `vox_offset` of NIfTI-1 (float32 at 108) or NIfTI-2 (int64 at 168)."""
    for order in "<>":
        (size,) = struct.unpack_from(f"{order}i", header)
        if size == 348:
            return int(struct.unpack_from(f"{order}f", header, 108)[0])
        if size == 540:
            return int(struct.unpack_from(f"{order}q", header, 168)[0])
    raise ValueError("no NIfTI header")
