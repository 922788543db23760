"""Which mask belongs to a case: an instance of the index, or a file beside the label file."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fedward_client.cohorts.contained_path import existing_file_inside
from fedward_client.cohorts.registered.class_mapping import SegmentMeanings
from fedward_client.cohorts.registered.label_file import LabelRow
from fedward_client.cohorts.registered.label_targets import IndexLookup
from fedward_client.cohorts.registered.snapshot import FileState, MaskKind, MaskReference
from fedward_client.cohorts.source import E_FILE_NOT_FOUND, UnusableCaseError
from fedward_client.dicom.instance_facts import InstanceFacts

_KIND_OF_MODALITY: dict[str, MaskKind] = {"SEG": "dicom-seg", "RTSTRUCT": "rtstruct"}
_VOLUME_ENDINGS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
_PICTURE_ENDINGS = (".png",)
# pictures that `picture_files` does not decode, or whose compression changes a mask's values
_UNFIT_ENDINGS = (".bmp", ".tif", ".tiff", ".gif", ".webp", ".jpg", ".jpeg")


def state_of(facts: InstanceFacts) -> FileState:
    """Give a file as it was indexed."""
    return FileState(facts.locator, facts.size_bytes, facts.modified_ns)


def mask_of_row(
    row: LabelRow,
    images: Sequence[InstanceFacts],
    index: IndexLookup,
    mask_folder: Path,
    meanings: SegmentMeanings = (),
) -> MaskReference:
    """Find the mask that a line names.

    Args:
        row: The line.
        images: What the mask is of.
        index: Where SEG and RTSTRUCT are.
        mask_folder: The label file's folder, resolved.
        meanings: What segments and ROIs are drawn as.

    Raises:
        UnusableCaseError: `E_MASK_NOT_FOUND`, `E_LABEL_AMBIGUOUS` (two masks), `E_PATH_ESCAPES`,
            `E_MASK_UNREADABLE` (a file that is no mask, or a picture that is no PNG) or
            `E_MASK_REFERENCE`.
    """
    if row.mask_path and row.seg_sop_instance_uid:
        raise UnusableCaseError("E_LABEL_AMBIGUOUS")
    if row.seg_sop_instance_uid:
        found = index.instance(row.seg_sop_instance_uid)
        if len(found) > 1:
            raise UnusableCaseError("E_DUPLICATE_INSTANCE")
        return _of_instance(found[0] if found else None, images, meanings)
    if not row.mask_path:
        raise UnusableCaseError("E_MASK_NOT_FOUND")
    return _of_path(row.mask_path, images, index, mask_folder, meanings)


def _of_instance(
    facts: InstanceFacts | None, images: Sequence[InstanceFacts], meanings: SegmentMeanings
) -> MaskReference:
    if facts is None:
        raise UnusableCaseError("E_MASK_NOT_FOUND")
    kind = _KIND_OF_MODALITY.get(facts.modality.upper())
    if kind is None:
        raise UnusableCaseError("E_MASK_UNREADABLE")
    referenced = set(filter(None, facts.referenced_series.split("\\")))
    if referenced and referenced.isdisjoint(one.series_instance_uid for one in images):
        raise UnusableCaseError("E_MASK_REFERENCE")
    return MaskReference(kind, (state_of(facts),), meanings=meanings)


def _of_path(
    text: str,
    images: Sequence[InstanceFacts],
    index: IndexLookup,
    folder: Path,
    meanings: SegmentMeanings,
) -> MaskReference:
    lower = text.lower()
    kind: MaskKind | None = None
    if lower.endswith(_VOLUME_ENDINGS):
        kind = "volume"
    elif lower.endswith(_PICTURE_ENDINGS):
        kind = "picture"
    path = _file_in(folder, text, is_mask=kind is not None)
    if kind is None:  # DICOM files have any ending; they are known by the index alone
        facts = index.at(str(PurePosixPath(text)))
        if facts is None and lower.endswith(_UNFIT_ENDINGS):
            raise UnusableCaseError("E_MASK_UNREADABLE")
        return _of_instance(facts, images, meanings)
    status = path.stat()
    locator = path.relative_to(folder).as_posix()
    state = FileState(locator, status.st_size, status.st_mtime_ns)
    return MaskReference(kind, (state,), str(folder))


def _file_in(folder: Path, text: str, *, is_mask: bool) -> Path:
    try:
        return existing_file_inside(folder, text)
    except UnusableCaseError as error:
        if error.code != E_FILE_NOT_FOUND:
            raise
        if is_mask:
            raise UnusableCaseError("E_MASK_NOT_FOUND") from None
        return folder
