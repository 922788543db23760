"""The requests of DICOMweb that a hospital's site makes: search, metadata, retrieve, store.

UIDs are checked before they become part of a path (PS3.5 9.1), so none can lead elsewhere.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fedward_client.dicomweb.json_array import objects_of
from fedward_client.dicomweb.multipart import MalformedBodyError, read_parts
from fedward_client.dicomweb.problems import E_SERVER_ANSWER, DicomWebError
from fedward_client.dicomweb.session import Answer, DicomWebSession, Query, Request

T = TypeVar("T")
JsonDataset = Mapping[str, Any]

_JSON = "application/dicom+json"
_DICOM = "application/dicom"
# `*`: as it is stored; without it the server would decompress (PS3.18 8.7.3.5.2)
_ACCEPT_DICOM = f'multipart/related; type="{_DICOM}"; transfer-syntax=*'
_MAX_PAGE_BYTES = 64 << 20
_MAX_METADATA_BYTES = 8 << 30
_MAX_OBJECT_CHARACTERS = 16 << 20
_MAX_PAGES = 100_000
_MAX_STORE_ANSWER_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 20
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def is_uid(text: object) -> bool:
    """Say whether this is a UID: digits and dots, 64 characters at most."""
    return isinstance(text, str) and len(text) <= 64 and bool(_UID.fullmatch(text))


def first_value(dataset: JsonDataset, tag: str) -> Any:
    """Give an attribute's first value as the DICOM JSON model has it, or None."""
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values[0] if isinstance(values, list) and values else None


@dataclass(frozen=True)
class InstanceAddress:
    """The three UIDs that a server finds an instance by.

    Raises:
        DicomWebError: `E_SERVER_ANSWER`: one is no UID.
    """

    study: str = field(repr=False)
    series: str = field(repr=False)
    instance: str = field(repr=False)

    def __post_init__(self) -> None:
        if not (is_uid(self.study) and is_uid(self.series) and is_uid(self.instance)):
            raise DicomWebError(E_SERVER_ANSWER, "an identifier is no UID")

    @property
    def path(self) -> str:
        """Below the server's base URL; the instance's locator in the index."""
        return f"studies/{self.study}/series/{self.series}/instances/{self.instance}"

    @classmethod
    def of_locator(cls, locator: str) -> "InstanceAddress":
        """Read `path` back."""
        words = locator.split("/")
        if len(words) != 6 or words[::2] != ["studies", "series", "instances"]:
            raise DicomWebError(E_SERVER_ANSWER, "a locator is none of this server")
        return cls(words[1], words[3], words[5])


class FileWriter(Protocol):
    """Where a retrieved instance goes."""

    def restart(self) -> None:
        """Throw away what was written: the request is tried again."""

    def write(self, block: bytes) -> None:
        """Append; raises what stops the request, such as a used-up quota."""


