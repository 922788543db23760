"""Public images in the form a job's model takes them, for a set that lies at the coordinator.

Who holds the images runs this on their own machine, by name, as a simulation does; no message can
ask a hospital for it. A registered cohort is a hospital's own and is refused.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward_client.cohorts.cohort_file import SourceSettings, read_cohort_tables
from fedward_client.cohorts.source import SPLITS, Split
from fedward_client.cohorts.views.job_view import prepare_job_view
from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import Job

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALL_SPLITS = "all"


def public_cases(
    cohorts_table: object,
    data_root: Path,
    job: Job,
    *,
    site: str,
    split: str,
    split_key: bytes,
    progress: Callable[[int, int], None],
) -> "dict[str, NDArray[Any]]":
    """Read the annotated cases of one site and split.

    Args:
        cohorts_table: The parsed cohorts file.
        data_root: The folder that its paths are relative to.
        job: Task and preprocessing.
        site: Whose images, by its name in the cohorts file.
        split: One of `SPLITS`, or `all`.
        split_key: 32 bytes; decides where the cohort has no split of its own.
        progress: Called with the number of cases decoded and of all.

    Returns:
        `images`, `labels` or `masks`, and `patients`, as a hold-out set has them; patients are
        numbers that follow their order alone.

    Raises:
        ConfigurationError: The cohorts file cannot be used, has no such site, is of a registered
            cohort, or has no case in the split.
        CohortError: Its images cannot be used.
    """
    import numpy as np

    sources = _sources_of(cohorts_table, data_root, site)
    wanted = [one for one in SPLITS if split in (one, ALL_SPLITS)]
    with tempfile.TemporaryDirectory(prefix="fedward-hold-out-") as folder:
        view = prepare_job_view(Path(folder), sources, job.task, job.data, split_key, progress)
        places = np.sort(np.concatenate([view.annotated_indices(_split(one)) for one in wanted]))
        if not places.size:
            raise ConfigurationError(
                f"sites.{site} has no case with a label in its {split} split",
                hint=f"choose another --split: {', '.join(SPLITS)} or {ALL_SPLITS}",
            )
        _, patients = np.unique(view.patients[places], return_inverse=True)
        truth = {"labels": view.labels} if view.masks is None else {"masks": view.masks}
        (name, values), *_ = truth.items()
        return {
            "images": np.array(view.images[places], dtype=np.float32),
            name: np.array(values[places]),
            "patients": patients.astype(np.int64),
        }


def _split(name: str) -> Split:
    return next(one for one in SPLITS if one == name)


def _sources_of(cohorts_table: object, data_root: Path, site: str) -> tuple[SourceSettings, ...]:
    tables = read_cohort_tables(cohorts_table, data_root)
    found = next((sources for name, sources in tables.items() if name == site), None)
    if found is None:
        raise ConfigurationError(
            f"the cohorts file has no site {site!r}", hint=f"it has {', '.join(sorted(tables))}"
        )
    if any(source.source == "registered" for source in found):
        raise ConfigurationError(
            f"sites.{site} is a registered cohort: a hospital's own images, which stay there",
            hint="make the set of public images",
        )
    return found
