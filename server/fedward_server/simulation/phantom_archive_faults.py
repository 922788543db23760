"""Faults of a folder rather than of an image: what else lies in an export of a PACS."""

import os
from collections import Counter
from pathlib import Path

_FOREIGN_FILES = {
    "README.txt": b"Exported for the study by the imaging office.\n",
    "Thumbs.db": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504),
    "empty.dcm": b"",
}


def add_archive_faults(folder: Path) -> Counter[str]:
    """Lay files that are no DICOM, and a pipe, among the images; give what a scan must say."""
    for name, content in _FOREIGN_FILES.items():
        (folder / name).write_bytes(content)
    found = Counter({"E_NOT_DICOM": len(_FOREIGN_FILES)})
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "scanner.pipe")
        found["E_NOT_A_FILE"] += 1
    return found