@dataclass(frozen=True)
class DicomWebClient:
    """Requests to one server.

    Args:
        session: Carries them.
        page_size: Of searches.
        max_instance_bytes: A larger instance is cut off and refused.
    """

    session: DicomWebSession
    page_size: int
    max_instance_bytes: int

    def search(self, path: str, key_tag: str, query: Query = ()) -> Iterator[list[JsonDataset]]:
        """Give the matches of a search page by page (QIDO-RS).

        Args:
            path: `studies`, `studies/UID/series`, ...
            key_tag: Attribute that tells matches apart, as eight hex digits.
            query: What to match, beside limit and offset.

        A server that ignores the offset is noticed and asked no further.
        """
        offset, before = 0, set[str]()
        for _ in range(_MAX_PAGES):
            limits = (("limit", str(self.page_size)), ("offset", str(offset)))
            page = self._page(path, query + limits)
            keys = {str(first_value(match, key_tag)) for match in page}
            if keys <= before:
                return
            yield page
            offset, before = offset + len(page), keys
        raise DicomWebError(E_SERVER_ANSWER, "search: no end of matches")

    def _page(self, path: str, query: Query) -> list[JsonDataset]:
        request = Request(path, _JSON, _MAX_PAGE_BYTES, "search", query)
        return self.session.exchange(request, lambda answer: list(_objects(answer)))

    def metadata(self, path: str, take: Callable[[Iterable[JsonDataset]], T]) -> T:
        """Hand over the headers of a series or an instance one by one (WADO-RS metadata).

        Args:
            path: `studies/UID/series/UID` or an instance's path.
            take: Called anew for each try.
        """
        request = Request(f"{path}/metadata", _JSON, _MAX_METADATA_BYTES, "metadata")
        return self.session.exchange(request, lambda answer: take(_objects(answer)))

    def retrieve(self, address: InstanceAddress, target: FileWriter) -> None:
        """Write one instance, as it is stored, to `target` (WADO-RS)."""
        # room for delimiters and part headers
        limit = self.max_instance_bytes + (1 << 16)
        request = Request(address.path, _ACCEPT_DICOM, limit, "retrieve")
        self.session.exchange(request, lambda answer: _write_instance(answer, target))

    def store(self, paths: Sequence[Path]) -> None:
        """Send files in one request (STOW-RS); all are taken, or it is an error."""
        boundary = secrets.token_hex(16)
        sizes = sum(path.stat().st_size for path in paths)
        head, tail = _part_head(boundary), f"--{boundary}--\r\n".encode()
        request = Request(
            "studies",
            _JSON,
            _MAX_STORE_ANSWER_BYTES,
            "store",
            body=lambda: _multipart_body(paths, head, tail),
            body_type=f'multipart/related; type="{_DICOM}"; boundary={boundary}',
            body_bytes=sizes + len(paths) * (len(head) + 2) + len(tail),
        )
        self.session.exchange(request, _require_stored)


def _objects(answer: Answer) -> Iterator[JsonDataset]:
    if answer.status == 204:
        return
    if answer.media_type not in (_JSON, "application/json"):
        raise DicomWebError(E_SERVER_ANSWER, "an answer is no JSON")
    yield from objects_of(answer.blocks(), max_object_characters=_MAX_OBJECT_CHARACTERS)


def _write_instance(answer: Answer, target: FileWriter) -> None:
    target.restart()
    if answer.media_type == _DICOM:  # one instance needs no parts
        for block in answer.blocks():
            target.write(block)
        return
    boundary = answer.parameters.get("boundary", "")
    if answer.media_type != "multipart/related" or not boundary:
        raise DicomWebError(E_SERVER_ANSWER, "retrieve: an answer of the wrong type")
    num_parts = 0
    for piece in read_parts(answer.blocks(), boundary):
        if isinstance(piece, bytes):
            target.write(piece)
            continue
        num_parts += 1
        if num_parts > 1 or piece.media_type != _DICOM:
            raise DicomWebError(E_SERVER_ANSWER, "retrieve: other parts than the instance")
    if num_parts != 1:
        raise MalformedBodyError


def _part_head(boundary: str) -> bytes:
    return f"--{boundary}\r\nContent-Type: {_DICOM}\r\n\r\n".encode()


def _multipart_body(paths: Sequence[Path], head: bytes, tail: bytes) -> Iterator[bytes]:
    for path in paths:
        yield head
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left and (block := file.read(min(_BLOCK_BYTES, left))):
                left -= len(block)
                yield block
        yield b"\r\n"
    yield tail


def _require_stored(answer: Answer) -> None:
    """Read the answer to a STOW (PS3.18 10.5.3): failures are listed in 0008,1198."""
    if answer.status == 204 or answer.media_type not in (_JSON, "application/json"):
        _require(answer.status == 200)
        return
    # the answer is one object, where a search gives an array of them
    blocks = _in_array(answer.blocks())
    for response in objects_of(blocks, max_object_characters=_MAX_OBJECT_CHARACTERS):
        _require(first_value(response, "00081198") is None)


def _in_array(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Make `{...}` an array of one; an array stays."""
    first = b""
    remaining = iter(blocks)
    while not first.strip():
        block = next(remaining, None)
        if block is None:
            return
        first += block
    wrapped = first.lstrip().startswith(b"{")
    yield b"[" + first if wrapped else first
    yield from remaining
    if wrapped:
        yield b"]"


def _require(stored: bool) -> None:
    if not stored:
        raise DicomWebError(E_SERVER_ANSWER, "store: the server did not take every object")
