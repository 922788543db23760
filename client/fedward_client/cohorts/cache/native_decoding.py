"""From a snapshot's files to arrays in the native cache, each decoded once.

Batches of cases are decoded under the cache's lock, so several builders share the work and a kill
costs one batch at most. One bad file is one code. Files that are not as they were indexed are not
decoded: their snapshot does not mean them. Size and time may stay while the content goes, so what
the decoder read must also be the instance or the series that the case is named by; before that is
known nothing enters the cache.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fedward_client.cohorts.cache.native_cache import E_CACHE_FULL, NativeCache
from fedward_client.cohorts.cache.native_index import CacheEntry, Role, entry_name
from fedward_client.cohorts.contained_path import existing_file_inside
from fedward_client.cohorts.registered.snapshot import FileState, MaskReference, SnapshotCase
from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_IMAGE_UNREADABLE,
    E_MASK_UNREADABLE,
    UnusableCaseError,
)
from fedward_client.pseudonyms import pseudonym
from fedward_common.errors import CohortError

if TYPE_CHECKING:
    from fedward_client.cohorts.index.instance_store import InstanceStore
    from fedward_client.dicom.decode_pool import Decoded, DecodePool

E_FILE_CHANGED = "E_FILE_CHANGED"
E_FILE_UNREADABLE = "E_FILE_UNREADABLE"
E_MASK_NOT_FOUND = "E_MASK_NOT_FOUND"

DECODING = 2
"""Raised when the same file would now be decoded to other values: all is decoded anew."""

_CASES_AT_ONCE = 64
_CONTENT_DIGITS = 16
_MASK_OPERATIONS = {
    "dicom-seg": "mask-seg",
    "rtstruct": "mask-rtstruct",
    "volume": "mask-volume",
    "picture": "mask-picture",
}

Progress = Callable[[int, int], None]


class CaseOutcome(NamedTuple):
    """What became of a case: `code` is None where it is in the cache, with its mask if it has one.

    `pixels_sha256` is of the image's dtype, shape and values; "" where there is a code.
    """

    case_id: str
    code: str | None
    pixels_sha256: str


def content_of(case: SnapshotCase, role: Role) -> str:
    """Hash what an array is decoded from: names, sizes and times of files, and how."""
    mask = case.mask if role == "mask" else None
    text = json.dumps(
        {
            "decoding": DECODING,
            "kind": case.kind,
            "frame": case.frame,
            "files": [asdict(one) for one in case.files],
            "mask": None if mask is None else asdict(mask),
        },
        sort_keys=True,
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_CONTENT_DIGITS]


def names_of_case(case: SnapshotCase) -> Iterator[str]:
    """Give the names of a case's arrays in the cache."""
    for role in _roles_of(case):
        yield entry_name(case.case_id, content_of(case, role), role)


def find_array(cache: NativeCache, case: SnapshotCase, role: Role) -> CacheEntry | None:
    """Give the entry of a case's image or mask, or None where it must be decoded."""
    return cache.find(case.case_id, content_of(case, role), role)


def is_decoded(cache: NativeCache, case: SnapshotCase) -> bool:
    """Say whether everything of a case is there."""
    return all(find_array(cache, case, role) is not None for role in _roles_of(case))


def decode_cases(
    cache: NativeCache,
    cases: Sequence[SnapshotCase],
    store: "InstanceStore",
    pool: "DecodePool",
    progress: Progress | None = None,
) -> Iterator[CaseOutcome]:
    """Decode what is missing, images and masks, and give every case's outcome in order.

    Args:
        cache: Where arrays go.
        cases: What is wanted.
        store: Where DICOM files are.
        pool: Decodes in processes of its own.
        progress: Called with the number of cases done and of all.

    Raises:
        CohortError: `E_CACHE_FULL`, or `E_SOURCE_UNREADABLE`; what was decoded stays.
        DiskFullError: No space; what was decoded stays.
    """
    reader = _Reader(cache, store)
    cache.spare(name for case in cases for name in names_of_case(case))
    for begin in range(0, len(cases), _CASES_AT_ONCE):
        batch = cases[begin : begin + _CASES_AT_ONCE]
        codes: dict[str, str] = {}
        if not all(is_decoded(cache, one) for one in batch):
            with cache.only_writer():
                wanted = deque(_by_files(one for one in batch if not is_decoded(cache, one)))
                with reader:
                    while wanted:
                        codes |= _decode(wanted, reader, pool)
                cache.settle()
        for one in batch:
            yield _outcome_of(cache, one, codes.get(one.case_id))
        if progress is not None:
            progress(begin + len(batch), len(cases))


