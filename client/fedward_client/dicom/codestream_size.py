"""What a compressed frame says of its own size, read before any decoder sees it.

Decoders allocate what the codestream asks for, and an image of another shape but as many pixels as
the header says would be taken for the right one.
"""

from collections.abc import Iterator
from struct import unpack_from
from typing import Any

from fedward_client.cohorts.source import E_IMAGE_UNREADABLE, UnusableCaseError
from fedward_client.dicom.pixel_format import PixelFormat

_JPEG_START = b"\xff\xd8"
# ITU-T T.81 table B.1 (all SOF markers), ITU-T T.87 section C.1.1 (JPEG-LS)
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_JPEG_2000_START = b"\xff\x4f\xff\x51"  # ITU-T T.800 section A.4: SOC, then SIZ
_MAX_BOXES_BYTES = 64 * 1024

FrameSize = tuple[int, int, int]


def require_codestreams_fit(dataset: Any, layout: PixelFormat, frame: int | None) -> None:
    """Check the size of every frame that is about to be decoded; RLE does not name any.

    Raises:
        UnusableCaseError: `E_IMAGE_UNREADABLE`.
    """
    if layout.plugin in ("", "pydicom"):
        return
    expected = (layout.rows, layout.columns, layout.samples)
    for codestream in _frames(dataset, layout, frame):
        if codestream_size(codestream) != expected:
            raise UnusableCaseError(E_IMAGE_UNREADABLE)


def codestream_size(codestream: bytes) -> FrameSize | None:
    """Give rows, columns and samples of a JPEG, JPEG-LS or JPEG 2000 stream; None if unclear."""
    if codestream.startswith(_JPEG_START):
        return _jpeg_size(codestream)
    begin = codestream.find(_JPEG_2000_START, 0, _MAX_BOXES_BYTES)  # JP2 boxes may precede it
    if begin < 0 or len(codestream) < begin + 42:
        return None
    right, bottom, left, top = unpack_from(">LLLL", codestream, begin + 8)
    (samples,) = unpack_from(">H", codestream, begin + 40)
    return bottom - top, right - left, samples


def _jpeg_size(codestream: bytes) -> FrameSize | None:
    position = len(_JPEG_START)
    while position + 10 <= len(codestream) and codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _FRAME_MARKERS:
            rows, columns, samples = unpack_from(">HHB", codestream, position + 5)
            return rows, columns, samples
        position += 2 + unpack_from(">H", codestream, position + 2)[0]
    return None


def _frames(dataset: Any, layout: PixelFormat, frame: int | None) -> Iterator[bytes]:
    from pydicom.encaps import generate_frames, get_frame

    options: dict[str, Any] = {"number_of_frames": layout.frames}
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        tables = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
        options["extended_offsets"] = tables
    if frame is not None:
        yield get_frame(dataset.PixelData, frame, **options)
        return
    yield from generate_frames(dataset.PixelData, **options)
