"""One walk over a cohort's files, written into the index as it goes.

Rows carry the number of the scan that saw them last; when a walk has come to its end, rows with an
older number are of files that are no longer there. Commits come in batches: who is killed loses the
last few hundred headers and nothing else.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from fedward_client.cohorts.index.index_errors import named_errors
from fedward_client.cohorts.index.index_rows import (
    FILE_FIELDS,
    HEADER_FIELDS,
    file_values,
    header_row,
    locator_bytes,
    locator_text,
)
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_common.errors import ConfigurationError, LockedError
from fedward_common.file_lock import held_lock

LAST_WHOLE = "last_whole_scan"
NEVER_KNOWN = -1  # as a size: the file is looked at again by the next scan

_BATCH = 500
_HEADERS_REMEMBERED = 4096
_SET_FILE = (
    f"INSERT INTO files (locator, size_bytes, modified_ns, changed_ns, scan, code,"  # noqa: S608
    f" header_id, content_sha256, {', '.join(FILE_FIELDS)})"
    f" VALUES (?, ?, ?, ?, ?, ?, ?, NULL{', ?' * len(FILE_FIELDS)})"
    " ON CONFLICT (locator) DO UPDATE SET size_bytes = excluded.size_bytes,"
    " modified_ns = excluded.modified_ns, changed_ns = excluded.changed_ns,"
    " scan = excluded.scan, code = excluded.code,"
    " header_id = excluded.header_id, content_sha256 = NULL, "
    + ", ".join(f"{name} = excluded.{name}" for name in FILE_FIELDS)
)
_ADD_HEADER = (
    f"INSERT INTO headers (digest, {', '.join(HEADER_FIELDS)})"  # noqa: S608
    f" VALUES (?{', ?' * len(HEADER_FIELDS)})"
)


class IndexScan:
    """What a store does with the index while it walks; made by `DicomIndex.scanning`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._number = 0
        self._num_removed = 0
        self._uncommitted = 0
        self._header_ids: dict[bytes, int] = {}

    def begin(self) -> None:
        """Take the next number; until `finish` the index counts as incomplete."""
        with named_errors(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            row = self._connection.execute("SELECT value FROM meta WHERE name = 'scan'").fetchone()
            self._number = 1 + (row[0] if row else 0)
            self._set_meta("scan")
            self._connection.execute("COMMIT")

    def is_known(
        self, locator: str, size_bytes: int, modified_ns: int, changed_ns: int = 0
    ) -> bool:
        """Say whether a file is in the index as it is, and if so mark it as still there.

        Args:
            locator: Where it lies.
            size_bytes: Of the file.
            modified_ns: Of the file; whoever puts another in its place can keep this and the size.
            changed_ns: Of its entry in the file system, which nobody can keep; 0 where it has none.
        """
        with named_errors(self._path):
            self._require_transaction()
            changed = self._connection.execute(
                "UPDATE files SET scan = ? WHERE locator = ? AND size_bytes = ?"
                " AND modified_ns = ? AND changed_ns = ?",
                (self._number, locator_bytes(locator), size_bytes, modified_ns, changed_ns),
            )
            known = changed.rowcount > 0
            if known:
                self._count_write()
            return known

    def add(self, facts: InstanceFacts, changed_ns: int = 0) -> None:
        """Add a file, or replace what was known of it; `changed_ns` as for `is_known`."""
        with named_errors(self._path):
            self._require_transaction()
            self._connection.execute(
                _SET_FILE,
                (
                    locator_bytes(facts.locator),
                    facts.size_bytes,
                    facts.modified_ns,
                    changed_ns,
                    self._number,
                    None,
                    self._header_id(facts),
                    *file_values(facts),
                ),
            )
            self._count_write()

    def add_problem(
        self, locator: str, size_bytes: int, modified_ns: int, code: str, changed_ns: int = 0
    ) -> None:
        """Add a file that cannot be used; of size `NEVER_KNOWN`, to be tried again next time."""
        nothing = (None,) * len(FILE_FIELDS)
        place = (locator_bytes(locator), size_bytes, modified_ns, changed_ns)
        with named_errors(self._path):
            self._require_transaction()
            self._connection.execute(_SET_FILE, (*place, self._number, code, None, *nothing))
            self._count_write()

    def possible_twins(self) -> Iterator[tuple[str, int, int]]:
        """Give locator, size and time of files whose content must be compared and is not known.

        They share SOPInstanceUID and size; all files of one UID come in one piece.
        """
        after, size_after = "", -1
        while True:
            with named_errors(self._path):
                pair = self._connection.execute(
                    "SELECT sop_instance_uid, size_bytes FROM files"
                    " WHERE sop_instance_uid IS NOT NULL"
                    " AND (sop_instance_uid, size_bytes) > (?, ?)"
                    " GROUP BY sop_instance_uid, size_bytes HAVING count(*) > 1 LIMIT 1",
                    (after, size_after),
                ).fetchone()
                if pair is None:
                    return
                after, size_after = pair
                rows = self._connection.execute(
                    "SELECT locator, size_bytes, modified_ns FROM files"
                    " WHERE sop_instance_uid = ? AND size_bytes = ? AND content_sha256 IS NULL"
                    " ORDER BY locator",
                    pair,
                ).fetchall()
            yield from ((locator_text(row[0]), row[1], row[2]) for row in rows)

    def set_content(self, locator: str, sha256: bytes) -> None:
        """Note the hash of a file's bytes."""
        with named_errors(self._path):
            self._require_transaction()
            self._connection.execute(
                "UPDATE files SET content_sha256 = ? WHERE locator = ?",
                (sha256, locator_bytes(locator)),
            )
            self._count_write()

    def remove_vanished(self) -> None:
        """Remove the files that this scan did not see; only at the end of a walk."""
        with named_errors(self._path):
            self._require_transaction()
            self._num_removed += self._connection.execute(
                "DELETE FROM files WHERE scan <> ?", (self._number,)
            ).rowcount

    def finish(self) -> int:
        """Say that the walk came to its end; give the number of files removed."""
        self.remove_vanished()
        with named_errors(self._path):
            self._remove_unused_headers()
            self._set_meta(LAST_WHOLE)
            self._commit()
        return self._num_removed

    def keep(self) -> None:
        """Commit what was added since the last batch."""
        with named_errors(self._path):
            self._commit()

    def _header_id(self, facts: InstanceFacts) -> int:
        row = header_row(facts)
        digest = row[0]
        known = self._header_ids.get(digest)
        if known is None:
            found = self._connection.execute(
                "SELECT id FROM headers WHERE digest = ?", (digest,)
            ).fetchone()
            known = found[0] if found else self._connection.execute(_ADD_HEADER, row).lastrowid
            if known is None:
                raise sqlite3.DatabaseError
            if len(self._header_ids) >= _HEADERS_REMEMBERED:
                self._header_ids.clear()
            self._header_ids[digest] = known
        return known

    def _remove_unused_headers(self) -> None:
        self._header_ids.clear()
        self._connection.execute(
            "DELETE FROM headers WHERE NOT EXISTS"
            " (SELECT 1 FROM files WHERE header_id = headers.id)"
        )

    def _set_meta(self, name: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, self._number))

    def _require_transaction(self) -> None:
        if not self._connection.in_transaction:
            self._header_ids.clear()  # one that was rolled back may have made some of them
            self._connection.execute("BEGIN IMMEDIATE")

    def _count_write(self) -> None:
        self._uncommitted += 1
        if self._uncommitted >= _BATCH:
            self._commit()

    def _commit(self) -> None:
        self._uncommitted = 0
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")


@contextlib.contextmanager
def opened_scan(path: Path, connection: sqlite3.Connection) -> Iterator[IndexScan]:
    """Keep other scans of this index away while one goes on, and its work whatever ends it."""
    with _scan_lock(path):
        scan = IndexScan(path, connection)
        scan.begin()
        try:
            yield scan
        finally:
            scan.keep()


@contextlib.contextmanager
def _scan_lock(path: Path) -> Iterator[None]:
    # a file of its own: closing any descriptor of the index would drop SQLite's locks on it
    lock_file = path.with_name(f"{path.name}.scan-lock")
    held = LockedError(
        f"another scan writes the index {path}", hint="wait for it to end, then try again"
    )
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held_lock(lock_file, if_held=held))
        except OSError:
            raise ConfigurationError(
                f"{lock_file} cannot be opened", hint="check its folder's permissions"
            ) from None
        yield
