"""From what stands in a mask to the classes of the cohort, and from those to the classes of a job.

A voxel's value in a picture or volume file is told by number. Segments of a SEG and ROIs of an
RTSTRUCT are told by number or by name, and drawn at decoding as what they mean: `drawn_value`.
Classes of cohort and job are the same names, in any order.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fedward_client.cohorts.labels import EXCLUDE, LabelMap
from fedward_client.cohorts.source import E_MASK_VALUE, Label, UnusableCaseError
from fedward_client.dicom.segment_meanings import segment_key
from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.errors import CohortError, ConfigurationError
from fedward_common.job.job_file import TaskSection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedward_client.cohorts.source import IntegerMask

E_TASK_MISMATCH = "E_TASK_MISMATCH"

_MAX_VALUE_RANGE = 1 << 16
_UNMAPPED = -2
_NOTHING_DRAWN = 0

SegmentMeanings = tuple[tuple[str, int | None], ...]
"""`segment_key` of a number or name -> `drawn_value`, or None where it is not drawn; sorted."""


def drawn_value(class_id: int) -> int:
    """Give what a class of the cohort, or `NOT_ANNOTATED`, is drawn as; 0 is where nothing is."""
    return 1 + (NOT_ANNOTATED_VOXEL if class_id == NOT_ANNOTATED else class_id)


def segment_meanings(label_values: Mapping[str, str | int], task: TaskSection) -> SegmentMeanings:
    """Give what each segment or ROI is drawn as; nothing where no mapping was given.

    Args:
        label_values: Number or name -> class, "exclude" or "not annotated".
        task: A segmentation.

    Raises:
        ConfigurationError: Two spellings of one name mean different things, or 0 is excluded; a
            class that the task does not have.
    """
    labels = LabelMap(label_values, task)
    found: dict[str, int | None] = {}
    for text, target in label_values.items():
        key = segment_key(text)
        value = None if target == EXCLUDE else drawn_value(labels.class_of(text.strip()))
        if key == "0":
            if value is None:
                raise ConfigurationError(
                    "label_values says 'exclude' of 0, where no segment is",
                    hint="map 0 to a class or to 'not annotated', or leave it out",
                )
            continue  # no segment has this number
        if found.setdefault(key, value) != value:
            raise ConfigurationError(
                f"label_values says two things of {key!r}",
                hint="capitals and blanks around a name do not count: keep one of them",
            )
    return tuple(sorted(found.items()))


def mask_values(
    label_values: Mapping[str, str | int], task: TaskSection
) -> tuple[tuple[int, int], ...]:
    """Give what values in a mask's file are: class ids or `NOT_ANNOTATED`; 0 is 0 unless mapped.

    An excluded value is as if it had not been drawn; names are of segments alone.
    """
    if not label_values:
        return tuple((one.id, one.id) for one in task.classes)
    labels = LabelMap(label_values, task)
    told = {text.strip(): target for text, target in label_values.items()}
    undrawn = labels.class_of("0") if "0" in told else 0
    values = {
        int(text): undrawn if target == EXCLUDE else labels.class_of(text)
        for text, target in told.items()
        if text.isascii() and text.isdecimal()
    }
    return tuple(sorted({0: 0, **values}.items()))


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
        self._class_drawn = {
            _NOTHING_DRAWN: self._class_of_value[0],
            drawn_value(NOT_ANNOTATED): NOT_ANNOTATED_VOXEL,
            **{drawn_value(old): new for old, new in enumerate(self._new_id)},
        }

    def label_of(self, label: Label) -> Label:
        """Give a case's label in the job's ids; one value a class in a multi-label task."""
        if isinstance(label, tuple):
            return tuple(label[old] for old in self._order)
        return label if label is None or label == NOT_ANNOTATED else self._new_id[label]

    def mask_of(self, mask: "IntegerMask", *, is_drawn: bool = False) -> "NDArray[np.uint8]":
        """Give the job's class id of every voxel, or `NOT_ANNOTATED_VOXEL`.

        Args:
            mask: As it was decoded.
            is_drawn: Its values are `drawn_value`s, not those of the hospital.

        Raises:
            UnusableCaseError: `E_MASK_VALUE`: a value that was not mapped.
        """
        import numpy as np

        low, high = int(mask.min()), int(mask.max())
        if high - low >= _MAX_VALUE_RANGE:
            raise UnusableCaseError(E_MASK_VALUE)
        class_of = self._class_drawn if is_drawn else self._class_of_value
        table = [class_of.get(value, _UNMAPPED) for value in range(low, high + 1)]
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
