"""Small DICOM hospitals made on the fly: images and CT series, with whatever is wrong with them."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation
from tests.client.cohorts.small_cohorts import dicom_bytes

NAME = "NEEDLENAME"
ID = "NEEDLEID"

TASK = """
[task]
kind = "classification"
classes = [{ id = 0, name = "normal" }, { id = 1, name = "finding" }]
"""
TASK_MASKS = """
[task]
kind = "segmentation"
classes = [{ id = 0, name = "background" }, { id = 1, name = "organ" }]
"""
TASK_FINDINGS = """
[task]
kind = "classification"
multi_label = true
classes = [{ id = 0, name = "Effusion" }, { id = 1, name = "Mass" }]
"""


def uid(*parts: int) -> str:
    return ".".join(["1.2.3", *(str(part + 1) for part in parts)])


@dataclass
class Hospital:
    """A folder of DICOM files and a label file.

    Patient n has study uid(n, visit), its image uid(n, visit, 0).
    """

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def dicom(self) -> Path:
        return self.folder / "dicom"

    @property
    def labels(self) -> Path:
        return self.folder / "labels.csv"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def add_image(self, patient: int, visit: int = 0, *, name: str = "", **elements: Any) -> str:
        """Write one X-ray; give its SOP UID."""
        study = uid(patient, visit)
        values = {
            "SOPClassUID": DigitalXRayImageStorageForPresentation,
            "SOPInstanceUID": f"{study}.9.1",
            "SeriesInstanceUID": f"{study}.9",
            "StudyInstanceUID": study,
            "AccessionNumber": f"NEEDLEACC{patient}x{visit}",
            "PatientID": f"{ID}{patient}",
            "PatientName": f"{NAME}{patient}^ANNA",
            "PatientBirthDate": "19500101",
            "StudyDate": "20200101",
            "PatientSex": "MF"[patient % 2],
            "Modality": "DX",
            "Manufacturer": "SIEMENS",
            "ImageType": ["ORIGINAL", "PRIMARY"],
        } | elements
        pixels = values.pop("pixels", None)
        if pixels is None:
            draw = np.random.default_rng([patient, visit])
            pixels = draw.integers(0, 4000, (8, 8)).astype(np.uint16)
        self._write(name or f"p{patient}v{visit}.dcm", dicom_bytes(pixels, **values))
        return str(values["SOPInstanceUID"])

    def add_series(
        self, patient: int, visit: int = 0, places: Sequence[float] = (0, 1, 2, 3), **elements: Any
    ) -> str:
        """Write one CT series; give its UID."""
        study = uid(patient, visit)
        series = str(elements.pop("SeriesInstanceUID", f"{study}.9"))
        for number, place in enumerate(places):
            self.add_image(
                patient,
                visit,
                name=f"{series}/{number}.dcm",
                **{
                    "SOPClassUID": CTImageStorage,
                    "SOPInstanceUID": f"{series}.{number + 1}",
                    "SeriesInstanceUID": series,
                    "Modality": "CT",
                    "ImagePositionPatient": [0, 0, place],
                    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                    "PixelSpacing": [1, 1],
                    "SliceThickness": 1,
                    "FrameOfReferenceUID": f"{study}.8",
                    "RescaleSlope": 1,
                    "RescaleIntercept": -1024,
                    "pixels": np.full((4, 4), 100 * patient + number, dtype=np.uint16),
                }
                | elements,
            )
        return series

    def label(self, **cells: str) -> None:
        """Add a line to the label file."""
        self.rows.append(cells)

    def patients(self, numbers: Iterable[int], **cells: str) -> None:
        """Add patients with one labelled image each, of both classes in turn."""
        for number in numbers:
            key = self.add_image(number)
            self.label(**{"sop_instance_uid": key, "label": str(number % 2)} | cells)

    def write_labels(self) -> Path:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with self.labels.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        return self.labels

    def write_task(self, text: str = TASK) -> Path:
        path = self.folder / "job.toml"
        path.write_text(text)
        return path

    def add_arguments(self, name: str = "chest", *more: str, task: str = TASK) -> list[str]:
        """Give the arguments of `cohort add`; label file and task are written now."""
        return [
            "cohort", "add", name, "--home", str(self.home), "--dicom", str(self.dicom),
            "--labels", str(self.write_labels()), "--task", str(self.write_task(task)), *more,
        ]  # fmt: skip

    def _write(self, name: str, content: bytes) -> None:
        path = self.dicom / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def make_hospital(folder: Path) -> Hospital:
    (folder / "dicom").mkdir(parents=True)
    return Hospital(folder)


def read_json(text: str) -> Mapping[str, Any]:
    value = json.loads(text)
    assert isinstance(value, dict)
    return value
