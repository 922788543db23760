"""The slices of a CT series as one Enhanced CT image, frames in the order given."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedward_common.dicom_writing.headers import Series, header_of
from fedward_common.dicom_writing.identifiers import derived_uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_IN_STACK_POSITION_NUMBER = 0x00209057
_FRAME_CONTENT_SEQUENCE = 0x00209111
_FROM_SLICES = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)


def enhanced_ct(slices: Sequence["Dataset"], series: Series, sop_uid: str) -> "Dataset":
    """Give an Enhanced CT image; one frame a slice, which keep their place in the patient.

    Args:
        slices: Of `volume_slices`, uncompressed, of one size and kind, in the frames' order.
        series: What the image belongs to, in the study of the slices.
        sop_uid: SOPInstanceUID.
    """
    from pydicom.uid import EnhancedCTImageStorage

    first = slices[0]
    ds = header_of(series, "CT", EnhancedCTImageStorage, sop_uid, 1)
    ds.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    ds.PixelPresentation, ds.VolumetricProperties = "MONOCHROME", "VOLUME"
    ds.VolumeBasedCalculationTechnique = "NONE"
    ds.ContentQualification = "RESEARCH"
    ds.LossyImageCompression = "00"
    ds.PresentationLUTShape = "IDENTITY"
    ds.AcquisitionContextSequence = []
    ds.AcquisitionDateTime = series.study.date + series.study.time
    ds.DeviceSerialNumber = "0"
    ds.NumberOfFrames = len(slices)
    organization = derived_uid(sop_uid, "dimension organization")
    ds.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    ds.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=_IN_STACK_POSITION_NUMBER,
            FunctionalGroupPointer=_FRAME_CONTENT_SEQUENCE,
        )
    ]
    for keyword in _FROM_SLICES:
        setattr(ds, keyword, first.get(keyword))
    ds.SharedFunctionalGroupsSequence = [_shared_groups(first)]
    ds.PerFrameFunctionalGroupsSequence = [
        _frame_groups(one, number) for number, one in enumerate(slices, start=1)
    ]
    ds.PixelData = b"".join(bytes(one.PixelData) for one in slices)
    ds["PixelData"].VR = "OW"
    return ds


def _item(**values: object) -> "Dataset":
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _shared_groups(first: "Dataset") -> "Dataset":
    frame_type = _item(
        FrameType=["DERIVED", "PRIMARY", "VOLUME", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
    )
    measures = _item(
        PixelSpacing=first.PixelSpacing,
        SliceThickness=first.SliceThickness,
        SpacingBetweenSlices=first.SpacingBetweenSlices,
    )
    values = _item(
        RescaleIntercept=first.RescaleIntercept,
        RescaleSlope=first.RescaleSlope,
        RescaleType=first.RescaleType,
    )
    return _item(
        CTImageFrameTypeSequence=[frame_type],
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=first.ImageOrientationPatient)],
        PixelValueTransformationSequence=[values],
    )


def _frame_groups(one: "Dataset", number: int) -> "Dataset":
    return _item(
        FrameContentSequence=[
            _item(
                FrameAcquisitionNumber=1,
                StackID="1",
                InStackPositionNumber=number,
                DimensionIndexValues=[number],
            )
        ],
        PlanePositionSequence=[_item(ImagePositionPatient=one.ImagePositionPatient)],
    )
