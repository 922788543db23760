"""What a cohort holds, in exact counts: for the hospital's own eyes and for simulation.

Nothing here may leave a hospital as it is: what a coordinator may see is banded elsewhere.
"""

from typing import Any

from fedward_client.cohorts.job_view import JobView
from fedward_client.cohorts.source import SPLITS, Split
from fedward_common.job.job_file import TaskSection


def cohort_report(view: JobView, task: TaskSection) -> dict[str, Any]:
    """Count cases, patients, and cases by class in each split, and exclusions by code.

    In segmentation a case counts for every class that its mask holds.
    """
    return {
        "unit": view.unit,
        "cases": {split: view.num_cases(split) for split in SPLITS},
        "patients": {split: view.num_patients(split) for split in SPLITS},
        "classes": {split: _cases_by_class(view, task, split) for split in SPLITS},
        "exclusions": dict(view.exclusions),
        "excluded_lines": {
            code: [{"source": source, "line": line} for source, line in pairs]
            for code, pairs in view.excluded_lines.items()
        },
    }


def _cases_by_class(view: JobView, task: TaskSection, split: Split) -> dict[str, int]:
    import numpy as np

    num_classes = len(task.classes)
    counts = np.zeros(num_classes, dtype=np.int64)
    for place in view.indices(split):
        if view.masks is None:
            counts[view.labels[place]] += 1
        else:
            voxels = np.bincount(np.asarray(view.masks[place]).ravel(), minlength=num_classes)
            counts += voxels[:num_classes] > 0
    return {name: int(count) for name, count in zip(task.class_names, counts, strict=True)}
