"""Which patients share which earlier sets: what a new run has to be checked against.

Patients are grouped by the sets that they are in. A group whose sets are a part of another group's
need not be looked at: it has spent less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedward_client.ledger.patient_sets import PSEUDONYM_BYTES, PatientSet, patient_set_of

MAX_HISTORIES = 100
_SETS_AT_ONCE = 32


@dataclass(frozen=True)
class History:
    """Patients who are in the same sets.

    Args:
        sets: Positions of the sets, ascending.
        num_patients: How many patients.
    """

    sets: tuple[int, ...]
    num_patients: int

    @cached_property
    def mask(self) -> int:
        """The sets as bits."""
        return sum(1 << one for one in self.sets)


def histories_of(patients: PatientSet, earlier: Sequence[PatientSet]) -> list[History]:
    """Group `patients` by the sets of `earlier` that they are in, in an order of its own."""
    if not len(patients):
        return []
    if not earlier:
        return [History((), len(patients))]
    is_in = np.stack([one.members_among(patients) for one in earlier], axis=1)
    _, first, counts = np.unique(_labels_of(is_in), return_index=True, return_counts=True)
    return [
        History(tuple(np.flatnonzero(row).tolist()), int(count))
        for row, count in zip(is_in[first], counts, strict=True)
    ]


def _labels_of(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give equal rows one number, and different rows different ones."""
    labels = np.zeros(len(flags), np.int64)
    for begin in range(0, flags.shape[1], _SETS_AT_ONCE):
        columns = flags[:, begin : begin + _SETS_AT_ONCE]
        words = columns @ (1 << np.arange(columns.shape[1], dtype=np.int64))
        # Labels are below the number of patients, so that a label and a word fit into 63 bits.
        _, labels = np.unique((labels << _SETS_AT_ONCE) + words, return_inverse=True)
    return labels


def longest_histories(histories: Sequence[History]) -> list[History]:
    """Leave out each history whose sets are all in another one.

    Where more than `MAX_HISTORIES` would remain, one that has the sets of all of them stands for
    them: it has spent at least as much as any.
    """
    kept: list[History] = []
    for one in sorted(histories, key=lambda h: (-len(h.sets), h.sets)):
        if any(one.mask & ~other.mask == 0 for other in kept):
            continue
        kept.append(one)
        if len(kept) > MAX_HISTORIES:
            together = sorted({number for h in histories for number in h.sets})
            return [History(tuple(together), sum(h.num_patients for h in histories))]
    return kept


def union_of(sets: Sequence[PatientSet]) -> PatientSet:
    """Give the patients of all sets."""
    empty = np.zeros((0, PSEUDONYM_BYTES), np.uint8)
    return patient_set_of(np.concatenate([empty, *(one.rows for one in sets)]))
