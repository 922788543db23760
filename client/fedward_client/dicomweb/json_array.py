"""The objects of a JSON array one after the other, in the space of the largest.

A server's answer for a series of ten thousand images is hundreds of megabytes; nothing of it but
one object is held.
"""

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from fedward_client.dicomweb.problems import (
    E_SERVER_ANSWER,
    E_SERVER_TOO_LARGE,
    DicomWebError,
    PassingError,
)

_BLANKS = " \t\r\n"


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def objects_of(
    blocks: Iterable[bytes], *, max_object_characters: int
) -> Iterator[Mapping[str, Any]]:
    """Give each object of an array of objects; an empty body is an empty array.

    Args:
        blocks: UTF-8, cut anywhere.
        max_object_characters: A larger object is refused.

    Raises:
        PassingError: `E_SERVER_ANSWER`: not a whole array of objects.
        DicomWebError: `E_SERVER_TOO_LARGE`: an object is too large.
    """
    text = _Text(blocks, max_object_characters)
    first = text.next_character()
    if not first:
        return
    _require(first == "[")
    text.skip(1)
    separator = text.next_character()
    while separator != "]":
        _require(text.next_character() == "{")
        yield text.next_object()
        separator = text.next_character()
        _require(separator in (",", "]"))
        if separator == ",":
            text.skip(1)
    text.skip(1)
    _require(not text.next_character())


def _require(condition: bool) -> None:
    if not condition:
        raise PassingError(E_SERVER_ANSWER, "an answer is no whole JSON array of objects")


class _Text:
    """Text that comes in blocks of UTF-8."""

    def __init__(self, blocks: Iterable[bytes], limit: int) -> None:
        self._blocks = iter(blocks)
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._limit = limit
        self._text = ""
        self._at = 0
        self._ended = False

    def next_character(self) -> str:
        """Skip blanks and look at what follows; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANKS:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._widen(1)

    def skip(self, count: int) -> None:
        self._at += count

    def next_object(self) -> Mapping[str, Any]:
        wanted = 1
        while True:
            try:
                value, self._at = _DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                _require(False)
            except ValueError:
                # cut short or malformed, which only the end tells; twice the text each time, so
                # that the work stays in proportion
                _require(not self._ended)
                wanted = max(2 * (len(self._text) - self._at), 1)
                self._widen(wanted)
            else:
                return dict(value)

    def _widen(self, wanted: int) -> None:
        """Read until `wanted` characters lie ahead, or the end."""
        self._text, self._at = self._text[self._at :], 0
        pieces, length = [self._text], len(self._text)
        if length > self._limit:
            raise DicomWebError(E_SERVER_TOO_LARGE, "an object of an answer is too large")
        while length < wanted and not self._ended:
            block = next(self._blocks, None)
            self._ended = block is None
            try:
                piece = self._decode(block or b"", self._ended)
            except UnicodeDecodeError:
                _require(False)
            pieces.append(piece)
            length += len(piece)
        self._text = "".join(pieces)
