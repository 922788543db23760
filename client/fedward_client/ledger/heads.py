"""Two copies of the ledger's head, in two folders, that vouch for its last entry.

The chain vouches for every entry but the last. A head names the number of entries and the hash of
the last one. Each entry is synced first and the heads are written after it, so a crash leaves them
one entry behind at most; whoever finds them further behind, or ahead, or on another chain, finds a
ledger that was changed. Copies that are put back together with the ledger itself show nothing here:
for that other sites keep a blinded head.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward_client.ledger.damage import ledger_damaged
from fedward_common.atomic_files import write_atomically

_SCHEMA = "fedward-ledger-head/1"
_START = "0" * 64


@dataclass(frozen=True)
class Head:
    """The end of a chain: how many entries, and the hash of the last."""

    num_entries: int = 0
    sha256: str = _START


def read_head(path: Path) -> Head:
    """Read a copy; one that is not there vouches for nothing.

    Raises:
        LedgerDamagedError: It is no head.
    """
    try:
        table: Any = json.loads(path.read_bytes())
        head = Head(table["num_entries"], table["sha256"])
        if table != _plain(head) or type(head.num_entries) is not int or head.num_entries < 1:
            raise ValueError("other values than a head has")
    except (FileNotFoundError, NotADirectoryError):
        return Head()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ledger_damaged(f"{path}, which vouches for the ledger, was changed") from error
    return head


def write_head(path: Path, head: Head) -> None:
    """Write a copy; when this returns it survives a power cut."""
    write_atomically(path, json.dumps(_plain(head)).encode(), mode=0o600)


def _plain(head: Head) -> dict[str, Any]:
    return {"schema": _SCHEMA, "num_entries": head.num_entries, "sha256": head.sha256}


def require_vouched(copies: Sequence[Head], hashes: Sequence[str]) -> None:
    """Compare the copies with the chain.

    Args:
        copies: What was found, `Head()` for one that is missing.
        hashes: Of the first 0, 1, ... n entries.

    Raises:
        LedgerDamagedError: The ledger was cut, edited or rolled back, or its copies were.
    """
    num_entries = len(hashes) - 1
    for copy in copies:
        if copy.num_entries > num_entries:
            raise ledger_damaged(
                f"the ledger has {num_entries} entries, {copy.num_entries} were written: it was "
                "cut short or rolled back"
            )
        if hashes[copy.num_entries] != copy.sha256:
            raise ledger_damaged(
                f"entry {copy.num_entries} of the ledger is not the one that was written"
            )
    newest = max(copy.num_entries for copy in copies)
    if newest < num_entries - 1:
        raise ledger_damaged(
            f"the ledger has {num_entries} entries, its heads vouch for {newest}: they were "
            "removed or rolled back"
        )


def blinded(sha256: str, key: bytes) -> str:
    """Give a head as another site may keep it: HMAC-SHA256, which says nothing without the key.

    Args:
        sha256: Hash of the last entry.
        key: The site's own, at least 16 bytes.
    """
    if len(key) < 16:
        raise ValueError("a key of fewer than 16 bytes blinds nothing")
    return hmac.new(key, b"fedward ledger head v1\0" + sha256.encode(), hashlib.sha256).hexdigest()
