"""Faults of a folder rather than of an image: what else lies in an export of a PACS."""

import os
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path
from struct import pack

from fedward_common.dicom_writing.identifiers import derived_uid

_FOREIGN_FILES = {
    "README.txt": b"Exported for the study by the imaging office.\n",
    "Thumbs.db": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504),
    "empty.dcm": b"",
}
DAMAGED_HEADERS = {
    "cut-in-header.dcm": "E_HEADER_UNREADABLE",
    "nested-too-deep.dcm": "E_HEADER_TOO_DEEP",
    "declares-too-much.dcm": "E_HEADER_TOO_LARGE",
    "inflates-too-far.dcm": "E_INFLATED_TOO_LARGE",
    "without-series.dcm": "E_HEADER_INCOMPLETE",
}
"""Files that lie beside the patients' folders, and what is wrong with each."""

LINK_TO_NOWHERE = "moved-image.dcm"

_EXPLICIT, _DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_UNDEFINED_LENGTH = 0xFFFFFFFF
_NESTING = 80  # a check allows 64
_DECLARED_BYTES = 96 << 20  # a check allows 64 MB
_INFLATED_BYTES = 257 << 20  # a check allows 256 MB
_BLOCK = bytes(1 << 20)


def add_archive_faults(folder: Path) -> Counter[str]:
    """Lay what is no image among the images; give what a scan must say."""
    for name, content in _FOREIGN_FILES.items():
        (folder / name).write_bytes(content)
    found = Counter({"E_NOT_DICOM": len(_FOREIGN_FILES)})
    for name, content in _damaged_files().items():
        (folder / name).write_bytes(content)
        found[DAMAGED_HEADERS[name]] += 1
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "scanner.pipe")
        found["E_NOT_A_FILE"] += 1
    return found + _add_links(folder)


def _add_links(folder: Path) -> Counter[str]:
    """A link out of the folder, one to a file that was moved, one to a folder."""
    (folder / "outside.dcm").symlink_to("../labels.csv")
    (folder / LINK_TO_NOWHERE).symlink_to("moved/away.dcm")
    patient = min(path.name for path in folder.iterdir() if path.is_dir())
    (folder / "newest").symlink_to(patient, target_is_directory=True)
    return Counter(("E_PATH_ESCAPES", "E_FILE_UNREADABLE", "W_LINK_NOT_FOLLOWED"))


@lru_cache(maxsize=1)
def _damaged_files() -> dict[str, bytes]:
    identifiers = b"".join(
        _element(tag, b"UI", _uid_value(uid))
        for tag, uid in (
            ((0x0008, 0x0016), _SECONDARY_CAPTURE),
            ((0x0008, 0x0018), derived_uid("phantom", "damaged header")),
            ((0x0020, 0x000D), derived_uid("phantom", "damaged header", "study")),
        )
    )
    cut = pack("<HH2sH", 0x0020, 0x4000, b"LT", 200) + b"Cut off in the mid"
    too_much = pack("<HH2sHL", 0x0029, 0x1010, b"OB", 0, _DECLARED_BYTES) + bytes(64)
    return {
        "cut-in-header.dcm": _begin_of_file(_EXPLICIT) + identifiers + cut,
        "nested-too-deep.dcm": _begin_of_file(_EXPLICIT) + identifiers + _nested(),
        "declares-too-much.dcm": _begin_of_file(_EXPLICIT) + identifiers + too_much,
        "inflates-too-far.dcm": _begin_of_file(_DEFLATED) + _deflated(identifiers),
        "without-series.dcm": _begin_of_file(_EXPLICIT) + identifiers,
    }


def _begin_of_file(transfer_syntax: str) -> bytes:
    """Give preamble and file meta information (PS3.10 section 7.1)."""
    meta = _element((0x0002, 0x0010), b"UI", _uid_value(transfer_syntax))
    return bytes(128) + b"DICM" + _element((0x0002, 0x0000), b"UL", pack("<L", len(meta))) + meta


def _element(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    """Give an element of a VR whose length has two bytes, in Explicit VR Little Endian."""
    return pack("<HH2sH", *tag, vr, len(value)) + value


def _uid_value(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def _nested() -> bytes:
    """Give a sequence in a sequence in a sequence ..., each closed as it should be."""
    item = pack("<HHL", 0xFFFE, 0xE000, _UNDEFINED_LENGTH)
    begin = pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, _UNDEFINED_LENGTH) + item
    end = pack("<HHL", 0xFFFE, 0xE00D, 0) + pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return begin * _NESTING + end * _NESTING


def _deflated(identifiers: bytes) -> bytes:
    """Give some hundred kilobytes that grow beyond what a check inflates (PS3.5 section A.5)."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    content = [
        packer.compress(identifiers),
        packer.compress(pack("<HH2sHL", 0x0029, 0x1010, b"OB", 0, _INFLATED_BYTES)),
        *(packer.compress(_BLOCK) for _ in range(_INFLATED_BYTES // len(_BLOCK))),
        packer.flush(),
    ]
    return b"".join(content)
