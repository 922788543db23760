"""What a line's key means in the index: one image, one frame, or one series.

A study or an accession number resolves where it has exactly one series of images; nothing is chosen
among several.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from fedward_client.cohorts.contained_path import leaves_its_folder
from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.registered.image_gate import images_of_series, is_image
from fedward_client.cohorts.registered.label_file import KeyKind
from fedward_client.cohorts.registered.registration import CasesAre
from fedward_client.cohorts.registered.snapshot import CaseKind
from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.instance_facts import InstanceFacts

_MAX_FRAMES = 10_000  # a header may claim any number


class IndexLookup(Protocol):
    """What matching asks of a `DicomIndex`."""

    def series(self, uid: str) -> tuple[InstanceFacts, ...]:
        """Instances of a series, identical twins left out."""

    def instance(self, uid: str) -> tuple[InstanceFacts, ...]:
        """Files of an instance, identical twins left out."""

    def at(self, locator: str) -> InstanceFacts | None:
        """What lies at a place."""

    def studies_of_accession(self, number: str) -> tuple[str, ...]:
        """Studies of an accession number."""

    def studies_of_patient(self, patient_id: str) -> tuple[str, ...]:
        """Studies of a patient."""

    def series_of_study(self, uid: str) -> tuple[str, ...]:
        """Series of a study."""

    def problems(self) -> Iterable[Finding]:
        """Unusable files, by code and place."""

    def scan_findings(self) -> Iterable[Finding]:
        """What only shows between files."""


@dataclass(frozen=True)
class Target:
    """What a case is made of.

    Args:
        identity: The SOP or series UID, and of a frame its number: one text for one case.
        instances: One image, or the slices of a series in any order.
        frame: From 0, of a multi-frame file taken as single images.
    """

    kind: CaseKind
    identity: str = field(repr=False)
    instances: tuple[InstanceFacts, ...] = field(repr=False)
    frame: int | None = None


class TargetFinder:
    """Finds what keys mean.

    Args:
        index: The cohort's.
        key_kind: What the label file's key names.
        cases: What a case is.
    """

    def __init__(self, index: IndexLookup, key_kind: KeyKind, cases: CasesAre) -> None:
        self._index = index
        self._key_kind = key_kind
        self._cases = cases
        self._codes_by_place: Mapping[str, str] | None = None

    def find(self, key: str, frame: str = "") -> tuple[Target, ...]:
        """Give the line's case; of a multi-frame file taken as images, one for each frame.

        Args:
            key: The cell.
            frame: Number of the wanted frame from 1, or "" for all.

        Raises:
            UnusableCaseError: With the line's code.
        """
        if self._key_kind in ("instance", "file"):
            image = self._instance(key) if self._key_kind == "instance" else self._file(key)
            if self._cases == "series":
                return (Target("series", image.sop_instance_uid, (image,)),)
            return _frames_of(image, frame)
        images = self._series(key)
        if self._cases == "series":
            return (Target("series", images[0].series_instance_uid, images),)
        if len(images) > 1:
            raise UnusableCaseError("E_LABEL_AMBIGUOUS")
        return _frames_of(images[0], frame)

    def _instance(self, uid: str) -> InstanceFacts:
        found = self._index.instance(uid) if uid else ()
        if not found:
            raise UnusableCaseError("E_INSTANCE_NOT_FOUND")
        if len(found) > 1:
            raise UnusableCaseError("E_DUPLICATE_INSTANCE")
        if not is_image(found[0]):
            raise UnusableCaseError("E_NO_PIXEL_DATA")
        return found[0]

    def _file(self, key: str) -> InstanceFacts:
        if leaves_its_folder(key):
            raise UnusableCaseError("E_PATH_ESCAPES")
        place = str(PurePosixPath(key))
        found = self._index.at(place) if key else None
        if found is None and "\\" in key:  # a list that was made on Windows
            place = str(PurePosixPath(key.replace("\\", "/")))
            found = self._index.at(place)
        if found is None:
            raise UnusableCaseError(self._code_of_file(place))
        return self._instance(found.sop_instance_uid)

    def _code_of_file(self, place: str) -> str:
        if self._codes_by_place is None:
            self._codes_by_place = {one.place: one.code for one in self._index.problems()}
        return self._codes_by_place.get(place, "E_FILE_NOT_FOUND")

    def _series(self, key: str) -> tuple[InstanceFacts, ...]:
        if self._key_kind == "series":
            return self._images_of(self._listed((key,), key, "E_SERIES_NOT_FOUND"))
        if self._key_kind == "study":
            series = self._index.series_of_study(key) if key else ()
            return self._images_of(self._listed(series, key, "E_STUDY_NOT_FOUND"))
        studies = self._index.studies_of_accession(key) if key else ()
        series = tuple(uid for study in studies for uid in self._index.series_of_study(study))
        return self._images_of(self._listed(series, key, "E_ACCESSION_NOT_FOUND"))

    def _listed(
        self, series: Iterable[str], key: str, code_if_none: str
    ) -> list[tuple[InstanceFacts, ...]]:
        listed = [found for uid in series if (found := self._index.series(uid))] if key else []
        if not listed:
            raise UnusableCaseError(code_if_none)
        return listed

    def _images_of(self, listed: list[tuple[InstanceFacts, ...]]) -> tuple[InstanceFacts, ...]:
        """Give the images of the only series that has any."""
        if len(listed) == 1 and self._cases == "series":
            # the series that the line names is judged as it is, a localizer by its own code
            images = tuple(one for one in listed[0] if is_image(one))
            with_images = [images] if images else []
        else:
            with_images = [images for one in listed if (images := images_of_series(one))]
        if not with_images:
            raise UnusableCaseError("E_SERIES_EMPTY")
        if len(with_images) > 1:
            raise UnusableCaseError("E_LABEL_AMBIGUOUS")
        images = with_images[0]
        if len({one.sop_instance_uid for one in images}) < len(images):
            raise UnusableCaseError("E_DUPLICATE_INSTANCE")
        return images


def _frames_of(image: InstanceFacts, frame: str) -> tuple[Target, ...]:
    uid, count = image.sop_instance_uid, image.number_of_frames
    if count < 1:
        raise UnusableCaseError("E_PIXEL_FORMAT")
    if count > _MAX_FRAMES and not frame:
        raise UnusableCaseError("E_IMAGE_TOO_LARGE")
    if frame:
        wanted = int(frame) if frame.isascii() and frame.isdecimal() and len(frame) < 9 else 0
        if not 1 <= wanted <= count:
            raise UnusableCaseError("E_INSTANCE_NOT_FOUND")
        numbers: Iterable[int] = (wanted - 1,)
    else:
        numbers = range(count)
    if count == 1:
        return (Target("image", uid, (image,)),)
    return tuple(Target("image", f"{uid}#{number}", (image,), number) for number in numbers)
