"""Which instances are images, and which may show a patient's name in their pixels.

Judged by header alone. Text in pixels is never searched for: what may hold some is refused until a
person has looked.
"""

from collections.abc import Iterable

from fedward_client.dicom.instance_facts import InstanceFacts

# objects that describe images, or hold no picture of a patient
_NO_IMAGES = frozenset(
    {"SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SR", "PR", "KO", "REG", "FID", "RWV"}
    | {"DOC", "PLAN", "AU", "ECG", "HD", "EPS", "TEXTUREMAP", "SMR", "STAIN", "M3D", "ANN"}
)
# ultrasound, endoscopy and their kin write text over the picture; secondary captures are screens
_TEXT_IS_USUAL = frozenset({"US", "IVUS", "BDUS", "ES", "SC", "OT", "EC"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def is_image(facts: InstanceFacts) -> bool:
    """Say whether an instance is a picture that a label can be about."""
    return facts.has_pixels and facts.modality.upper() not in _NO_IMAGES


def is_localizer(facts: InstanceFacts) -> bool:
    """Say whether ImageType calls it a localizer."""
    return "LOCALIZER" in facts.image_type.upper()


def images_of_series(instances: Iterable[InstanceFacts]) -> tuple[InstanceFacts, ...]:
    """Give a series' images; none where it has no images, or localizers alone."""
    images = tuple(one for one in instances if is_image(one))
    return () if all(is_localizer(one) for one in images) else images


def may_show_text(facts: InstanceFacts) -> bool:
    """Say whether text may be burned in: BurnedInAnnotation, else modality and ImageType."""
    said = facts.burned_in_annotation.strip().upper()
    if said in ("YES", "NO"):
        return said == "YES"
    uid = facts.sop_class_uid
    return (
        facts.modality.upper() in _TEXT_IS_USUAL
        or uid == _SECONDARY_CAPTURE
        or uid.startswith(_SECONDARY_CAPTURE + ".")
        or "SECONDARY" in facts.image_type.upper().split("\\")
    )
