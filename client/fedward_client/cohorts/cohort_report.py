"""What a cohort holds, in exact counts: for the hospital's own eyes and for simulation.

Nothing here may leave a hospital as it is: what a coordinator may see is banded elsewhere.
"""

from typing import TYPE_CHECKING, Any

from fedward_client.cohorts.source import SPLITS, Split
from fedward_client.cohorts.views.job_view import JobView
from fedward_common.annotation import NOT_ANNOTATED
from fedward_common.job.job_file import TaskSection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def cohort_report(view: JobView, task: TaskSection) -> dict[str, Any]:
    """Count cases, patients, and cases by class in each split, and exclusions by code.

    A case counts for every class that its mask holds, or in a multi-label task for every finding
    that is present. `not_annotated` counts the cases without any label, `findings` (None but in a
    multi-label task) the cases in which each finding is present, absent and not annotated.
    """
    return {
        "unit": view.unit,
        "cases": {split: view.num_cases(split) for split in SPLITS},
        "patients": {split: view.num_patients(split) for split in SPLITS},
        "classes": {split: _cases_by_class(view, task, split) for split in SPLITS},
        "findings": _findings(view, task) if task.multi_label else None,
        "not_annotated": {
            split: view.num_cases(split) - view.annotated_indices(split).size for split in SPLITS
        },
        "partly_annotated": view.num_partly_annotated,
        "exclusions": dict(view.exclusions),
        "excluded_lines": {
            code: [{"source": source, "line": line} for source, line in pairs]
            for code, pairs in view.excluded_lines.items()
        },
    }


def _cases_by_class(view: JobView, task: TaskSection, split: Split) -> dict[str, int]:
    counts = _counts_by_class(view, len(task.classes), split)
    return {name: int(count) for name, count in zip(task.class_names, counts, strict=True)}


def _counts_by_class(view: JobView, num_classes: int, split: Split) -> "NDArray[np.int64]":
    import numpy as np

    counts = np.zeros(num_classes, dtype=np.int64)
    places = view.annotated_indices(split)
    if view.masks is not None:
        for place in places:
            voxels = np.bincount(np.asarray(view.masks[place]).ravel(), minlength=num_classes)
            counts += voxels[:num_classes] > 0
    elif view.labels.ndim == 1:
        counts += np.bincount(view.labels[places], minlength=num_classes)
    else:
        counts += (view.labels[places] == 1).sum(axis=0)
    return counts


def _findings(view: JobView, task: TaskSection) -> dict[Split, dict[str, dict[str, int]]]:
    words = {"present": 1, "absent": 0, "not_annotated": NOT_ANNOTATED}
    return {
        split: {
            name: {
                word: int((view.labels[view.indices(split), k] == value).sum())
                for word, value in words.items()
            }
            for k, name in enumerate(task.class_names)
        }
        for split in SPLITS
    }
