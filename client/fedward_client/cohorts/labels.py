"""Local label values to the task's classes, so that every hospital means the same by class 1.

Nothing is guessed: with a table only its values are known, without one a value must be a class name
or a class id of the task.
"""

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedward_client.cohorts.source import (
    E_LABEL_UNMAPPED,
    E_LABEL_VALUE,
    E_MASK_VALUE,
    EXCLUDED_BY_LABEL,
    UnusableCaseError,
)
from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import TaskSection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedward_client.cohorts.source import IntegerMask

EXCLUDE = "exclude"


class LabelMap:
    """What each local value means in this task.

    Args:
        table: Value -> class name, class id or "exclude"; empty for the task's own names and ids.
        task: The task.

    Raises:
        ConfigurationError: The table names a class that the task does not have.
    """

    def __init__(self, table: Mapping[str, str | int], task: TaskSection) -> None:
        self._num_classes = len(task.classes)
        self._has_table = bool(table)
        own = {str(c.id): c.id for c in task.classes} | {c.name: c.id for c in task.classes}
        self._classes: dict[str, int | None] = {**own} if not table else {}
        for value, target in table.items():
            if target != EXCLUDE and str(target) not in own:
                raise _no_such_class(value, target, task)
            self._classes[value.strip()] = None if target == EXCLUDE else own[str(target)]

    def class_of(self, value: str) -> int:
        """Give the class id of a label in the manifest.

        Raises:
            UnusableCaseError: `E_LABEL_UNMAPPED`, `E_LABEL_VALUE` or `EXCLUDED_BY_LABEL`.
        """
        if value not in self._classes:
            raise UnusableCaseError(E_LABEL_UNMAPPED if self._has_table else E_LABEL_VALUE)
        label = self._classes[value]
        if label is None:
            raise UnusableCaseError(EXCLUDED_BY_LABEL)
        return label

    def mask_of(self, mask: "IntegerMask") -> "NDArray[np.uint8]":
        """Give the class id of every voxel, same shape; 0 is the background unless mapped.

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
        return self.class_of(text)


def _no_such_class(value: str, target: str | int, task: TaskSection) -> ConfigurationError:
    near = difflib.get_close_matches(str(target), task.class_names, n=1)
    names = ", ".join(repr(name) for name in task.class_names)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigurationError(
        f"labels.{value} is {target!r}, which is no class of the task",
        hint=f'{hint}one of: {names}, an id from 0 to {len(task.classes) - 1}, or "exclude"',
    )
