"""From the classes a cohort was registered with to those of a job: the same names, in any order."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fedward_client.cohorts.source import E_MASK_VALUE, Label, UnusableCaseError
from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.errors import CohortError
from fedward_common.job.job_file import TaskSection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedward_client.cohorts.source import IntegerMask

E_TASK_MISMATCH = "E_TASK_MISMATCH"

_MAX_VALUE_RANGE = 1 << 16
_UNMAPPED = -2


class ClassMapping:
    """What labels and mask values of a snapshot are in a job's task.

    Args:
        registered: The task the cohort was registered for.
        class_names: The snapshot's classes, by id.
        mask_values: Value in a mask -> the snapshot's class id, or `NOT_ANNOTATED`; 0 is the
            background unless listed.
        task: The job's.

    Raises:
        CohortError: `E_TASK_MISMATCH`: another kind of task, or other classes.
    """

    def __init__(
        self,
        registered: TaskSection,
        class_names: Sequence[str],
        mask_values: Mapping[int, int],
        task: TaskSection,
    ) -> None:
        if (registered.kind, registered.multi_label) != (task.kind, task.multi_label):
            raise _mismatch("its task is of another kind")
        if sorted(class_names) != sorted(task.class_names):
            raise _mismatch("its classes have other names")
        self._new_id = [task.class_names.index(name) for name in class_names]
        if task.kind == "segmentation" and self._new_id[0] != 0:
            raise _mismatch("another of its classes is the background")
        self._order = [list(class_names).index(name) for name in task.class_names]
        self._class_of_value = {
            value: NOT_ANNOTATED_VOXEL if old == NOT_ANNOTATED else self._new_id[old]
            for value, old in ({0: 0} | dict(mask_values)).items()
        }

    def label_of(self, label: Label) -> Label:
        """Give a case's label in the job's ids; one value a class in a multi-label task."""
        if isinstance(label, tuple):
            return tuple(label[old] for old in self._order)
        return label if label is None or label == NOT_ANNOTATED else self._new_id[label]

    def mask_of(self, mask: "IntegerMask") -> "NDArray[np.uint8]":
        """Give the job's class id of every voxel, or `NOT_ANNOTATED_VOXEL`.

        Raises:
            UnusableCaseError: `E_MASK_VALUE`: a value that was not mapped.
        """
        import numpy as np

        low, high = int(mask.min()), int(mask.max())
        if high - low >= _MAX_VALUE_RANGE:
            raise UnusableCaseError(E_MASK_VALUE)
        table = [self._class_of_value.get(value, _UNMAPPED) for value in range(low, high + 1)]
        classes = np.array(table, dtype=np.int16)[np.subtract(mask, low, dtype=np.int64)]
        if (classes == _UNMAPPED).any():
            raise UnusableCaseError(E_MASK_VALUE)
        return classes.astype(np.uint8)


def _mismatch(problem: str) -> CohortError:
    return CohortError(
        f"the cohort was registered for another task: {problem}",
        hint="register it for this job's task under another name",
        code=E_TASK_MISMATCH,
    )
