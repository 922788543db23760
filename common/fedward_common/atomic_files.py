"""Files that are there whole or not at all, with the hash of what was written.

Temporary file, fsync, rename, fsync of the folder. A full disk is one named error and leaves the
old file as it was.
"""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedward_common.errors import CorruptFileError, DiskFullError
from fedward_common.identities import Sha256Hex

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn "no space left" into `DiskFullError`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise DiskFullError(
            f"no space left to write {path.name} in {path.parent}",
            hint="free some space and run the same command with --resume; "
            "everything committed before is intact",
        ) from error


def write_atomically(
    path: Path,
    content: bytes | memoryview | Iterable[bytes | memoryview],
    *,
    mode: int = 0o666,
    over: Path | None = None,
) -> str:
    """Write a file so that a crash leaves the old one or the new one, never a part.

    Several threads or processes may write one path: each writes a whole file, the last one stays.

    Args:
        path: Where; its folder exists.
        content: The bytes, or blocks of them in order.
        mode: Permissions from the first byte on, less the umask; an old file's do not count.
        over: A file of `path`'s folder that nobody needs, if it is there: it is written over and
            renamed, which halves the time of a file of a megabyte. Its permissions stay.

    Returns:
        SHA-256 of the content, in hex.

    Raises:
        DiskFullError: No space; the old file is untouched.
    """
    blocks = (content,) if isinstance(content, bytes | memoryview) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    digest = hashlib.sha256()
    with full_disk_named(path):
        if over is not None:
            with contextlib.suppress(FileNotFoundError):
                over.rename(temporary)
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY, mode)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                for block in blocks:
                    digest.update(block)
                    write_all(descriptor, block)
                file.truncate()
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    return digest.hexdigest()


def write_all(descriptor: int, block: bytes | memoryview) -> None:
    """Write every byte, however many calls the system needs."""
    view = memoryview(block).cast("B")
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of_file(path: Path) -> Sha256Hex:
    """Hash a file block by block."""
    with path.open("rb") as file:
        return Sha256Hex(hashlib.file_digest(file, "sha256").hexdigest())


def verify_file(path: Path, expected: str) -> None:
    """Check that a file still holds what was written.

    Raises:
        CorruptFileError: It is gone, or its SHA-256 is another.
    """
    if not path.is_file():
        raise CorruptFileError(f"{path} is missing", hint="restore it or start the run anew")
    actual = sha256_of_file(path)
    if actual != expected:
        raise CorruptFileError(
            f"{path} has SHA-256 {actual[:16]}..., {expected[:16]}... was written",
            hint="the file was changed after it was written; do not use it",
        )
