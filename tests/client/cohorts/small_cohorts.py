"""Small cohorts of every kind, written to a folder with the real encoders."""

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from fedward_client.cohorts.cohort_file import SourceKind, SourceSettings
from fedward_common.job.job_file import DataSection, TaskClass, TaskSection

KINDS: tuple[SourceKind, ...] = ("arrays", "image-archive", "volumes", "dicom-folder")
CLASSIFY = TaskSection(
    kind="classification", classes=(TaskClass(0, "normal"), TaskClass(1, "pneumonia"))
)
SEGMENT = TaskSection(
    kind="segmentation", classes=(TaskClass(0, "background"), TaskClass(1, "organ"))
)
DATA = DataSection(modality="CT", image_size=(8, 10))
KEY = bytes(range(32))
Row = Mapping[str, str]


def pixels(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 255, (8, 10), dtype=np.uint8)


def mask(number: int) -> NDArray[np.uint8]:
    return (pixels(number) > 128).astype(np.uint8)


def npy_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def png_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def volume_bytes(array: NDArray[Any], suffix: str, folder: Path) -> bytes:
    path = folder / f"scratch{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    content = path.read_bytes()
    path.unlink()
    return content


def dicom_bytes(array: NDArray[Any], **elements: Any) -> bytes:
    """One single-frame image; keywords replace or add elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(array.tobytes())])
    dataset.PatientID = "SECRET-ID-1"
    dataset.PatientName = "SECRETNAME^ANNA"
    dataset.Modality = "CT"
    dataset.Rows, dataset.Columns = array.shape[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = array.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    dataset.PixelData = array.tobytes() + b"\0" * (array.nbytes % 2)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@dataclass(frozen=True)
class Format:
    """How one kind of source names and encodes an image and a mask."""

    kind: SourceKind
    folder: Path

    def name(self, stem: str) -> str:
        suffixes = {
            "arrays": "",
            "image-archive": ".png",
            "volumes": ".mha",
            "dicom-folder": ".dcm",
        }
        is_mask = stem.startswith("m")
        return stem + (".png" if is_mask and self.kind == "dicom-folder" else suffixes[self.kind])

    def encode(self, array: NDArray[Any], *, is_mask: bool = False) -> bytes:
        if self.kind == "arrays":
            return npy_bytes(array)
        if self.kind == "image-archive" or (self.kind == "dicom-folder" and is_mask):
            return png_bytes(array)
        if self.kind == "volumes":
            return volume_bytes(array, ".mha", self.folder)
        return dicom_bytes(array)

    def store(self, files: Mapping[str, bytes]) -> Path:
        if self.kind in ("arrays", "image-archive"):
            path = self.folder / ("data.npz" if self.kind == "arrays" else "data.zip")
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in files.items():
                    archive.writestr(f"{name}.npy" if self.kind == "arrays" else name, content)
            return path
        path = self.folder / "data"
        path.mkdir(exist_ok=True)
        for name, content in files.items():
            (path / name).write_bytes(content)
        return path


def write_manifest(path: Path, rows: Sequence[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_cohort(
    kind: SourceKind,
    folder: Path,
    *,
    num_cases: int = 6,
    extra_files: Mapping[str, bytes] | None = None,
    changes: Mapping[int, Row] | None = None,
    extra_rows: Sequence[Row] = (),
    **settings: Any,
) -> SourceSettings:
    """Write `num_cases` images i0, i1 ... with masks m0, m1 ..., alternating labels 0 and 1.

    Args:
        kind: Of source.
        folder: Exists.
        num_cases: Patients SECRET-0, SECRET-1 ..., one image each.
        extra_files: Replace or join the encoded files.
        changes: Row number from 0 -> cells to change.
        extra_rows: Cells of rows to append, the others as in row 0.
        **settings: Of the source's table.
    """
    made = Format(kind, folder)
    files: dict[str, bytes] = {}
    rows: list[dict[str, str]] = []
    for number in range(num_cases):
        image_name, mask_name = made.name(f"i{number}"), made.name(f"m{number}")
        files[image_name] = made.encode(pixels(number))
        files[mask_name] = made.encode(mask(number), is_mask=True)
        split = ("train", "train", "val", "test")[number % 4]
        row = {"file": image_name, "mask": mask_name, "patient": f"SECRET-{number}"}
        rows.append({**row, "label": str(number % 2), "split": split})
    for number, cells in (changes or {}).items():
        rows[number].update(cells)
    rows += [{**rows[0], **cells} for cells in extra_rows]
    files.update(extra_files or {})
    path = made.store(files)
    manifest = write_manifest(folder / "manifest.csv", rows)
    return SourceSettings(source=kind, path=str(path), manifest=str(manifest), **settings)
