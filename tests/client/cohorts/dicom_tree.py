"""Folders of tiny DICOM files, and all that an index says of them."""

import os
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tests.client.cohorts.small_cohorts import dicom_bytes

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.index.folder_scan import FolderStore
from fedward_client.cohorts.index.instance_store import ScanSummary
from fedward_client.dicom.instance_facts import InstanceFacts

INDEX_KEY = bytes(range(32))
_PIXELS = np.array([[0, 10], [20, 255]], dtype=np.uint8)


def instance_bytes(sop: str, series: str = "1.2", study: str = "1.3", **elements: Any) -> bytes:
    """A readable instance; patient and name are those of `dicom_bytes` unless given."""
    return _made(sop, series, study, tuple(sorted(elements.items())))


@cache
def _made(sop: str, series: str, study: str, elements: tuple[tuple[str, Any], ...]) -> bytes:
    return dicom_bytes(
        _PIXELS, SOPInstanceUID=sop, SeriesInstanceUID=series, StudyInstanceUID=study,
        **dict(elements),
    )  # fmt: skip


def write(folder: Path, locator: str, content: bytes) -> Path:
    path = folder / locator
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def open_index(path: Path) -> DicomIndex:
    return DicomIndex.open(path, pseudonym_key=INDEX_KEY)


def scan(folder: Path, index_file: Path) -> ScanSummary:
    with open_index(index_file) as index:
        return FolderStore(folder).scan(index)


def facts_at(index_file: Path, locator: str) -> InstanceFacts:
    with open_index(index_file) as index:
        found = index.at(locator)
    assert found is not None
    return found


def findings(index_file: Path) -> list[tuple[str, str]]:
    with open_index(index_file) as index:
        return [(one.code, one.place) for one in index.scan_findings()]


def problems(index_file: Path) -> list[tuple[str, str]]:
    with open_index(index_file) as index:
        return [(one.code, one.place) for one in index.problems()]


def everything(index_file: Path) -> dict[str, Any]:
    """All that two scans of the same files must agree on."""
    with open_index(index_file) as index:
        listed: dict[str, Any] = {
            "findings": index.scan_findings(),
            "problems": list(index.problems()),
            "counts": index.counts(),
            "whole": index.is_whole,
        }
    connection = sqlite3.connect(index_file)
    rows = connection.execute(
        "SELECT f.*, h.* FROM files f LEFT JOIN headers h ON h.id = f.header_id ORDER BY f.locator"
    )
    # a hash stays known when the twin it was made for is gone
    of_the_run = ("id", "scan", "header_id", "digest", "content_sha256")
    names = [name for (name, *_) in rows.description]
    listed["files"] = [
        [(n, value) for n, value in zip(names, row, strict=True) if n not in of_the_run]
        for row in rows
    ]
    listed["headers"] = connection.execute("SELECT count(*) FROM headers").fetchone()[0]
    connection.close()
    return listed


CUT = instance_bytes("1.66")[:200]


def fill(folder: Path, number: int = 6) -> None:
    for n in range(number):
        write(folder, f"p{n % 2}/s{n % 3}/{n}.dcm", instance_bytes(f"1.9.{n}", f"1.2.{n % 3}"))
    write(folder, "notes.txt", b"no DICOM")
    write(folder, "p0/cut", CUT)


def touch(path: Path, modified_ns: int) -> None:
    os.utime(path, ns=(modified_ns, modified_ns))
