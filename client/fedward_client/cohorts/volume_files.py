"""Checks on a volume's file that its reader does not make.

SimpleITK reads a NIfTI file cut anywhere as if the rest were noise, and follows a MetaImage or NRRD
header to any file of the machine. Both are refused here, before a pixel is read. A header that
could be read in two ways is refused too.
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
_LINE_END = re.compile(rb"\r\n|\r|\n")
_META_WORD = re.compile(rb"ElementDataFile", re.IGNORECASE)
_META_FIELD = re.compile(rb"[ \t]*ElementDataFile[ \t]*[=:][=: \t]*(.*)")  # MetaIO minds the case
_META_INSIDE = (b"LOCAL", b"Local", b"local")
_NRRD_FIELD = re.compile(rb"\s*data\s*file\s*:(.*)", re.IGNORECASE)
_NRRD_END = re.compile(rb"\r?\n\r?\n")
_BARE_CR = re.compile(rb"\r(?!\n)")
_MIN_VOX_OFFSET = {348: 352, 540: 544}  # by size of header: four bytes of extension flags follow
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
    named_in = {"MetaImageIO": _named_in_meta_image, "NrrdImageIO": _named_in_nrrd}.get(
        image_io_of(path) or ""
    )
    if named_in is None:
        return None
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        found = named_in(header)
    except (OSError, ValueError):
        raise UnusableCaseError(unreadable) from None
    if found is None:
        return None
    name = found.decode("utf-8", errors="replace")
    if not name or name.upper().startswith("LIST") or "%" in name or len(name.split()) > 1:
        raise UnusableCaseError(unreadable)
    named = Path(name)
    inside = named if named.is_absolute() else path.parent.relative_to(folder) / named
    return existing_file_inside(folder, str(inside))


def _named_in_meta_image(header: bytes) -> bytes | None:
    """Give the value of the one ElementDataFile; None where the pixels follow it."""
    # the word anywhere else is refused: MetaIO may take for a field what looks like a value here
    if len(_META_WORD.findall(header)) != 1:
        raise ValueError("not one ElementDataFile")
    fields = [_META_FIELD.fullmatch(line) for line in _LINE_END.split(header)]
    names = [field[1].strip() for field in fields if field is not None]
    if len(names) != 1:
        raise ValueError("ElementDataFile is no field")
    return None if names[0] in _META_INSIDE else names[0]


def _named_in_nrrd(header: bytes) -> bytes | None:
    """Give the value of `data file`; None where there is none, so the pixels follow the header."""
    end = _NRRD_END.search(header)
    if end is None and len(header) == _HEADER_BYTES:
        raise ValueError("the header does not end")
    header = header[: end.start()] if end else header.rstrip(b"\r\n")
    if _BARE_CR.search(header + b"\n"):
        raise ValueError("a line that some readers split")
    fields = [_NRRD_FIELD.fullmatch(line) for line in _LINE_END.split(header)]
    names = [field[1].strip() for field in fields if field is not None]
    if len(names) > 1:
        raise ValueError("several data files")
    return names[0] if names else None


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
        if size in _MIN_VOX_OFFSET:
            kind, place = ("f", 108) if size == 348 else ("q", 168)
            begin = int(struct.unpack_from(f"{order}{kind}", header, place)[0])
            if begin < _MIN_VOX_OFFSET[size]:
                raise ValueError("the pixels begin inside the header")
            return begin
    raise ValueError("no NIfTI header")
