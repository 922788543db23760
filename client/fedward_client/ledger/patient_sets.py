"""Sets of patients as files named by their content: `patients/SHA256.npy`.

A row is the 16-byte pseudonym of a patient under the site's own key. A set is written once, before
the entry that names it, and never changed.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward_client.ledger.damage import ledger_damaged
from fedward_common.atomic_files import sync_folder, write_atomically
from fedward_common.errors import PrivacyError
from fedward_common.identities import Sha256Hex

PSEUDONYM_BYTES = 16
_HEADER_BYTES = 128  # of a .npy file of this type, whatever its number of rows
_SUBJECT = "the ledger's set of patients"


@dataclass(frozen=True, eq=False)
class PatientSet:
    """Patients, each once, in the order of their pseudonyms.

    Args:
        rows: Shape (n, 16), ascending, no two alike; `patient_set_of` makes them so.
    """

    rows: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def halves(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """First and last eight bytes of each row as numbers, which sort as the bytes do."""
        numbers = self.rows.view(">u8").astype(np.uint64)
        return np.ascontiguousarray(numbers[:, 0]), np.ascontiguousarray(numbers[:, 1])

    @cached_property
    def content(self) -> bytes:
        """The file's bytes."""
        file = io.BytesIO()
        np.save(file, self.rows, allow_pickle=False)
        return file.getvalue()

    @cached_property
    def sha256(self) -> Sha256Hex:
        """Hash of the file's bytes, and its name."""
        return Sha256Hex(hashlib.sha256(self.content).hexdigest())

    def members_among(self, others: "PatientSet") -> NDArray[np.bool_]:
        """Say of each of `others` whether it is in this set, shape (len(others),)."""
        if not len(self):
            return np.zeros(len(others), dtype=bool)
        (high, low), (other_high, other_low) = self.halves, others.halves
        last = len(self) - 1
        place = np.searchsorted(high, other_high)
        found = np.zeros(len(others), dtype=bool)
        open_ = np.arange(len(others))
        while open_.size:
            here = np.minimum(place[open_], last)
            same_half = (place[open_] <= last) & (high[here] == other_high[open_])
            found[open_] |= same_half & (low[here] == other_low[open_])
            # Two patients may share their first eight bytes: look at the next one as well.
            open_ = open_[same_half & ~found[open_]]
            place[open_] += 1
        return found


def patient_set_of(pseudonyms: NDArray[np.uint8]) -> PatientSet:
    """Make a set of rows in any order, a patient as often as you like.

    Args:
        pseudonyms: Shape (n, 16), uint8.

    Raises:
        PrivacyError: `INVALID_PATIENTS`: another shape or type.
    """
    rows = _checked(pseudonyms)
    high, low = PatientSet(rows).halves
    rows = rows[np.lexsort((low, high))]
    if len(rows):
        is_first = np.r_[True, (rows[1:] != rows[:-1]).any(axis=1)]
        rows = rows[is_first]
    rows.flags.writeable = False
    return PatientSet(rows)


def _checked(unverified: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows = np.asarray(unverified)
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != PSEUDONYM_BYTES:
        raise PrivacyError(
            f"patients came as {rows.dtype} of shape {rows.shape}, needed uint8 of (n, 16)",
            hint="give the keyed pseudonyms of the patients",
            code="INVALID_PATIENTS",
        )
    return np.ascontiguousarray(rows)


class PatientSets:
    """The folder of the sets; each is read once and kept in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, PatientSet] = {}

    def keep(self, patients: PatientSet) -> None:
        """Write a set; when this returns it survives a power cut."""
        path = self._path(patients.sha256)
        if path.is_file() and path.read_bytes() == patients.content:
            sync_folder(self.folder)  # a crash may have come between its rename and this
        else:
            write_atomically(path, patients.content, mode=0o600)
        self._read[patients.sha256] = patients

    def require_there(self, sha256: str, num_patients: int) -> None:
        """Check that a set's file is there and of its size, without reading it.

        Raises:
            LedgerDamagedError: It is not.
        """
        path = self._path(sha256)
        size = path.stat().st_size if path.is_file() else -1
        if size != _HEADER_BYTES + num_patients * PSEUDONYM_BYTES:
            state = "is missing" if size < 0 else "is not of the size that was written"
            raise ledger_damaged(f"{_SUBJECT} {path} {state}")

    def read(self, sha256: str) -> PatientSet:
        """Give a set.

        Raises:
            LedgerDamagedError: Its file is missing, or not what was written.
        """
        if sha256 not in self._read:
            self._read[sha256] = _read_set(self._path(sha256), sha256)
        return self._read[sha256]

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.npy"


def _read_set(path: Path, sha256: str) -> PatientSet:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ledger_damaged(f"{_SUBJECT} {path} is missing") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ledger_damaged(f"{_SUBJECT} {path} was changed after it was written")
    try:
        found = PatientSet(_checked(np.load(io.BytesIO(content), allow_pickle=False)))
    except (ValueError, PrivacyError) as error:
        raise ledger_damaged(f"{_SUBJECT} {path} holds no patients") from error
    high, low = found.halves
    ascends = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
    if not ascends.all():
        raise ledger_damaged(f"{_SUBJECT} {path} is not in the order of a set")
    return found
