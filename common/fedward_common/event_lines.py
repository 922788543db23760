"""What a process that runs for days says: one JSON object a line, for people and machines alike.

A line has `time`, `level`, `program`, `event` and what belongs to it; its values are names, numbers
and codes, and never text of a peer or of a patient. The level is `warning` where a line has a code,
which says what went wrong, and else `info`.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol, TextIO

Value = str | int | float | bool | None | list[str]


class Tell(Protocol):
    """Says that something happened."""

    def __call__(self, event: str, **fields: Value) -> None:
        """Write one line."""
        ...


class EventLines:
    """Writes lines to one stream, whole ones, from any thread.

    Args:
        program: Who speaks.
        stream: Where to; a reader that is gone stops nobody.
        utc_seconds: Gives seconds since 1970.
    """

    def __init__(
        self, program: str, stream: TextIO, utc_seconds: Callable[[], float] = time.time
    ) -> None:
        self._program = program
        self._stream = stream
        self._utc_seconds = utc_seconds
        self._lock = threading.Lock()

    def __call__(self, event: str, **fields: Value) -> None:
        """Write one line."""
        moment = datetime.fromtimestamp(self._utc_seconds(), UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": "warning" if fields.get("code") else "info",
            "program": self._program,
            "event": event,
        }
        text = json.dumps(line | fields)
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()
