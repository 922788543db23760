"""A process that handles patients' data says codes and places; what libraries say stays unsaid.

The text of an exception, a warning or a log line of a library may quote a header or a label. Here
each becomes one line with its kind and its place in the code, which is enough to look it up.
"""

import logging
import sys
import threading
import traceback
import warnings
from pathlib import Path
from types import TracebackType

from fedward_common.event_lines import Tell

_MAX_PLACES = 1000


def say_codes_only(tell: Tell, *loggers: str) -> None:
    """Turn what would be printed from now on into lines.

    Args:
        tell: Writes lines of the log.
        loggers: Of libraries that print by themselves; their own handlers are taken away.
    """

    def failed(
        kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del error
        tell("process.failed", code=kind.__name__, where=_place_of(trace))

    def warned(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
    ) -> None:
        del message
        tell("library.warned", code=category.__name__, where=f"{Path(filename).name}:{lineno}")

    sys.excepthook = failed
    threading.excepthook = lambda args: failed(args.exc_type, args.exc_value, args.exc_traceback)
    warnings.showwarning = warned  # type: ignore[assignment]  # its last parameters are not used
    for name in loggers:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger().handlers[:] = [PlacesOnly(tell)]


class PlacesOnly(logging.Handler):
    """Tells once for each place that a library has something to say, and not what."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell
        self._told: set[tuple[str, int]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one record."""
        place = record.name, record.lineno
        if place in self._told or len(self._told) >= _MAX_PLACES:
            return
        self._told.add(place)
        where = f"{record.module}:{record.lineno}"
        self._tell("library.said", code=record.levelname, library=record.name, where=where)


def _place_of(trace: TracebackType | None) -> str:
    if trace is None:
        return ""
    frame = traceback.extract_tb(trace)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