def _by_files(cases: Iterable[SnapshotCase]) -> Iterator[SnapshotCase]:
    """Put the frames of one file next to each other."""
    groups: dict[tuple[FileState, ...], list[SnapshotCase]] = {}
    for one in cases:
        groups.setdefault(one.files, []).append(one)
    for group in groups.values():
        yield from group


def _outcome_of(cache: NativeCache, case: SnapshotCase, code: str | None) -> CaseOutcome:
    entry = find_array(cache, case, "image") if code is None else None
    if entry is None:  # a code, or somebody took the array away meanwhile
        return CaseOutcome(case.case_id, code or E_FILE_UNREADABLE, "")
    return CaseOutcome(case.case_id, None, entry.pixels_sha256)


def _roles_of(case: SnapshotCase) -> tuple[Role, ...]:
    return ("image",) if case.mask is None else ("image", "mask")


def _decode(wanted: deque[SnapshotCase], reader: "_Reader", pool: "DecodePool") -> dict[str, str]:
    """Decode into the cache until `wanted` is empty, or files must go before others can come.

    Returns:
        The codes of those that cannot be decoded, by case id.
    """
    codes: dict[str, str] = {}
    under_way: deque[_Order] = deque()

    def orders() -> Iterator[tuple[str, Mapping[str, Any]]]:
        while wanted:
            case = wanted[0]
            try:
                opened = reader.open(case)
            except UnusableCaseError as error:
                codes[case.case_id] = error.code
                opened = []
            except CohortError as error:
                if error.code == E_CACHE_FULL and under_way:
                    return  # a server's files pass through bounded space
                raise
            wanted.popleft()
            for order in opened:
                under_way.append(order)
                yield order.operation, order.arguments

    try:
        for answer in pool.map(orders()):
            order = under_way.popleft()
            with order.files_to_close:
                try:
                    order.keep(reader.cache, answer)
                except UnusableCaseError as error:
                    codes.setdefault(order.case.case_id, error.code)
    finally:
        for order in under_way:
            order.files_to_close.close()
    return codes


@dataclass(frozen=True)
class _Order:
    """What to ask of the pool, the files being at hand until `files_to_close` is closed."""

    case: SnapshotCase
    role: Role
    operation: str
    arguments: Mapping[str, Any]
    files: Sequence[tuple[Path, FileState]]
    files_to_close: ExitStack

    def keep(self, cache: NativeCache, answer: "Decoded | UnusableCaseError") -> None:
        """Put what the pool gave into the cache."""
        if isinstance(answer, UnusableCaseError):
            raise answer
        _require_unchanged(self.files)
        _require_same_identity(self.case, answer, cache.pseudonym_key)
        array = answer.array.astype(np.uint8) if answer.array.dtype.kind == "b" else answer.array
        if array.dtype.kind not in "uif" or array.size == 0:
            unreadable = E_IMAGE_UNREADABLE if self.role == "image" else E_MASK_UNREADABLE
            raise UnusableCaseError(unreadable)
        content = content_of(self.case, self.role)
        cache.add(self.case.case_id, content, self.role, array, answer.facts)


def _require_unchanged(files: Sequence[tuple[Path, FileState]]) -> None:
    """Check that files are those that were indexed; a server tells no size."""
    for path, state in files:
        if not state.size_bytes:
            continue
        try:
            status = path.stat()
        except OSError:
            raise UnusableCaseError(E_FILE_NOT_FOUND) from None
        if (status.st_size, status.st_mtime_ns) != (state.size_bytes, state.modified_ns):
            raise UnusableCaseError(E_FILE_CHANGED)


