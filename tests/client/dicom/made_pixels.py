"""Data sets around a few pixels, and the code that decoding them ends with."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from tests.client.cohorts.small_cohorts import dicom_bytes

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.pixel_decoding import image_values

STORED = np.array([[0, 10], [20, 250]], dtype=np.uint8)


def made(array: NDArray[Any] = STORED, **elements: Any) -> Any:
    return dcmread(io.BytesIO(dicom_bytes(array, **elements)))


def code_of(dataset: Any, frame: int | None = None) -> str:
    with pytest.raises(UnusableCaseError) as raised:
        image_values(dataset, frame)
    return raised.value.code


def item(**elements: Any) -> Dataset:
    built = Dataset()
    for keyword, value in elements.items():
        setattr(built, keyword, value)
    return built


def words(*numbers: int) -> bytes:
    return np.array(numbers, dtype="<u2").tobytes()


def multi_frame(frames: NDArray[Any], **elements: Any) -> Any:
    flat = frames.reshape(-1, frames.shape[-1])
    return made(flat, Rows=frames.shape[1], NumberOfFrames=len(frames), **elements)
