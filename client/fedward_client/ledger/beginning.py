"""A mark in the home that its ledger was begun, and which one: sealed, outside the ledger's folder.

Without it, a home from which ledger, heads and runs were taken looks like one that never trained.
The seal is under the key that the pseudonyms follow from: with another key nobody would be known as
one of those who were charged. The mark is written before the first run is reserved, and again by an
override. Whoever takes it away as well leaves nothing that this machine could know the ledger by.
"""

from pathlib import Path

from fedward_client.home_seal import open_sealed_table, sealed_table
from fedward_client.ledger.damage import ledger_damaged
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import CorruptFileError

_SCHEMA = "fedward-ledger-begun/1"


def begun_ledger(path: Path, seal_key: bytes) -> str:
    """Give the name of the ledger that was begun in this home; "" if there is no mark.

    Raises:
        LedgerDamagedError: The mark was edited, or the site's key is another than it was.
    """
    damaged = CorruptFileError(f"{path} was changed, or split.key was replaced")
    try:
        return open_sealed_table(seal_key, _SCHEMA, path.read_bytes(), damaged).get("ledger", "")
    except FileNotFoundError:
        return ""
    except CorruptFileError as error:
        raise ledger_damaged(str(error)) from error


def mark_begun(path: Path, seal_key: bytes, ledger: str) -> None:
    """Write the mark; when this returns it survives a power cut."""
    write_atomically(path, sealed_table(seal_key, _SCHEMA, {"ledger": ledger}), mode=0o600)


def require_the_begun(path: Path, begun: str, ledger: str, num_entries: int) -> None:
    """Compare the mark with the ledger that was found.

    Args:
        path: Of the mark, for messages.
        begun: The ledger it names; "" if there is no mark.
        ledger: The one that was found.
        num_entries: Of it; before the second one, a crash may have come before the mark.

    Raises:
        LedgerDamagedError: Another ledger was begun here, or the mark is gone.
    """
    if begun and begun != ledger:
        raise ledger_damaged(f"{path} names another ledger than the one that is here")
    if not begun and num_entries > 1:
        raise ledger_damaged(f"{path}, which says that a ledger was begun here, is gone")
