"""The sites' side of a simulation, loaded by name as Flower loads the ClientApp.

The server never imports the client; a simulation has both on one machine and says so here.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fedward_common.consortium.roster import Roster, RosterEntry
from fedward_common.job.job_file import Job

_MODULE = "fedward_client.local_simulation"
_DICOMIZING = "fedward_client.dicomizing.dicomize"
_EXAMPLES = "fedward_client.training.examples"
_PUBLIC_CASES = "fedward_client.cohorts.public_cases"


class SiteSide(Protocol):
    """What a simulation asks of the client package."""

    def make_site_homes(
        self,
        folder: Path,
        cohorts_table: object,
        data_root: Path,
        *,
        coordinator_key: bytes,
        consortium: str,
        split_key: bytes,
        pooled: bool = False,
        partition: tuple[int, float] | None = None,
    ) -> tuple[RosterEntry, ...]:
        """Make one home a site, or one for all; give their keys and organisations."""
        ...

    def join_consortium(
        self, home_folder: Path, *, authority: bytes, certificate: bytes, roster: Roster
    ) -> None:
        """Let a home trust an authority, and give it its certificate."""
        ...

    def check_cohorts(self, cohorts_table: object, data_root: Path) -> None:
        """Refuse a cohorts file that cannot be used."""
        ...

    def cohort_summary(self, home_folder: Path) -> dict[str, Any] | None:
        """Give a site's report of its own cohort."""
        ...

    def seconds_of_run(self, home_folder: Path, run: str) -> dict[str, float]:
        """Give seconds of training and evaluation."""
        ...

    def privacy_of_run(self, home_folder: Path, run: str) -> dict[str, Any] | None:
        """Give what a run cost a unit of a site, by the site's own ledger; None without privacy."""
        ...

    def sums_on_test_split(self, home_folder: Path, run: str) -> NDArray[np.int64] | None:
        """Give a site's own sums over its test patients."""
        ...


class ExampleSide(Protocol):
    """What the report asks for its pictures."""

    def example_predictions(
        self, home_folder: Path, run: str, weights: NDArray[np.float32], count: int
    ) -> list[dict[str, Any]]:
        """Give some test images with truth and prediction."""
        ...


class DicomizingSide(Protocol):
    """What `fedward dicomize` asks of the client package, which reads the images."""

    def dicomize(
        self,
        cohorts_table: object,
        data_root: Path,
        job: Job,
        out: Path,
        progress: Callable[[str, int, int], None],
    ) -> list[dict[str, Any]]:
        """Write every site as a DICOM hospital; say what was made of each."""
        ...


class PublicCases(Protocol):
    """What `fedward hold-out` asks of the client package, which reads the images."""

    def public_cases(
        self,
        cohorts_table: object,
        data_root: Path,
        job: Job,
        *,
        site: str,
        split: str,
        split_key: bytes,
        progress: Callable[[int, int], None],
    ) -> dict[str, NDArray[Any]]:
        """Give the annotated cases of one site and split as a job's model takes them."""
        ...


def site_side() -> SiteSide:
    """Load the client's half of a simulation."""
    return cast(SiteSide, importlib.import_module(_MODULE))


def dicomizing_side() -> DicomizingSide:
    """Load the client's half of `fedward dicomize`."""
    return cast(DicomizingSide, importlib.import_module(_DICOMIZING))


def example_side() -> ExampleSide:
    """Load the client's example pictures; imports torch."""
    return cast(ExampleSide, importlib.import_module(_EXAMPLES))


def public_cases_side() -> PublicCases:
    """Load what reads public images."""
    return cast(PublicCases, importlib.import_module(_PUBLIC_CASES))
