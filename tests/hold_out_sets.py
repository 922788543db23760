"""Hold-out sets of a federation that no hospital is part of, and jobs that name them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.tiny_federation import TinyFederation, changed, pictures_of, write_site

from fedward_common.job.job_file import Job
from fedward_server.coordinator.hold_out_set import write_hold_out
from fedward_server.simulation.federation import Federation, set_up
from fedward_server.simulation.site_side import public_cases_side

Arrays = dict[str, NDArray[Any]]


def public_cohort(folder: Path) -> dict[str, Any]:
    """Write the images of one more hospital; give a cohorts table that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    return {"sites": {"public": write_site(folder, "public", pictures_of("public"))}}


def public_arrays(folder: Path, job: Job, *, split: str = "all") -> Arrays:
    """Give its images as a job's model takes them."""
    return public_cases_side().public_cases(
        public_cohort(folder),
        folder,
        job,
        site="public",
        split=split,
        split_key=bytes(32),
        progress=lambda done, total: None,
    )


@dataclasses.dataclass(frozen=True)
class GatedFederation(TinyFederation):
    """A federation whose runs are given a hold-out set."""

    hold_out: Path | None = None

    def in_folder(self, folder: Path, seed: int = 7) -> Federation:
        return dataclasses.replace(super().in_folder(folder, seed), hold_out=self.hold_out)

    def without_file(self) -> "GatedFederation":
        """Give the same for who goes on with a run, and has the set no more."""
        return dataclasses.replace(self, hold_out=None)


def with_hold_out(federation: TinyFederation, file: Path, *overrides: str) -> GatedFederation:
    """Write a public set to `file` and name it in the federation's job."""
    sha256 = write_hold_out(file, public_arrays(file.with_suffix(""), federation.job))
    job = changed(federation.job, f"hold_out.sha256={sha256}", *overrides)
    fields = {f.name: getattr(federation, f.name) for f in dataclasses.fields(TinyFederation)}
    return GatedFederation(**{**fields, "job": job}, hold_out=file)


def set_up_in(federation: TinyFederation, folder: Path) -> Path:
    """Lay a run down; give its folder."""
    set_up(federation.in_folder(folder))
    return folder


def saved(folder: Path, arrays: Arrays) -> tuple[Path, str]:
    """Write any arrays as a set; give the file and its hash."""
    file = folder / "set.npz"
    return file, write_hold_out(file, {name: np.asarray(array) for name, array in arrays.items()})
