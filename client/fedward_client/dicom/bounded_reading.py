"""DICOM files read within limits, and nothing of what the DICOM libraries say let out.

Before pydicom parses a file, it is known to be a regular file, to begin like DICOM, to have a
header within limits of size, depth and number, and to hold every length that the header declares.
Pixels stay undecoded here. All that can go wrong is a code.
"""

import contextlib
import errno
import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_IMAGE_TOO_LARGE,
    UnusableCaseError,
)
from fedward_client.dicom.element_walk import (
    E_HEADER_TOO_DEEP,
    E_HEADER_UNREADABLE,
    FIRST_PIXEL_TAG,
    LAST_PIXEL_TAG,
)
from fedward_client.dicom.file_structure import FileStructure

E_DECODER_MEMORY = "E_DECODER_MEMORY"
E_FILE_CHANGED = "E_FILE_CHANGED"
E_FILE_UNREADABLE = "E_FILE_UNREADABLE"
E_NOT_A_FILE = "E_NOT_A_FILE"

MAX_FILE_BYTES = 1024 * 1024 * 1024

_LOGGERS = ("pydicom", "highdicom", "pylibjpeg", "openjpeg", "jpeg_ls", "gdcm", "dicomweb_client")


class _Silence:
    lock = threading.RLock()


def _renew_lock() -> None:
    _Silence.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)  # another thread may have held it


@contextlib.contextmanager
def silenced_dicom() -> Iterator[None]:
    """Let no text of the DICOM libraries through while the block runs.

    Their loggers stay silent for good: switching them back could let another thread's line out.
    Filters of warnings belong to the process, so one thread at a time is inside.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate = False  # lines of its children stop here too
        logger.handlers = [logging.NullHandler()]
    with _Silence.lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Header:
    """One file's header, and the state the file was in while it was read.

    Args:
        dataset: pydicom's FileDataset without pixels. It converts values when they are asked for,
            so that is done inside `silenced_dicom` too, and any exception is caught.
        has_pixels: Whether PixelData or one of its floating-point kinds follows.
        size_bytes: Of the file.
        modified_ns: Of the file.
    """

    dataset: Any
    has_pixels: bool
    size_bytes: int
    modified_ns: int


def scan_header(path: Path, keywords: Sequence[str] | None = None) -> Header:
    """Read a header; pixels are not touched, so that a file cut inside them passes.

    Args:
        path: Links are followed.
        keywords: Elements of interest; all if None. SpecificCharacterSet comes with them.

    Raises:
        UnusableCaseError: `E_FILE_NOT_FOUND`, `E_FILE_UNREADABLE`, `E_NOT_A_FILE`, `E_NOT_DICOM`,
            `E_HEADER_UNREADABLE`, `E_HEADER_TOO_DEEP`, `E_HEADER_TOO_LARGE`,
            `E_INFLATED_TOO_LARGE`, `E_FILE_CHANGED`.
    """
    tags = _tags_of(keywords)
    with opened_regular(path) as (descriptor, state):
        structure = FileStructure(descriptor, state.st_size)
        pixels = structure.find_pixels(through_pixels=False)
        end_tag = FIRST_PIXEL_TAG if structure.deflated else None  # else no pixels are in the head
        dataset = _parsed(structure.head(pixels), end_tag, tags)
    return Header(dataset, pixels is not None, state.st_size, state.st_mtime_ns)


def read_header(path: Path, keywords: Sequence[str] | None = None) -> Any:
    """Give the data set of `scan_header` alone.

    Raises:
        UnusableCaseError: As `scan_header`.
    """
    return scan_header(path, keywords).dataset


def read_instance(path: Path) -> Any:
    """Read a file into memory, pixels undecoded; elements behind the pixels are left out.

    Raises:
        UnusableCaseError: As `scan_header`; `E_IMAGE_TOO_LARGE`; `E_IMAGE_UNREADABLE` where the
            pixels are cut short.
    """
    with opened_regular(path) as (descriptor, state):
        if state.st_size > MAX_FILE_BYTES:
            raise UnusableCaseError(E_IMAGE_TOO_LARGE)
        structure = FileStructure(descriptor, state.st_size)
        pixels = structure.find_pixels(through_pixels=True)
        end_tag = LAST_PIXEL_TAG + 1 if structure.deflated else None
        return _parsed(structure.through(pixels), end_tag, None)


def _tags_of(keywords: Sequence[str] | None) -> list[Any] | None:
    from pydicom.tag import Tag

    return None if keywords is None else [Tag(keyword) for keyword in keywords]


def _parsed(file: Any, end_tag: int | None, tags: list[Any] | None) -> Any:
    """Let pydicom read up to the first element from `end_tag` on, if one is given."""
    from pydicom.filereader import read_partial

    def at_end(tag: int, _vr: str | None, _length: int) -> bool:
        return end_tag is not None and tag >= end_tag

    stop_when = None if end_tag is None else at_end
    with silenced_dicom():
        return read_partial(file, stop_when=stop_when, force=True, specific_tags=tags)


@contextlib.contextmanager
def opened_regular(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    """Open for reading; whatever goes wrong inside is a code, a change of the file before all.

    Returns:
        A descriptor that is closed after the block, and the state of the file when it was opened.

    Raises:
        UnusableCaseError: `E_FILE_NOT_FOUND`, `E_FILE_UNREADABLE`, `E_NOT_A_FILE` at once;
            `E_FILE_CHANGED` after the block, or what went wrong in it.
    """
    descriptor = _open_regular(path)
    try:
        before = os.fstat(descriptor)
        code = None
        try:
            yield descriptor, before
        except Exception as problem:
            code = _code_of(problem)
        after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            code = E_FILE_CHANGED
        if code is not None:
            raise UnusableCaseError(code) from None
    finally:
        os.close(descriptor)


def _code_of(problem: Exception) -> str:
    """Of anything: pydicom raises every kind of exception on damaged files, and quotes them."""
    if isinstance(problem, UnusableCaseError):
        return problem.code
    if isinstance(problem, RecursionError):
        return E_HEADER_TOO_DEEP
    if isinstance(problem, MemoryError):
        return E_DECODER_MEMORY
    # pydicom raises OSError without a number where bytes are missing
    failed_disk = isinstance(problem, OSError) and problem.errno is not None
    return E_FILE_UNREADABLE if failed_disk else E_HEADER_UNREADABLE


def _open_regular(path: Path) -> int:
    """Open without waiting for a pipe's writer and without waking a device."""
    try:
        _require_regular(path.stat())
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnusableCaseError(E_FILE_NOT_FOUND) from None
    except (OSError, ValueError) as problem:
        loops = isinstance(problem, OSError) and problem.errno in (errno.ELOOP, errno.ENOTDIR)
        raise UnusableCaseError(E_NOT_A_FILE if loops else E_FILE_UNREADABLE) from None
    try:
        _require_regular(os.fstat(descriptor))  # it may have been exchanged
    except UnusableCaseError:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise UnusableCaseError(E_NOT_A_FILE)
