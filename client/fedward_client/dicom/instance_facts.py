"""What the header of one DICOM file says, as far as checks need it.

Identifiers are kept out of `repr`; free text (descriptions, comments, names) is not kept at all.
"""

from dataclasses import dataclass, field

Vector = tuple[float, ...]


@dataclass(frozen=True)
class InstanceFacts:
    """One instance of the index; a value that the header lacks is "" or None.

    Args:
        locator: Where it lies: path relative to the store's root, with '/'.
        size_bytes: Of the file; 0 where only a server knows it.
        modified_ns: Of the file; of a server's instance a number that changes with its header.
        person_key: Pseudonym of name, birth date and sex, normalised; "" where name or birth date
            is missing.
        number_of_frames: 1 where the header does not say, 0 where it says what cannot be.
        referenced_series: Series that a SEG or RTSTRUCT refers to; several apart by a backslash.
        image_position_mm: ImagePositionPatient, 3 numbers.
        image_orientation: ImageOrientationPatient, 6 direction cosines.
        pixel_spacing_mm: Between rows, then columns; ImagerPixelSpacing where alone.
        phase: What can tell phases, echoes and b-values at one place apart, as `echo=2;b=800`; ""
            where nothing does. Trigger time and acquisition number may differ in one phase too.
    """

    locator: str = field(repr=False)
    size_bytes: int
    modified_ns: int
    sop_instance_uid: str = field(repr=False)
    sop_class_uid: str
    series_instance_uid: str = field(repr=False)
    study_instance_uid: str = field(repr=False)
    accession_number: str = field(repr=False)
    patient_id: str = field(repr=False)
    person_key: str = field(repr=False)
    patient_sex: str = field(repr=False)
    patient_age_years: int | None = field(repr=False)
    modality: str
    manufacturer: str
    manufacturer_model_name: str
    image_type: str
    burned_in_annotation: str
    transfer_syntax_uid: str
    photometric_interpretation: str
    rows: int
    columns: int
    number_of_frames: int
    samples_per_pixel: int
    has_pixels: bool
    instance_number: int | None
    frame_of_reference_uid: str = field(repr=False)
    image_position_mm: Vector | None
    image_orientation: Vector | None
    pixel_spacing_mm: Vector | None
    slice_thickness_mm: float | None
    spacing_between_slices_mm: float | None
    phase: str
    referenced_series: str = field(repr=False)
