"""A result on its way out of the model: checked by DICOM's rules, written for its owner alone."""

import io
from pathlib import Path
from typing import Any

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.bounded_reading import silenced_dicom
from fedward_client.prediction.classification_report import report_of
from fedward_client.prediction.network_answer import Classification
from fedward_client.prediction.placed_mask import PlacedMask
from fedward_client.prediction.segmentation_object import segmentation_of
from fedward_client.prediction.source_series import SourceSeries
from fedward_client.prediction.trained_model import TrainedModel
from fedward_client.site_home import write_private_file
from fedward_common.errors import CohortError, ConfigurationError


def result_bytes(
    model: TrainedModel, series: SourceSeries, answer: Classification | PlacedMask
) -> bytes:
    """Make the DICOM file of an answer.

    Raises:
        CohortError: `E_HEADER_INCOMPLETE`: the source's headers lack what a result must copy or
            refer to.
    """
    with silenced_dicom():
        try:
            return _encoded(_result_of(model, series, answer))
        except UnusableCaseError:
            raise
        except Exception:  # highdicom and pydicom raise anything on odd headers, and quote them
            raise CohortError(
                "no result can be made: the series' headers lack what it must refer to",
                hint="a segmentation of several images needs positions and a frame of reference",
                code="E_HEADER_INCOMPLETE",
            ) from None


def _result_of(
    model: TrainedModel, series: SourceSeries, answer: Classification | PlacedMask
) -> Any:
    if isinstance(answer, PlacedMask):
        return segmentation_of(model, answer)
    return report_of(model, answer, series.images)


def _encoded(dataset: Any) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def require_free(path: Path, *, force: bool) -> None:
    """Refuse to overwrite, before any work is done.

    Raises:
        ConfigurationError: The file is there, or its folder is not.
    """
    if path.exists() and not force:
        raise ConfigurationError(f"{path} is there already", hint="name another file, or --force")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path.parent} is no folder", hint="make it first")


def write_result(path: Path, content: bytes, *, force: bool) -> None:
    """Write a file of mode 0600, whole or not at all."""
    require_free(path, force=force)
    write_private_file(path, content)
