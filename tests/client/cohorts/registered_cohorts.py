"""Cohorts of DICOM files, registered in a site's home through the steps of `cohort add`."""

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.client.cohorts.small_cohorts import CLASSIFY, KEY, Row, dicom_bytes, write_manifest

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.registered.cohort_work import make_snapshot, opened_index, scan_source
from fedward_client.cohorts.registered.label_file import read_label_file
from fedward_client.cohorts.registered.registration import CohortRegistration, write_registration
from fedward_client.cohorts.registered.snapshot import Snapshot
from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.decode_worker import OPERATIONS
from fedward_client.dicom.decoded import Decoded
from fedward_client.site_home import SiteHome, create_site_home


def uid_of(*numbers: int) -> str:
    return "1.2.826.0.1.3680043.9." + ".".join(map(str, numbers))


def write_image(folder: Path, number: int, array: NDArray[Any], **elements: Any) -> str:
    """Write one image of patient SECRET-ID-<number>; give its locator."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = {
        "SOPInstanceUID": uid_of(number, 1),
        "SeriesInstanceUID": uid_of(number, 2),
        "StudyInstanceUID": uid_of(number, 3),
        "PatientID": f"SECRET-ID-{number}",
        "PatientName": f"SECRETNAME^{number}",
        "Modality": "CR",
        **elements,
    }
    (folder / f"i{number}.dcm").write_bytes(dicom_bytes(array, **fields))
    return f"i{number}.dcm"


def write_series(folder: Path, number: int, volume: NDArray[Any]) -> str:
    """Write one CT series of axial slices, 2 mm apart, from feet to head; give its UID."""
    for index, plane in enumerate(volume):
        write_image(
            folder / f"s{number}", number * 100 + index, plane,
            SeriesInstanceUID=uid_of(number, 2), StudyInstanceUID=uid_of(number, 3),
            PatientID=f"SECRET-ID-{number}", PatientName=f"SECRETNAME^{number}", Modality="CT",
            ImagePositionPatient=[0, 0, 2.0 * index], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1.0, 1.0], SliceThickness=2.0, FrameOfReferenceUID=uid_of(number, 4),
            InstanceNumber=index + 1, RescaleSlope=1, RescaleIntercept=0,
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        )  # fmt: skip
    return uid_of(number, 2)


def home_in(folder: Path) -> SiteHome:
    return create_site_home(folder, split_key=KEY)


def register(
    home: SiteHome,
    dicom: Path,
    rows: Sequence[Row],
    name: str = "chest",
    labels_in: Path | None = None,
    **settings: Any,
) -> Snapshot:
    """Write the label file and `cohort.toml`, scan, and make a snapshot if anything changed."""
    labels = write_manifest((labels_in or dicom.parent) / f"{name}.csv", rows)
    registration = CohortRegistration(
        name=name,
        labels_file=str(labels),
        dicom_folder=str(dicom),
        **{"task": CLASSIFY, "cases": "images", "min_patients": 1, **settings},
    )
    write_registration(home, registration)
    with opened_index(home, name) as index:
        scan_source(home, registration, index)
        return make_snapshot(home, registration, read_label_file(registration), index).snapshot


def settings_of(home: SiteHome, cohort: str = "chest", **others: Any) -> SourceSettings:
    return SourceSettings(source="registered", path=str(home.folder), cohort=cohort, **others)


def random_image(number: int, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(number).integers(0, 255, (8, 10)).astype(dtype)


class PoolInProcess:
    """Does what the workers do, without starting any: for tests that are of something else."""

    def __init__(self, num_workers: int = 1) -> None:
        self.num_workers = num_workers

    def map(
        self, orders: Iterable[tuple[str, Mapping[str, Any]]]
    ) -> Iterator[Decoded | UnusableCaseError]:
        for operation, arguments in orders:
            module, _, name = OPERATIONS[operation].partition(":")
            try:
                yield getattr(importlib.import_module(module), name)(**arguments)
            except UnusableCaseError as error:
                yield error

    def close(self) -> None:
        """Nothing to end."""
