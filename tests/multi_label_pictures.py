"""Pictures with several findings for a tiny federation: a bright square at each finding's place.

The first site annotates everything, the second never the last finding, the third misses labels at
random; "u" stands for not annotated, and an empty cell too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tests.tiny_federation import SIDE, SITES, SPLITS, Picture, tiny_job

from fedward_common.job.job_file import Job, job_from_table, table_of_job
from fedward_common.settings import with_overrides

FINDINGS = ("effusion", "nodule", "fracture")
LABELS: Mapping[str, str | int] = {
    "1": 1, "0": 0, "u": "not annotated", "": "not annotated"
}  # fmt: skip
_PLACES = ((0, 0), (0, 8), (8, 0))


def findings_of(site: str, num_patients: int = 2 * len(SPLITS)) -> list[Picture]:
    """Draw a site's images; every third patient has two of them, with the same findings."""
    draw = np.random.default_rng(100 + SITES.index(site))
    pictures = []
    for patient in range(num_patients):
        present = [patient % 2, patient // 2 % 2, int(patient % 3 == 0)]
        cells = [str(value) for value in present]
        if site == SITES[1]:
            cells[-1] = "u"
        if site == SITES[2]:
            cells = [cell if draw.random() < 0.7 else "" for cell in cells]
        for _ in range(2 if patient % 3 == 0 else 1):
            image = draw.integers(0, 120, (SIDE, SIDE)).astype(np.uint8)
            for value, (top, left) in zip(present, _PLACES, strict=True):
                image[top : top + 6, left : left + 6] += np.uint8(100 * value)
            row = dict(zip(FINDINGS, cells, strict=True))
            row |= {"patient": f"{site}-{patient}", "split": SPLITS[patient // 2 % len(SPLITS)]}
            pictures.append(Picture(image, np.zeros((SIDE, SIDE), np.uint8), row))
    return pictures


def findings_job(overrides: Sequence[str] = ()) -> Job:
    """The tiny job with three findings."""
    table: dict[str, Any] = table_of_job(tiny_job())
    classes = [{"id": k, "name": name} for k, name in enumerate(FINDINGS)]
    table["task"] |= {"multi_label": True, "classes": classes}
    return job_from_table(with_overrides(table, list(overrides)))