def _require_same_identity(case: SnapshotCase, answer: "Decoded", key: bytes | None) -> None:
    """Check that a case's id stands for what was read: another file may have its size and time."""
    if key is None:
        return
    series = {one.series_instance_uid for one in answer.read_from}
    names = {one.sop_instance_uid for one in answer.read_from}
    if len(names) > 1:  # of several files none stands for all
        names = series
    elif case.kind == "series":
        names |= series
    if case.frame is not None:
        names = {f"{name}#{case.frame}" for name in names}
    if len(series) != 1 or case.case_id not in {pseudonym(key, "case", name) for name in names}:
        raise UnusableCaseError(E_FILE_CHANGED)


class _Lease:
    """Image files that several cases share, at hand until the last lets go."""

    def __init__(self, files: tuple[FileState, ...], opened: AbstractContextManager[list[Path]]):
        self.files = files
        self._opened = opened
        self.paths = opened.__enter__()
        self._num_holders = 1

    def hold(self) -> None:
        self._num_holders += 1

    def release(self) -> None:
        self._num_holders -= 1
        if not self._num_holders:
            self._opened.__exit__(None, None, None)


class _Reader:
    """Finds a case's files; frames of one file that come one after the other get it once.

    In a `with` block it holds the files of the case that came last, until others come.
    """

    def __init__(self, cache: NativeCache, store: "InstanceStore") -> None:
        self.cache = cache
        self._store = store
        self._last: _Lease | None = None

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *problem: object) -> None:
        if self._last is not None:
            self._last.release()
            self._last = None

    def open(self, case: SnapshotCase) -> list[_Order]:
        """Get all files of a case, once, and give the orders for what the cache lacks."""
        with ExitStack() as stack:
            images = self._images(case, stack)
            files = list(zip(images, case.files, strict=True))
            masks: list[Path] = []
            if case.mask is not None:
                masks = self._mask_files(case.mask, stack)
                files += zip(masks, case.mask.files, strict=True)
            _require_unchanged(files)
            roles = [r for r in _roles_of(case) if find_array(self.cache, case, r) is None]
            orders = [
                _Order(case, role, *_asked(case, role, images, masks), files, ExitStack())
                for role in roles
            ]
            if orders:  # answers come in order, so the last one's goes last
                orders[-1].files_to_close.push(stack.pop_all())
            return orders

    def _images(self, case: SnapshotCase, stack: ExitStack) -> list[Path]:
        if self._last is None or self._last.files != case.files:
            self.__exit__()  # first, for space is bounded
            locators = [one.locator for one in case.files]
            self._last = _Lease(case.files, self._store.local_files(locators))
        self._last.hold()
        stack.callback(self._last.release)
        return self._last.paths

    def _local(self, files: Sequence[FileState], stack: ExitStack) -> list[Path]:
        return stack.enter_context(self._store.local_files([one.locator for one in files]))

    def _mask_files(self, mask: MaskReference, stack: ExitStack) -> list[Path]:
        if mask.files and mask.kind in ("dicom-seg", "rtstruct"):
            return self._local(mask.files, stack)
        if not mask.files or not mask.folder:
            raise UnusableCaseError(E_MASK_NOT_FOUND)
        folder = Path(mask.folder)
        return [existing_file_inside(folder, one.locator) for one in mask.files]


def _asked(
    case: SnapshotCase, role: Role, images: Sequence[Path], masks: Sequence[Path]
) -> tuple[str, dict[str, Any]]:
    """Give the pool's operation and its arguments."""
    if role == "mask" and case.mask is not None:
        arguments: dict[str, Any] = {
            "mask": str(masks[0]),
            "paths": [str(path) for path in images],
            "frame": case.frame,
        }
        if case.mask.meanings:
            arguments["meanings"] = dict(case.mask.meanings)
        return _MASK_OPERATIONS[case.mask.kind], arguments
    if case.kind == "series":
        return "series", {"paths": [str(path) for path in images]}
    return "image", {"path": str(images[0]), "frame": case.frame}
