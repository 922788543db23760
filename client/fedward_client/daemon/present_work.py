"""What the site's processes do at this moment, in files that only the daemon reads.

`run/node-asked` is as old as the node's last question that the coordinator answered. `run/at-work`
names what the task loop computes; it is there only as long as that takes. Both are hints for who
watches over the machine: neither is durable, and no run depends on them.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fedward_client.site_home import SiteHome

_ASKED = "node-asked"
_AT_WORK = "at-work"
_NOTE_SECONDS = 1.0
_WORDS = {"train.round": "training"}
_EVALUATES = "evaluate."


@dataclass(frozen=True)
class Work:
    """What is computed.

    Attributes:
        what: `training` or `evaluating`.
        since_utc_seconds: When it began.
    """

    what: str
    since_utc_seconds: float


class AskedNote:
    """Notes that the coordinator answered, at most once a second.

    Args:
        folder: `run/` of the home.
        now_seconds: Gives monotonic seconds.
    """

    def __init__(self, folder: Path, now_seconds: Callable[[], float] = time.monotonic) -> None:
        self._file = folder / _ASKED
        self._now_seconds = now_seconds
        self._noted_at = float("-inf")

    def __call__(self) -> None:
        """Note it."""
        now = self._now_seconds()
        if now - self._noted_at >= _NOTE_SECONDS:
            self._noted_at = now
            with contextlib.suppress(OSError):  # a full disk does not keep the node from asking
                self._file.touch(mode=0o600)


def asked_at(home: SiteHome) -> float | None:
    """Give when the coordinator last answered, in seconds since 1970; None where it never did."""
    try:
        return (home.daemon_folder / _ASKED).stat().st_mtime
    except OSError:
        return None


def forget_present_work(home: SiteHome) -> None:
    """Forget what processes of an earlier daemon did."""
    for name in (_ASKED, _AT_WORK):
        (home.daemon_folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def at_work(folder: Path, message_type: str, utc_seconds: float) -> Iterator[None]:
    """Say, for as long as the block lasts, what is computed; nothing for what takes no time.

    Args:
        folder: `run/` of the home; where it is missing nothing is said.
        message_type: Of the message that asks for it.
        utc_seconds: Seconds since 1970.
    """
    what = _WORDS.get(message_type, "evaluating" if message_type.startswith(_EVALUATES) else "")
    file = folder / _AT_WORK
    if what:
        with contextlib.suppress(OSError):
            file.write_text(json.dumps({"what": what, "since_utc_seconds": utc_seconds}))
    try:
        yield
    finally:
        if what:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def present_work(home: SiteHome) -> Work | None:
    """Give what the task loop computes now."""
    try:
        content = json.loads((home.daemon_folder / _AT_WORK).read_bytes())
        return Work(str(content["what"]), float(content["since_utc_seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
