"""Snapshot cases whose files are .npy files, and a pool that decodes them in this process."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.cache.native_cache import NativeCache
from fedward_client.cohorts.cache.native_decoding import CaseOutcome
from fedward_client.cohorts.contained_path import existing_file_inside
from fedward_client.cohorts.registered.snapshot import (
    FileState,
    MaskReference,
    Snapshot,
    SnapshotCase,
)
from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.decode_pool import DecodePool
from fedward_client.dicom.decoded import Decoded, InstanceName
from fedward_client.pseudonyms import pseudonym
from fedward_common.errors import CohortError

KEY = bytes(range(32))
GIGABYTE = 10**9


def image_of(number: int) -> NDArray[np.int16]:
    draw = np.random.default_rng(number)
    return draw.integers(-1000, 3000, (8, 10)).astype(np.int16)


def mask_of(number: int) -> NDArray[np.uint8]:
    return (image_of(number) > 1000).astype(np.uint8)


def state_of(folder: Path, locator: str) -> FileState:
    status = (folder / locator).stat()
    return FileState(locator, status.st_size, status.st_mtime_ns)


def cached_case_ids(cache_folder: Path) -> set[str]:
    """Give the cases that have an array below a site's cache."""
    return {path.name.partition("-")[0] for path in cache_folder.rglob("native/*/*.npy")}


def write_array(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


@dataclass
class Hospital:
    """A folder of files, the cases they are, and how often anything was decoded."""

    folder: Path
    num_cases: int = 6
    with_masks: bool = False
    cases: list[SnapshotCase] = field(default_factory=list)
    decoded: list[str] = field(default_factory=list)
    now_open: int = 0
    most_open: int = 0
    num_fetched: int = 0
    most_allowed: int = 1000
    on_decode: Callable[[str], None] | None = None
    key: bytes = KEY

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in range(self.num_cases):
            write_array(self.folder / f"SECRET-{number}.npy", image_of(number))
            write_array(self.folder / f"SECRET-mask-{number}.npy", mask_of(number))
        self.cases = [self.case(number) for number in range(self.num_cases)]

    def case(self, number: int, **changes: Any) -> SnapshotCase:
        state = state_of(self.folder, f"SECRET-mask-{number}.npy")
        mask = MaskReference("picture", (state,), str(self.folder.resolve()))
        fields: dict[str, Any] = {
            "case_id": pseudonym(self.key, "case", str(number)),
            "patient": f"SECRET-{number}",
            "kind": "image",
            "files": (state_of(self.folder, f"SECRET-{number}.npy"),),
            "frame": None,
            "label": None if self.with_masks else number % 2,
            "split": ("train", "train", "validation", "test")[number % 4],
            "mask": mask if self.with_masks else None,
            "line": number + 2,
            "sex": "",
            "age_years": None,
            "scanner": "",
            "modality": "CT",
        }
        return SnapshotCase(**{**fields, **changes})

    def change(self, number: int, array: NDArray[Any]) -> None:
        """Write another file, of another time, as a hospital that exports again does."""
        path = self.folder / f"SECRET-{number}.npy"
        later = path.stat().st_mtime_ns + 10**9
        write_array(path, array)
        os.utime(path, ns=(later, later))

    @property
    def snapshot(self) -> Snapshot:
        return snapshot_of(self.cases)

    def decode(
        self, cache: NativeCache, progress: Callable[[int, int], None] | None = None
    ) -> list[CaseOutcome]:
        pool = cast(DecodePool, self)
        return list(cache.decode_cases(self.snapshot, self, pool, progress))

    # -- the store ---------------------------------------------------------------------------------

    def scan(self, index: Any, progress: Any = None, *, thorough: bool = False) -> Any:
        raise NotImplementedError

    @contextmanager
    def local_files(self, locators: Sequence[str]) -> Iterator[list[Path]]:
        paths = [existing_file_inside(self.folder.resolve(), one) for one in locators]
        if self.now_open >= self.most_allowed:
            raise CohortError("no space", code="E_CACHE_FULL")
        self.now_open += 1
        self.num_fetched += 1
        self.most_open = max(self.most_open, self.now_open)
        try:
            yield paths
        finally:
            self.now_open -= 1

    def close(self) -> None:
        """Nothing is open."""

    # -- the pool ----------------------------------------------------------------------------------

    def map(
        self, orders: Iterable[tuple[str, Mapping[str, Any]]]
    ) -> Iterator[Decoded | UnusableCaseError]:
        for operation, arguments in orders:
            yield self._decoded(arguments["mask" if operation.startswith("mask") else "path"])

    def _decoded(self, path: str) -> Decoded | UnusableCaseError:
        self.decoded.append(Path(path).name)
        if self.on_decode is not None:
            self.on_decode(path)
        try:
            array = np.load(path, allow_pickle=False)
            name = InstanceName(Path(path).stem.rpartition("-")[2], "series")
            return Decoded(array, {"spacing_mm": [1.0, 0.5]}, (name,))
        except ValueError:
            return UnusableCaseError("E_IMAGE_UNREADABLE")


def snapshot_of(cases: Sequence[SnapshotCase], **changes: Any) -> Snapshot:
    fields: dict[str, Any] = {
        "name": "chest",
        "number": 1,
        "unit": "patient",
        "class_names": ("normal", "pneumonia"),
        "mask_values": (),
        "cases": tuple(cases),
        "findings": (),
        "num_found": len(cases),
        "fingerprint": "0" * 64,
    }
    return Snapshot(**{**fields, **changes})
