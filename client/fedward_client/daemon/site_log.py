"""`site.log` of the home: lines of JSON for the hospital's own eyes.

They have codes and places, and no text of an exception or of a peer. What has grown long becomes
`site.log.1`, in place of the one before: who asks again and again fills no disk.
"""

import contextlib
import io
import logging
import logging.handlers
import traceback
from pathlib import Path
from typing import Any

from fedward_client.site_home import SiteHome
from fedward_common.errors import FedwardError
from fedward_common.event_lines import EventLines
from fedward_common.file_lock import held_lock

MAX_LOG_BYTES = 10 << 20


def site_log_of(home: SiteHome) -> logging.Logger:
    """Give a site's own log."""
    # By the whole path: in one process several homes may belong to sites of one name.
    return logging.getLogger(f"fedward.site.{str(home.folder).replace('.', '_')}")


def log_at_home(home: SiteHome) -> None:
    """Let this site's refusals be read in its home; lines carry codes and places, no messages."""
    site_log = site_log_of(home)
    if site_log.handlers:  # a home that cannot be opened is tried again at each message
        return
    handler = _BoundedFile(home.folder / "site.log", delay=True, encoding="utf-8")
    handler.setFormatter(_Lines())
    site_log.propagate = False
    site_log.addHandler(handler)


def kind_and_place(error: Exception) -> str:
    """Say what was raised and where, without a word of its text."""
    code = f"INTERNAL_ERROR, {type(error).__name__}"
    if isinstance(error, FedwardError):
        code = error.code
    places = traceback.extract_tb(error.__traceback__)[-1:]
    return " ".join([code, *(f"({one.name}:{one.lineno or 0})" for one in places)])


class _BoundedFile(logging.handlers.WatchedFileHandler):
    """Appends to a file that begins anew when it is long; several processes may do so."""

    def emit(self, record: logging.LogRecord) -> None:
        # A log that cannot be opened keeps no refusal from leaving as its code.
        with contextlib.suppress(OSError):
            self._put_long_one_aside(Path(self.baseFilename))
            super().emit(record)

    def _put_long_one_aside(self, path: Path) -> None:
        if not path.exists() or path.stat().st_size < MAX_LOG_BYTES:
            return
        with held_lock(path.with_name(".site-log.lock")):
            if path.stat().st_size >= MAX_LOG_BYTES:  # nobody else did so meanwhile
                path.replace(path.with_name("site.log.1"))


class _Lines(logging.Formatter):
    """Writes a record as `EventLines` writes a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line without its end."""
        stream = io.StringIO()
        fields: dict[str, Any] = {"level": record.levelname.lower()}
        tell = EventLines("fedward-site", stream, lambda: record.created)
        tell("site.noted", **fields, text=record.getMessage())
        return stream.getvalue().rstrip("\n")
