"""Local label values to the task's classes, so that every hospital means the same by class 1.

Nothing is guessed: with a table only its values are known. Without one a value must be a class name
or a class id of the task; in a multi-label task, whose classes are findings of their own, it must
be 1 or 0, "present" or "absent". An empty cell is a value like any other.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fedward_client.cohorts.source import (
    E_LABEL_UNMAPPED,
    E_LABEL_VALUE,
    E_MASK_VALUE,
    EXCLUDED_BY_LABEL,
    UnusableCaseError,
)
from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import TaskSection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedward_client.cohorts.source import IntegerMask

EXCLUDE = "exclude"
NOT_ANNOTATED_WORD = "not annotated"

_FINDING_WORDS = {"0": 0, "1": 1, "absent": 0, "present": 1}


class LabelMap:
    """What each local value means in this task.

    Args:
        table: Value -> class name, class id, "exclude" or "not annotated"; in a multi-label task 1,
            0, "present" or "absent" instead of a class. Empty for the task's own words.
        task: The task.

    Raises:
        ConfigurationError: The table names a class that the task does not have.
    """

    def __init__(self, table: Mapping[str, str | int], task: TaskSection) -> None:
        self._num_classes = len(task.classes)
        self._has_table = bool(table)
        own = _own_words(task)
        self._classes: dict[str, int | None] = {**own} if not table else {}
        for value, target in table.items():
            if target == EXCLUDE:
                label = None
            elif target == NOT_ANNOTATED_WORD:
                label = NOT_ANNOTATED
            elif (label := own.get(str(target))) is None:
                raise _no_such_class(value, target, task)
            self._classes[value.strip()] = label

    def class_of(self, value: str) -> int:
        """Give the class id of a label in the manifest, or `NOT_ANNOTATED`.

        In a multi-label task the value is of one finding, and 1 or 0 comes back.

        Raises:
            UnusableCaseError: `E_LABEL_UNMAPPED`, `E_LABEL_VALUE` or `EXCLUDED_BY_LABEL`.
        """
        if value not in self._classes:
            raise UnusableCaseError(E_LABEL_UNMAPPED if self._has_table else E_LABEL_VALUE)
        label = self._classes[value]
        if label is None:
            raise UnusableCaseError(EXCLUDED_BY_LABEL)
        return label

    def labels_of_cells(self, cells: Iterable[str]) -> tuple[int, ...]:
        """Give 1, 0 or `NOT_ANNOTATED` for each finding of a multi-label task.

        Args:
            cells: One a class, in the order of the ids.

        Raises:
            UnusableCaseError: As `class_of`, for the first cell that cannot be used.
        """
        return tuple(self.class_of(cell) for cell in cells)

    def mask_of(self, mask: "IntegerMask") -> "NDArray[np.uint8]":
        """Give the class id of every voxel, same shape; 0 is the background unless mapped.

        What the table calls "not annotated" becomes `NOT_ANNOTATED_VOXEL`.

        Raises:
            UnusableCaseError: `E_MASK_VALUE` or `EXCLUDED_BY_LABEL`.
        """
        import numpy as np

        if not self._has_table:
            if mask.size and (mask.min() < 0 or mask.max() >= self._num_classes):
                raise UnusableCaseError(E_MASK_VALUE)
            return mask.astype(np.uint8)
        values = np.unique(mask)
        if values.size > 256:
            raise UnusableCaseError(E_MASK_VALUE)
        classes = np.array([self._voxel_class(int(v)) for v in values], dtype=np.uint8)
        return classes[np.searchsorted(values, mask)]

    def _voxel_class(self, value: int) -> int:
        text = str(value)
        if value == 0 and text not in self._classes:
            return 0
        if text not in self._classes:
            raise UnusableCaseError(E_MASK_VALUE)
        voxel_class = self.class_of(text)
        return NOT_ANNOTATED_VOXEL if voxel_class == NOT_ANNOTATED else voxel_class


def _own_words(task: TaskSection) -> dict[str, int]:
    """What the task itself calls its classes; in a multi-label task, their presence."""
    if task.multi_label:
        return dict(_FINDING_WORDS)
    return {str(c.id): c.id for c in task.classes} | {c.name: c.id for c in task.classes}


def _no_such_class(value: str, target: str | int, task: TaskSection) -> ConfigurationError:
    words = tuple(_FINDING_WORDS) if task.multi_label else task.class_names
    near = difflib.get_close_matches(str(target), (*words, EXCLUDE, NOT_ANNOTATED_WORD), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    names = ", ".join(repr(word) for word in words)
    ids = "" if task.multi_label else f", an id from 0 to {len(task.classes) - 1}"
    return ConfigurationError(
        f"labels.{value} is {target!r}, which is no class of the task",
        hint=f'{hint}one of: {names}{ids}, "{EXCLUDE}" or "{NOT_ANNOTATED_WORD}"',
    )
