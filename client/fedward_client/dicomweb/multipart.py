"""Multipart bodies (RFC 2046 5.1) in pieces: read and written in the space of one block.

Pure: blocks of bytes in, events or blocks out. Strict: CRLF line ends, bounded part headers, and
a body that does not end with the closing delimiter is an error.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message

from fedward_client.dicomweb.problems import E_SERVER_ANSWER, PassingError

_MAX_HEADER_BYTES = 16_384
_MAX_EPILOGUE_BYTES = 16_384
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,199}[0-9A-Za-z'()+_,./:=?-]")


@dataclass(frozen=True)
class PartStart:
    """A part begins; its content follows as blocks of bytes."""

    media_type: str


class MalformedBodyError(PassingError):
    """The body is no whole multipart message: cut off on its way, or never one."""

    def __init__(self) -> None:
        super().__init__(E_SERVER_ANSWER, "a multipart answer was cut short or malformed")


def media_type_of(value: str) -> tuple[str, Mapping[str, str]]:
    """Split a Content-Type into its type, in small letters, and its parameters."""
    message = Message()
    # email takes CR and LF for folded lines, which no server needs here
    message["content-type"] = re.sub(r"[^\x20-\x7e]", "", value)[:1000]
    parameters = {key.lower(): text for key, text in (message.get_params() or [])[1:]}
    return message.get_content_type().lower(), parameters


def read_parts(blocks: Iterable[bytes], boundary: str) -> Iterator[PartStart | bytes]:
    """Give each part's start and then its content, block by block.

    Args:
        blocks: The body, cut anywhere.
        boundary: As the Content-Type has it.

    Raises:
        MalformedBodyError: Whatever is not a whole multipart message.
    """
    if not _BOUNDARY.fullmatch(boundary):
        raise MalformedBodyError
    body = _Body(blocks)
    delimiter = b"\r\n--" + boundary.encode("ascii")
    body.prepend(b"\r\n")  # the first delimiter may stand at the very start
    for _ in body.until(delimiter, _MAX_HEADER_BYTES):
        pass  # the preamble means nothing
    while not _is_last(body):
        yield PartStart(_media_type_of_part(body))
        yield from body.until(delimiter)
    body.drain(_MAX_EPILOGUE_BYTES)


def _is_last(body: "_Body") -> bool:
    """Read what follows a delimiter: `--`, or blanks and the end of the line."""
    if body.take(2) == b"--":
        return True
    body.give_back(2)
    if body.line(_MAX_HEADER_BYTES).strip(b" \t"):
        raise MalformedBodyError
    return False


def _media_type_of_part(body: "_Body") -> str:
    media_type, left = "text/plain", _MAX_HEADER_BYTES  # RFC 2046 5.1: the default
    while line := body.line(left):
        left -= len(line) + 2
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or left <= 0:
            raise MalformedBodyError
        if name.strip().lower() == "content-type":
            media_type = media_type_of(value.strip())[0]
    return media_type


class _Body:
    """Bytes that come in blocks, looked at through a window."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._window = bytearray()
        self._taken = 0

    def prepend(self, content: bytes) -> None:
        self._window[:0] = content

    def _more(self) -> None:
        """Widen the window; the end is an error, for whoever asks needs more."""
        block = next(self._blocks, None)
        if block is None:
            raise MalformedBodyError
        self._window += block

    def take(self, count: int) -> bytes:
        while len(self._window) < self._taken + count:
            self._more()
        self._taken += count
        return bytes(self._window[self._taken - count : self._taken])

    def give_back(self, count: int) -> None:
        self._taken -= count

    def line(self, limit: int) -> bytes:
        """Take a line without its end."""
        self._forget()
        while (end := self._window.find(b"\r\n")) < 0:
            if len(self._window) > limit:
                raise MalformedBodyError
            self._more()
        line = bytes(self._window[:end])
        self._taken = end + 2
        return line

    def until(self, delimiter: bytes, limit: int | None = None) -> Iterator[bytes]:
        """Give all before the delimiter and take the delimiter too."""
        self._forget()
        given = 0
        while (end := self._window.find(delimiter)) < 0:
            # a delimiter may lie across the window's edge
            safe = max(0, len(self._window) - len(delimiter) + 1)
            if safe:
                yield bytes(self._window[:safe])
                del self._window[:safe]
            given += safe
            if limit is not None and given > limit:
                raise MalformedBodyError
            self._more()
        if end:
            yield bytes(self._window[:end])
        self._taken = end + len(delimiter)

    def drain(self, limit: int) -> None:
        self._forget()
        left = limit - len(self._window)
        for block in self._blocks:
            left -= len(block)
            if left < 0:
                raise MalformedBodyError

    def _forget(self) -> None:
        del self._window[: self._taken]
        self._taken = 0
