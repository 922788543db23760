"""Which signed messages of a run were answered: by these a site knows one that comes again.

`answered` in the run's folder holds the SHA-256 of each, 32 bytes, written once there is an answer
and before it leaves. Whoever looks reads the file, so another process, or one that was started
anew, knows the same. It is not waited for the disk: a kill loses nothing, and after a power cut a
repetition of the last messages may pass as new. Nothing that keeps an answer the same, or a patient
from being charged twice, depends on it.
"""

import contextlib
import os
from pathlib import Path

from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import full_disk_named, write_all
from fedward_common.file_lock import held_lock

MAX_IN_A_FILE = 1 << 15
"""Messages. Beyond them a file begins anew beside the one before, so twice as many are known."""

_FILE, _BEFORE, _LOCK = "answered", "answered.1", ".answered.lock"
_HASH_BYTES = 32


def was_answered(home: SiteHome, run: str, sha256: str) -> bool:
    """Say whether a message was answered before.

    Args:
        home: Of the site.
        run: That the message names; it may be none that is known here.
        sha256: Of the message's header.
    """
    if not run.isalnum():
        return False
    folder = home.run_folder(run)
    # Wherever it begins: two hashes that follow each other hold no third.
    searched = bytes.fromhex(sha256)
    return any(searched in _content(folder / name) for name in (_FILE, _BEFORE))


def note_answered(home: SiteHome, run: str, sha256: str) -> None:
    """Write down that a message of an accepted run is answered now.

    Raises:
        DiskFullError: It is not written.
    """
    folder = home.run_folder(run)
    path = folder / _FILE
    with full_disk_named(path):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_all(file, bytes.fromhex(sha256))
            is_full = _is_full(os.fstat(file).st_size)
        finally:
            os.close(file)
        if is_full:
            _begin_anew(folder)


def _begin_anew(folder: Path) -> None:
    with held_lock(folder / _LOCK), contextlib.suppress(FileNotFoundError):
        # Another process may have done so meanwhile.
        if _is_full((folder / _FILE).stat().st_size):
            (folder / _FILE).replace(folder / _BEFORE)


def _is_full(num_bytes: int) -> bool:
    return num_bytes >= MAX_IN_A_FILE * _HASH_BYTES


def _content(path: Path) -> bytes:
    # What cannot be read is not known: looking keeps nobody from answering.
    with contextlib.suppress(OSError, ValueError):
        return path.read_bytes()
    return b""
