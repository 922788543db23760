"""What a data set says of its pixels, checked before anything is allocated or decoded for it."""

from dataclasses import dataclass
from typing import Any

from fedward_client.cohorts.pixel_arrays import MAX_VALUES
from fedward_client.cohorts.source import E_IMAGE_TOO_LARGE, E_IMAGE_UNREADABLE, UnusableCaseError

E_NO_PIXEL_DATA = "E_NO_PIXEL_DATA"
E_PIXEL_FORMAT = "E_PIXEL_FORMAT"
E_TRANSFER_SYNTAX = "E_TRANSFER_SYNTAX"

_PIXEL_KEYWORDS = {"PixelData": (1, 8, 16, 32, 64), "FloatPixelData": (32,),
                   "DoubleFloatPixelData": (64,)}  # fmt: skip
_SAMPLES_OF_PHOTOMETRIC = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
_NATIVE = {
    "1.2.840.10008.1.2": "",
    "1.2.840.10008.1.2.1": "",
    "1.2.840.10008.1.2.1.99": "",
    "1.2.840.10008.1.2.2": "",
}
# One decoder each: a second one tried on damaged bytes is one more to attack. GDCM reads JPEG
# lossless 2.4 times as fast as the others, OpenJPEG JPEG 2000 as no other does HTJ2K.
_PLUGIN_OF_SYNTAX = _NATIVE | {
    "1.2.840.10008.1.2.4.50": "gdcm",
    "1.2.840.10008.1.2.4.51": "gdcm",  # 8 bits only
    "1.2.840.10008.1.2.4.57": "gdcm",
    "1.2.840.10008.1.2.4.70": "gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
    "1.2.840.10008.1.2.5": "pydicom",
}
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


@dataclass(frozen=True)
class PixelFormat:
    """The image pixel module of one data set, valid once built.

    Args:
        keyword: PixelData, FloatPixelData or DoubleFloatPixelData.
        transfer_syntax: One that can be decoded here.
        plugin: pydicom's name of the decoder; "" where nothing is compressed.
        photometric: PhotometricInterpretation, one of eight.
        bits_stored: Equal to bits allocated for floating-point pixels.
    """

    keyword: str
    transfer_syntax: str
    plugin: str
    photometric: str
    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool

    @property
    def is_grey(self) -> bool:
        """Whether a pixel is one number on a scale."""
        return self.photometric.startswith("MONOCHROME")

    @property
    def little_endian(self) -> bool:
        """Of tables in the data set."""
        return self.transfer_syntax != _BIG_ENDIAN

    @property
    def stored_range(self) -> tuple[int, int]:
        """Lowest and highest value that BitsStored can hold."""
        if self.signed:
            return -(1 << self.bits_stored - 1), (1 << self.bits_stored - 1) - 1
        return 0, (1 << self.bits_stored) - 1


def pixel_format_of(dataset: Any, frame: int | None, max_values: int = MAX_VALUES) -> PixelFormat:
    """Read and check what the data set says of its pixels.

    Args:
        dataset: With its pixels, undecoded.
        frame: The frame that is wanted, from 0; all if None.
        max_values: Of the array to be decoded.

    Raises:
        UnusableCaseError: `E_NO_PIXEL_DATA`, `E_TRANSFER_SYNTAX`, `E_PIXEL_FORMAT`,
            `E_IMAGE_TOO_LARGE`; `E_IMAGE_UNREADABLE` for more frames than the bytes can hold.
    """
    keyword = _keyword_of(dataset)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if syntax not in _PLUGIN_OF_SYNTAX:
        raise UnusableCaseError(E_TRANSFER_SYNTAX)
    photometric = _text(dataset, "PhotometricInterpretation")
    bits = _whole(dataset, "BitsAllocated")
    if keyword != "PixelData":
        bits = bits or _PIXEL_KEYWORDS[keyword][0]
    found = PixelFormat(
        keyword=keyword,
        transfer_syntax=syntax,
        plugin=_PLUGIN_OF_SYNTAX[syntax],
        photometric=photometric,
        rows=_whole(dataset, "Rows"),
        columns=_whole(dataset, "Columns"),
        frames=_whole(dataset, "NumberOfFrames", absent=1),
        samples=_whole(dataset, "SamplesPerPixel", absent=1),
        bits_allocated=bits,
        bits_stored=_whole(dataset, "BitsStored") if keyword == "PixelData" else bits,
        signed=_whole(dataset, "PixelRepresentation") == 1,
    )
    _require_possible(found)
    _require_decoder(found)
    _require_bearable(found, frame, max_values)
    _require_room_for_frames(found, len(dataset.get_item(keyword).value or b""))
    return found


def _keyword_of(dataset: Any) -> str:
    present = [keyword for keyword in _PIXEL_KEYWORDS if keyword in dataset]
    if not present or not dataset.get_item(present[0]).value:
        raise UnusableCaseError(E_NO_PIXEL_DATA)
    if len(present) > 1:
        raise UnusableCaseError(E_PIXEL_FORMAT)
    return present[0]


def _whole(dataset: Any, keyword: str, absent: int = 0) -> int:
    """Give a whole number; `absent` where there is none."""
    try:
        value = dataset.get(keyword)
        return absent if value is None or value == "" else int(value)
    except (ArithmeticError, TypeError, ValueError):
        raise UnusableCaseError(E_PIXEL_FORMAT) from None


def _text(dataset: Any, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _require_possible(found: PixelFormat) -> None:
    possible = (
        _SAMPLES_OF_PHOTOMETRIC.get(found.photometric) == found.samples
        and found.bits_allocated in _PIXEL_KEYWORDS[found.keyword]
        and 1 <= found.bits_stored <= found.bits_allocated
        and 1 <= found.rows <= 65535
        and 1 <= found.columns <= 65535
        and found.frames >= 1
        and (found.is_grey or found.keyword == "PixelData")
    )
    if not possible:
        raise UnusableCaseError(E_PIXEL_FORMAT)


def _require_decoder(found: PixelFormat) -> None:
    """No decoder here knows 12-bit JPEG or compressed single bits."""
    compressed = found.transfer_syntax not in _NATIVE
    deep_jpeg = found.transfer_syntax == _JPEG_EXTENDED and found.bits_stored != 8
    if deep_jpeg or (compressed and (found.bits_allocated == 1 or found.keyword != "PixelData")):
        raise UnusableCaseError(E_TRANSFER_SYNTAX)


def _require_bearable(found: PixelFormat, frame: int | None, max_values: int) -> None:
    if frame is not None and not 0 <= frame < found.frames:
        raise UnusableCaseError(E_PIXEL_FORMAT)
    samples = 3 if found.photometric == "PALETTE COLOR" else found.samples
    frames = found.frames if frame is None else 1
    if found.rows * found.columns * samples * frames > max_values:
        raise UnusableCaseError(E_IMAGE_TOO_LARGE)


def _require_room_for_frames(found: PixelFormat, num_bytes: int) -> None:
    """A compressed frame takes one item of 8 bytes at least."""
    bits = found.rows * found.columns * found.samples * found.bits_allocated * found.frames
    if found.photometric == "YBR_FULL_422":
        bits = bits * 2 // 3
    needed = (bits + 7) // 8 if found.transfer_syntax in _NATIVE else 8 * found.frames
    if needed > num_bytes:
        raise UnusableCaseError(E_IMAGE_UNREADABLE)
