"""Whether the privacy ledger would open, found out without opening it.

Who opens the ledger keeps everybody else out, and a round that finds it in use is refused. So a
look from outside reads the same files without the lock: the chain of entries, both heads and the
mark that a ledger was begun. An entry that is written meanwhile makes them differ for a moment;
only what differs each time is damage.
"""

import hashlib
import json
from collections.abc import Callable

from fedward_client.ledger.beginning import begun_ledger
from fedward_client.ledger.damage import ledger_damaged
from fedward_client.ledger.heads import read_head, require_vouched
from fedward_client.ledger.ledger_folder import LedgerFolder
from fedward_common.errors import FedwardError, LedgerDamagedError

_START = "0" * 64
_TRIES = 3


def require_sound_ledger(folder: LedgerFolder) -> None:
    """Check a ledger as opening it would, but for what its entries come to.

    Raises:
        LedgerDamagedError: It is missing, edited, cut short or rolled back.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            _require_sound(folder)
            return
        except LedgerDamagedError:
            if not tries_left:
                raise


def _require_sound(folder: LedgerFolder) -> None:
    if folder.is_unused():
        return
    copies = [read_head(path) for path in folder.heads]
    begun_ledger(folder.begun_mark, folder.seal_key)
    try:
        content = folder.entries_file.read_bytes()
    except FileNotFoundError as error:
        raise ledger_damaged(f"the privacy ledger {folder.entries_file} is missing") from error
    require_vouched(copies, _hashes(content))


def _hashes(content: bytes) -> list[str]:
    """Give the hash of the first 0, 1, ... n whole lines, each of which names the one before."""
    hashes = [_START]
    for line in content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]:
        try:
            names = json.loads(line)["previous"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ledger_damaged(f"entry {len(hashes)} of the ledger is none") from error
        if names != hashes[-1]:
            raise ledger_damaged(f"entry {len(hashes)} of the ledger, or one before, was changed")
        hashes.append(hashlib.sha256(line).hexdigest())
    return hashes


class LedgerWatch:
    """Looks at the ledger when its files changed, and otherwise after some minutes.

    Args:
        folder: Says where it lies; raises `ConfigurationError` where the site's key is gone.
        look_again_seconds: A disk may rot without anybody writing to it.
    """

    def __init__(
        self, folder: Callable[[], LedgerFolder], look_again_seconds: float = 600.0
    ) -> None:
        self._folder = folder
        self._look_again_seconds = look_again_seconds
        self._seen: object = None
        self._code = ""
        self._next_look = float("-inf")

    def code(self, now_seconds: float) -> str:
        """Give the code of what is wrong; "" where the ledger is sound.

        Args:
            now_seconds: Monotonic.
        """
        try:
            folder = self._folder()
            seen = _state_of(folder)
            if seen != self._seen or now_seconds >= self._next_look:
                self._seen, self._next_look = None, now_seconds + self._look_again_seconds
                require_sound_ledger(folder)
                self._seen, self._code = seen, ""
        except FedwardError as error:
            self._code = error.code
        except OSError:
            self._code = "LEDGER_UNREADABLE"
        return self._code


def _state_of(folder: LedgerFolder) -> object:
    found: list[tuple[int, ...]] = []
    for path in (folder.entries_file, *folder.heads, folder.begun_mark):
        try:
            state = path.stat()
            found.append((state.st_ino, state.st_size, state.st_mtime_ns))
        except OSError:
            found.append(())
    return found
