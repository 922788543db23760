"""A mask as a DICOM Segmentation (PS3.3 A.51): one binary segment for each class but background."""

from typing import Any

from fedward_client.prediction.placed_mask import PlacedMask
from fedward_client.prediction.result_headers import (
    SERIES_NUMBER,
    STATEMENT,
    algorithm_of,
    code_of_class,
    equipment_of,
    source_headers,
)
from fedward_client.prediction.trained_model import TrainedModel
from fedward_common.dicom_writing.segmentations import binary_segmentation


def segmentation_of(model: TrainedModel, mask: PlacedMask) -> Any:
    """Make the object, in the source's study and frame of reference.

    Args:
        model: That made the mask.
        mask: On the images that the object refers to.

    Returns:
        A highdicom Segmentation. Planes without any class are left out of it, as is usual.

    Raises:
        UnusableCaseError: A source's header cannot be read.
        ValueError, AttributeError, TypeError: The headers lack what a segmentation needs.
    """
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    return binary_segmentation(
        source_headers(mask.images),
        mask.planes,
        _segments_of(model),
        equipment_of(model),
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label="RESEARCH",
        content_description=STATEMENT,
        series_description=STATEMENT,
    )


def _segments_of(model: TrainedModel) -> list[Any]:
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    return [
        SegmentDescription(
            segment_number=one.id,
            segment_label=one.name[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=code_of_class(one),
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm_of(model),
        )
        for one in model.job.task.classes[1:]
    ]
