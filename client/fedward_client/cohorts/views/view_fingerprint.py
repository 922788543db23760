"""What a view depends on, as one hash: change any of it and the view is built anew."""

import dataclasses
import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.source import CohortSource
from fedward_common.identities import Sha256Hex
from fedward_common.job.job_file import DataSection, TaskSection


@runtime_checkable
class FingerprintedSource(Protocol):
    """A source that knows by one text all that decides what it gives."""

    @property
    def fingerprint(self) -> str:
        """Another text whenever cases, labels, splits or files are others."""


def fingerprint_of(
    settings: Sequence[SourceSettings],
    sources: Sequence[CohortSource],
    task: TaskSection,
    data: DataSection,
    split_key: bytes,
    version: int,
) -> Sha256Hex:
    """Hash settings, task, data section, split key, and name, size and time of every file.

    Files are not read; one that was changed without its size and time changing is not noticed. A
    source that has a fingerprint of its own gives that instead of its files.
    """
    digest = hashlib.sha256()
    head = {
        "version": version,
        "sources": [dataclasses.asdict(one) for one in settings],
        "task": dataclasses.asdict(task),
        "data": dataclasses.asdict(data),
        "split_key": hmac.new(split_key, b"fedward view", hashlib.sha256).hexdigest(),
    }
    digest.update(json.dumps(head, sort_keys=True).encode())
    for one, source in zip(settings, sources, strict=True):
        if isinstance(source, FingerprintedSource):
            digest.update(f"{source.fingerprint}\n".encode())
            continue
        _add_files(digest, [Path(one.manifest)])
        _add_files(digest, source.files())
    return Sha256Hex(digest.hexdigest())


def fingerprint_without(fingerprint: str, left_out: Iterable[tuple[int, int, str]]) -> Sha256Hex:
    """Give the fingerprint of a view that lacks cases which it should have.

    Args:
        fingerprint: Of the view as it was ordered; given back where nothing is left out.
        left_out: Place of the source, line and image of each case, in any order.
    """
    cases = sorted(left_out)
    if not cases:
        return Sha256Hex(fingerprint)
    text = json.dumps([fingerprint, "without", cases])
    return Sha256Hex(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def _add_files(digest: "hashlib._Hash", paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            status = path.stat()
            state = [status.st_size, status.st_mtime_ns]
        except (OSError, ValueError):
            state = []
        digest.update(json.dumps([str(path), state]).encode())
    digest.update(b"\n")
