"""From `--series` to local files of one series, wherever it is."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedward_client.cohorts.index.instance_store import InstanceStore
from fedward_client.cohorts.registered.image_gate import images_of_series
from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicom.series_layout import header_facts_of
from fedward_common.errors import CohortError

_NO_IMAGE = {"E_NOT_DICOM", "E_NOT_A_FILE", "E_HEADER_INCOMPLETE"}


@dataclass(frozen=True)
class SourceSeries:
    """The images of one series; `locator` of each is its local path."""

    images: tuple[InstanceFacts, ...] = field(repr=False)

    @property
    def paths(self) -> list[Path]:
        """Local files, in the images' order."""
        return [Path(one.locator) for one in self.images]


def series_in_folder(folder: Path) -> SourceSeries:
    """Take a folder's images; it must hold one series, beside which anything else may lie.

    Raises:
        CohortError: `E_SERIES_EMPTY`, `E_SERIES_MIXED` where images are of several series, or the
            code of a DICOM file that cannot be read.
    """
    return _one_series(sorted(path for path in folder.iterdir() if path.is_file()))


@contextlib.contextmanager
def series_of_store(store: InstanceStore, locators: Sequence[str]) -> Iterator[SourceSeries]:
    """Have a series' files at hand inside the block.

    Raises:
        CohortError: As `series_in_folder`, or `E_SERIES_NOT_FOUND` without locators.
    """
    if not locators:
        raise CohortError(
            "there is no such series", hint="update the cohort, or check the UID",
            code="E_SERIES_NOT_FOUND",
        )  # fmt: skip
    with store.local_files(locators) as paths:
        yield _one_series(paths)


def _one_series(paths: Sequence[Path]) -> SourceSeries:
    found = []
    for path in paths:
        try:
            found.append(header_facts_of(str(path)))
        except UnusableCaseError as error:
            if error.code not in _NO_IMAGE:
                raise  # a damaged file may be the series' last slice, which no gap would show
    images = images_of_series(found)
    num_series = len({(one.study_instance_uid, one.series_instance_uid) for one in images})
    if num_series == 0:
        raise CohortError(
            "no usable image was found",
            hint="name a folder of DICOM files, or a series' UID with --cohort or --dicomweb",
            code="E_SERIES_EMPTY",
        )
    if num_series > 1:
        raise CohortError(
            f"{num_series} series lie there, one was expected",
            hint="name the folder of one series, or its UID with --cohort",
            code="E_SERIES_MIXED",
        )
    return SourceSeries(images)
