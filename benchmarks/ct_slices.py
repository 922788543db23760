"""CT-like slices as DICOM files in several encodings, and registered as a site's cohort."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    generate_uid,
)

from fedward_client.cohorts.registered.cohort_work import make_snapshot, opened_index, scan_source
from fedward_client.cohorts.registered.label_file import read_label_file
from fedward_client.cohorts.registered.registration import CohortRegistration, write_registration
from fedward_client.cohorts.registered.snapshot import Snapshot
from fedward_client.site_home import SiteHome, create_site_home
from fedward_common.job.job_file import TaskClass, TaskSection

SYNTAXES = {
    "uncompressed": ExplicitVRLittleEndian,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}
TASK = TaskSection("classification", (TaskClass(0, "no"), TaskClass(1, "yes")))
SPLITS = ("train", "train", "validation", "test")


@dataclass(frozen=True)
class RegisteredSlices:
    """A site with one cohort, `ct`, of single slices, nothing decoded yet."""

    home: SiteHome
    registration: CohortRegistration
    snapshot: Snapshot


def draw_slice(number: int, size: int) -> NDArray[np.uint16]:
    """Draw soft tissue, lungs, bone and the noise of a scanner; stored values 0..4095."""
    draw = np.random.default_rng(number)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    hounsfield = np.full((size, size), -1000.0)
    hounsfield[(x / 0.85) ** 2 + (y / 0.62) ** 2 < 1] = 40
    for side in (-0.4, 0.4):
        shift = draw.uniform(-0.05, 0.05)
        hounsfield[((x - side) / 0.25) ** 2 + ((y - shift) / 0.38) ** 2 < 1] = -850
    hounsfield[x**2 + ((y - 0.42) / 0.8) ** 2 < 0.012] = 700
    noise = draw.normal(0, 18, (size, size))
    stored: NDArray[np.uint16] = np.clip(np.rint(hounsfield + noise) + 1024, 0, 4095).astype("u2")
    return stored


def write_slices(folder: Path, num_slices: int, size: int) -> dict[str, list[Path]]:
    """Write every slice in every encoding; give the files by encoding."""
    files: dict[str, list[Path]] = {name: [] for name in SYNTAXES}
    for name in SYNTAXES:
        (folder / name).mkdir(parents=True)
    for number in range(num_slices):
        stored = draw_slice(number, size)
        for name, syntax in SYNTAXES.items():
            dataset = _dataset_of(stored, number)
            if syntax != ExplicitVRLittleEndian:
                dataset.compress(syntax, generate_instance_uid=False)
            path = folder / name / f"{number:04d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            files[name].append(path)
    return files


def _dataset_of(stored: NDArray[np.uint16], number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["slice", str(number)])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(number)])
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(number)])
    dataset.PatientID = f"phantom-{number:04d}"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = stored.tobytes()
    return dataset


def register_slices(folder: Path, files: list[Path]) -> RegisteredSlices:
    """Register the files of one folder in a new home below `folder`."""
    labels = folder / "labels.csv"
    with labels.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "split"])
        for number, path in enumerate(files):
            writer.writerow([path.name, number // 4 % 2, SPLITS[number % 4]])
    home = create_site_home(folder / "home", split_key=bytes(32))
    registration = CohortRegistration(
        name="ct",
        labels_file=str(labels),
        dicom_folder=str(files[0].parent),
        task=TASK,
        cases="images",
    )
    write_registration(home, registration)
    with opened_index(home, "ct") as index:
        scan_source(home, registration, index)
        kept = make_snapshot(home, registration, read_label_file(registration), index)
    return RegisteredSlices(home, registration, kept.snapshot)
