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
    from highdicom.seg import Segmentation, SegmentationTypeValues
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    return Segmentation(
        source_images=source_headers(mask.images),
        pixel_array=mask.planes,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=_segments_of(model),
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        **equipment_of(model)._asdict(),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label="RESEARCH",
        content_description=STATEMENT,
        series_description=STATEMENT,
        omit_empty_frames=bool(mask.planes.any()),
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
