"""A ledger's entries on disk: a chain of lines, and two heads that vouch for the last.

An entry is written and synced before `append` returns, then the heads. Whatever fails in between,
the entry may stand though nobody was told: a crash can waste budget, and gives none back.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward_client.ledger.accounts import Accounts, accounts_of
from fedward_client.ledger.beginning import begun_ledger, mark_begun, require_the_begun
from fedward_client.ledger.damage import ledger_damaged
from fedward_client.ledger.entries import Entry, entry_of, plain_of
from fedward_client.ledger.heads import Head, read_head, require_vouched, write_head
from fedward_client.ledger.ledger_folder import LedgerFolder
from fedward_common.errors import CorruptFileError, LedgerDamagedError, PrivacyError
from fedward_common.hash_chain import ChainedLines, VerifiedLines


@dataclass(frozen=True)
class _Known:
    """What this process verified when it last had a ledger open."""

    lines: VerifiedLines
    accounts: Accounts


# By file. A site opens its ledger for each round: going through all of it costs more every time.
_KNOWN: dict[Path, _Known] = {}


def forget_what_was_verified() -> None:
    """Go through every line again at the next opening, as a new process does."""
    _KNOWN.clear()


class LedgerFile:
    """The entries, open for one writer; the folder's lock is held by the caller.

    Raises:
        LedgerDamagedError: The file is missing, was edited, cut short or rolled back.
    """

    def __init__(self, folder: LedgerFolder) -> None:
        self._folder = folder
        self._is_interrupted = False
        copies = [read_head(path) for path in folder.heads]
        at_least = max(copy.num_entries for copy in copies)
        self._begun = begun_ledger(folder.begun_mark, folder.seal_key)
        if not folder.entries_file.is_file() and (at_least or folder.has_traces()):
            raise ledger_damaged(
                f"the privacy ledger {folder.entries_file} is missing, {at_least or 'some'} "
                "entries were written"
            )
        try:
            self._lines = _chained_lines(folder.entries_file, at_least)
        except CorruptFileError as error:
            raise ledger_damaged(str(error)) from error
        try:
            self._hashes = [entry["previous"] for entry in self._lines.entries()]
            self._hashes.append(self._lines.head)
            require_vouched(copies, self._hashes)
            if not at_least and self.head == Head() and folder.has_traces():
                raise ledger_damaged(f"the privacy ledger {folder.entries_file} is empty")
            self.accounts = self._accounts()
            require_the_begun(
                folder.begun_mark, self._begun, self.accounts.name, self.accounts.num_entries
            )
            self._heads_are_behind = any(copy != self.head for copy in copies)
        except BaseException:
            self._lines.close()
            raise

    def _accounts(self) -> Accounts:
        """Go on from what this process knows of the same lines."""
        num_known = self._lines.num_known
        known = _KNOWN[self._folder.entries_file].accounts if num_known else None
        tables = itertools.islice(self._lines.entries(), num_known, None)
        numbered = enumerate(tables, start=num_known + 1)
        return accounts_of((entry_of(one, number) for number, one in numbered), known)

    def close(self) -> None:
        """Release the file."""
        if not self._is_interrupted:
            known = _Known(self._lines.verified(), self.accounts)
            _KNOWN[self._folder.entries_file] = known
        self._lines.close()

    @property
    def head(self) -> Head:
        """The end of the chain."""
        return Head(len(self._hashes) - 1, self._hashes[-1])

    @property
    def hashes(self) -> tuple[str, ...]:
        """Hash of the first 0, 1, ... n entries."""
        return tuple(self._hashes)

    def append(self, entry: Entry) -> None:
        """Add an entry; when this returns it survives a power cut.

        Raises:
            PrivacyError: It does not fit those before, or holds a value that cannot be read back
                (`INVALID_ENTRY`); nothing was written.
            DiskFullError: It may have been written, and then counts.
        """
        plain = _readable(entry)
        self.accounts.require_fits(entry)
        self.sync_heads()  # never two entries ahead of them
        try:
            self._lines.append(plain)
            self._hashes.append(self._lines.head)
            self._heads_are_behind = True
            self.accounts.add(entry)
        except Exception:
            raise  # the chain took the line back
        except BaseException:
            self._is_interrupted = True  # Ctrl-C may have come between the disk and the memory
            self.close()
            raise
        self.sync_heads()

    def mark_begun(self) -> None:
        """Let the home say which ledger was begun in it."""
        if not self._begun:
            mark_begun(self._folder.begun_mark, self._folder.seal_key, self.accounts.name)
            self._begun = self.accounts.name

    def sync_heads(self) -> None:
        """Let both heads vouch for the last entry."""
        if not self._heads_are_behind:
            return
        for path in self._folder.heads:
            write_head(path, self.head)
        self._heads_are_behind = False


def _chained_lines(path: Path, at_least: int) -> ChainedLines:
    known = _KNOWN.get(path)
    if known is None:
        return ChainedLines(path, at_least=at_least)
    return ChainedLines(path, at_least=at_least, known=known.lines)


def _readable(entry: Entry) -> dict[str, Any]:
    """Give the plain form, if it is one that opening the ledger would accept."""
    try:
        plain = plain_of(entry)
        entry_of(plain, 0)
    except LedgerDamagedError as error:
        raise PrivacyError(
            f"{type(entry).__name__} holds a value of another type or range than an entry may",
            hint="rounds and attempts are whole numbers from 0; names are text",
            code="INVALID_ENTRY",
        ) from error
    return plain
