"""DICOM files made on the fly, sound and damaged."""

import base64
import io
import zlib
from struct import pack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from tests.client.cohorts.small_cohorts import dicom_bytes

IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"

# a baseline JPEG, damaged so that GDCM ends the whole process with SIGABRT
ABORTING_JPEG = zlib.decompress(
    base64.b64decode(
        "eNpjYBhY4OLp7MsEpEN9WBguAGkmBkYGfycQDQSMTEA61FOKwVDPSM/CxEDP0MDAwELPVM9QzwSIgaJAeWagCgeI"
        "CiMzPaAaPWMzCwMDE2M9Cz0TSws9C0sLI0NDSzMDA2MLA0tzUxNjS0MDE3MLQzNzYxMDYzNTY1MTSyMmBgGgOWJo"
        "NoF4JnqmBkwMQkBZGTy2GAJdIswQ7MHHEBAJ9JO/r4IxUJWRAgeDGAEfcDBIUMUHHAwJDM7BTAzOIQJAvwT4CTAE"
        "uzoHuYb4Ofq6xjn6+TkqCDAoMPj480DFdT1ddA0VNEAhHAwKdQ0GFqB+HgZffz9/Z48gf19XI6CsAFhWACgrCGcx"
        "MIJYHEAWI5zFBGaxA1nMYBYDw4N6AXBM/geCf/8ZHrBAYxzEjmMEit/4/4BBwMvN0w1oDNBMBpDYbQZnBg42NnY2"
        "Vg52dnZOTg4uHhFeHm5uHkkhYX4RWSl5OVkpGRkFFT11BSUdZRkZDXNNHQNDExMTeXVLWwsjGz1jE6P/Bxi4OYAO"
        "FWBkFGT4f4RBHmg4KyPIDghgZGJmYWVj5+Dk4gbKbhUAup2ZmYmFmZWVBehGxlqgPAOLIKuQoqEjm3BgIrtSoYhR"
        "48SFHMpOGw+KBl38oGKcVNTEySUmLiEppaqmrqGpZWJqZm5haeXs4urm7uHpFRwSGhYeERmVnJKalp6RmVVcUlpW"
        "XlFZ1dzS2tbe0dk1afKUqdOmz5g5a9HiJUuXLV+xctWmzVu2btu+Y+euQ4ePHD12/MTJU5cuX7l67fqNm7cePnr8"
        "5Omz5y9evvr46fOXr9++//j56/8tBg6Qf+wZPu7mzpsTHpiYe7nr/IZtL4+WiondtVj//yYwlO8+AHkWAPPk0qk="
    )
)


def recoded(content: bytes, syntax: str) -> bytes:
    """Write a file anew in another transfer syntax, compressed where that is one."""
    dataset = dcmread(io.BytesIO(content))
    if syntax == JPEG:
        buffer = io.BytesIO()
        Image.fromarray(dataset.pixel_array).save(buffer, format="JPEG")
        dataset.PixelData = encapsulate([buffer.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax == BIG_ENDIAN:
        stored = dataset.pixel_array
        swapped = Dataset()  # one that was read cannot change its byte order
        swapped.update(dataset)
        swapped.file_meta = dataset.file_meta
        swapped.file_meta.TransferSyntaxUID = syntax
        swapped.PixelData = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
        dataset = swapped
    elif syntax in (JPEG_LS, JPEG_2000, RLE):
        dataset.compress(syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def compressed(array: NDArray[Any], syntax: str, **elements: Any) -> bytes:
    """One image in a compressed transfer syntax."""
    return recoded(dicom_bytes(array, **elements), syntax)


def gradient(dtype: str = "uint16", size: int = 32) -> NDArray[Any]:
    """An image without two equal rows."""
    values = np.add.outer(np.arange(size) * 3, np.arange(size) * 5)
    return values.astype(dtype)


def preamble_and_meta(syntax: str = EXPLICIT) -> bytes:
    """What stands before a data set."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(0x0002, 0x0010, b"UI", uid)
    return bytes(128) + b"DICM" + element(0x0002, 0x0000, b"UL", pack("<L", len(meta))) + meta


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One explicit little-endian element; `length` is what it says instead of the truth."""
    said = len(value) if length is None else length
    head = pack("<HH2s", group, number, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + pack("<HL", 0, said) + value
    return head + pack("<H", said) + value


def nested_sequences(depth: int, *, undefined: bool, vr: bytes = b"SQ") -> bytes:
    """A sequence in a sequence in a sequence."""
    content = b""
    for _ in range(depth):
        item_length = 0xFFFFFFFF if undefined else len(content)
        item = pack("<HHL", 0xFFFE, 0xE000, item_length) + content
        if undefined:
            item += pack("<HHL", 0xFFFE, 0xE00D, 0) + pack("<HHL", 0xFFFE, 0xE0DD, 0)
        content = element(0x0040, 0xA730, vr, item, 0xFFFFFFFF if undefined else None)
    return content
