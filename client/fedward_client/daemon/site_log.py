"""`site.log` of the home: lines of JSON for the hospital's own eyes.

They have codes and places, and no text of an exception or of a peer.
"""

import io
import logging
from typing import Any

from fedward_client.site_home import SiteHome
from fedward_common.event_lines import EventLines


def site_log_of(home: SiteHome) -> logging.Logger:
    """Give a site's own log."""
    # By the whole path: in one process several homes may belong to sites of one name.
    return logging.getLogger(f"fedward.site.{str(home.folder).replace('.', '_')}")


def log_at_home(home: SiteHome) -> None:
    """Let this site's refusals be read in its home; lines carry codes and places, no messages."""
    handler = logging.FileHandler(home.folder / "site.log", delay=True, encoding="utf-8")
    handler.setFormatter(_Lines())
    site_log = site_log_of(home)
    site_log.propagate = False
    site_log.addHandler(handler)


class _Lines(logging.Formatter):
    """Writes a record as `EventLines` writes a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line without its end."""
        stream = io.StringIO()
        fields: dict[str, Any] = {"level": record.levelname.lower()}
        tell = EventLines("fedward-site", stream, lambda: record.created)
        tell("site.noted", **fields, text=record.getMessage())
        return stream.getvalue().rstrip("\n")
