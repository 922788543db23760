"""Small data sets of every kind, and what the standard demands of them."""

import io
import json
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from fedward_common.dicom_writing.encoded_files import Encoding, file_bytes
from fedward_common.dicom_writing.headers import Equipment, Patient, Series, Study
from fedward_common.dicom_writing.identifiers import derived_date, derived_time, derived_uid
from fedward_common.dicom_writing.images import photograph, secondary_capture, xray_image
from fedward_common.dicom_writing.multi_frame import enhanced_ct
from fedward_common.dicom_writing.segmentations import segmentation
from fedward_common.dicom_writing.volumes import (
    SliceDetails,
    VolumeGeometry,
    VolumeModality,
    volume_slices,
)

PATIENT = Patient("north-0001", "Phantom^N0001", "19600229", "F")
CLASSES = ("background", "liver", "lesion")


def made_series(name: str = "images", patient: Patient = PATIENT) -> Series:
    study = Study(derived_uid("study"), derived_date("study"), derived_time("study"), "A1")
    return Series(patient, study, Equipment("Maker", "Model"), derived_uid(name), 1, name)


def grey(*shape: int, dtype: Any = np.uint16, below: int = 4096) -> NDArray[Any]:
    return np.random.default_rng(1).integers(0, below, shape).astype(dtype)


def made_volume(modality: VolumeModality = "CT", **details: Any) -> list[pydicom.Dataset]:
    uids = [derived_uid("slice", number) for number in range(5)]
    geometry = VolumeGeometry((3.0, 0.5, 0.75), (-10.0, -20.0, 100.0))
    pixels = grey(5, 8, 6, below=2000)
    return volume_slices(
        made_series(), modality, uids, pixels, geometry, SliceDetails(intercept=-1024, **details)
    )


def one_of_each() -> dict[str, pydicom.Dataset]:
    slices = made_volume()
    mask = grey(5, 8, 6, dtype=np.uint8, below=3)
    return {
        "xray": xray_image(made_series(), derived_uid(1), grey(8, 6), bits_stored=12),
        "capture": secondary_capture(made_series(), derived_uid(2), grey(8, 6)),
        "photograph": photograph(
            made_series(), derived_uid(3), grey(8, 6, 3, dtype=np.uint8, below=256)
        ),
        "ct": slices[0],
        "mr": made_volume("MR")[0],
        "seg": segmentation(slices, made_series("mask"), derived_uid(4), mask, CLASSES),
        "enhanced": enhanced_ct(slices, made_series("enhanced"), derived_uid(5)),
    }


def read_back(ds: pydicom.Dataset, encoding: Encoding = "none") -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(file_bytes(ds, encoding)))


@cache
def _standard(name: str) -> Any:
    return json.loads(
        resources.files("highdicom").joinpath("_standard", f"{name}.json").read_text("utf-8")
    )


def missing_attributes(ds: pydicom.Dataset) -> list[str]:
    """Name what the mandatory modules of its IOD demand at the top level and `ds` lacks.

    The tables are highdicom's, made from PS3.3. Type 1 needs a value, type 2 an element.
    """
    iod = _standard("sop_class_iod_map")[ds.SOPClassUID]
    modules = [m["key"] for m in _standard("iod_module_map")[iod] if m["usage"] == "M"]
    lacking = []
    for module in modules:
        for one in _standard("module_attribute_map").get(module, []):
            keyword = one["keyword"]
            if one["path"] or one["type"] not in ("1", "2"):
                continue
            present = keyword in ds
            if not present or (one["type"] == "1" and ds[keyword].is_empty):
                lacking.append(f"{module}: {keyword}")
    return lacking
