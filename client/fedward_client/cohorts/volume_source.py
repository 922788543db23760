"""NIfTI, MetaImage and NRRD files with their masks, read through SimpleITK.

Arrays come in (slices, rows, columns) order, turned to LPS: columns run from the patient's right to
left, rows from front to back, slices from feet to head, as in an axial DICOM series. So files that
were stored in different directions agree. 2-D files are taken as they lie.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.contained_path import (
    existing_file_inside,
    folder_of,
    leaves_its_folder,
)
from fedward_client.cohorts.manifest_cases import read_case_table
from fedward_client.cohorts.pixel_arrays import MAX_VALUES, channels_first, whole_numbers
from fedward_client.cohorts.source import (
    E_IMAGE_SHAPE,
    E_IMAGE_TOO_LARGE,
    E_IMAGE_UNREADABLE,
    E_MASK_GEOMETRY,
    E_MASK_SHAPE,
    E_MASK_UNREADABLE,
    Case,
    CaseList,
    Unit,
    UnusableCaseError,
)
from fedward_client.cohorts.volume_files import (
    detached_data_file,
    image_io_of,
    require_whole_nifti,
)
from fedward_common.job.job_file import DataSection, TaskSection

if TYPE_CHECKING:
    from fedward_client.cohorts.source import FloatImage, IntegerMask
    from fedward_common.dicom_writing.volumes import Vector3, VolumeGeometry

E_NO_GEOMETRY = "E_NO_GEOMETRY"

_MAX_DIRECTION_ERROR = 1e-2  # cosines; about half a degree
_MAX_SPACING_ERROR = 1e-2  # share of the spacing
_MAX_ORIGIN_ERROR = 0.5  # voxels


class VolumeSource:
    """Cases whose pixels are volumes, or single slices, below one folder.

    Raises:
        ConfigurationError: The manifest or its columns cannot be used.
        CohortError: `E_SOURCE_UNREADABLE`: the path is no folder.
    """

    def __init__(self, settings: SourceSettings, task: TaskSection, data: DataSection) -> None:
        self._table = read_case_table(settings, task)
        self._spatial_dims = data.spatial_dims
        self._folder = folder_of(settings.path, "volumes")

    @property
    def unit(self) -> Unit:
        """What `Case.patient` stands for."""
        return self._table.unit

    def cases(self) -> CaseList:
        """List the cases whose files are there."""
        return self._table.cases(lambda locator: existing_file_inside(self._folder, locator))

    def files(self) -> Iterator[Path]:
        """Give the listed files, each followed by the file that holds its pixels, if another."""
        for locator in self._table.locators():
            if leaves_its_folder(locator):
                continue
            yield self._folder / locator
            try:
                path = existing_file_inside(self._folder, locator)
                detached = detached_data_file(path, self._folder, E_IMAGE_UNREADABLE)
            except UnusableCaseError:
                continue
            if detached is not None:
                yield detached

    def read_image(self, case: Case) -> "FloatImage":
        """Give the pixels, shape (channels, *spatial)."""
        reader = self._open(case.image, E_IMAGE_UNREADABLE)
        return channels_first(_pixels(reader, E_IMAGE_UNREADABLE), self._spatial_dims)

    def read_mask(self, case: Case) -> "IntegerMask":
        """Give the mask, shape (*spatial), turned as the image is.

        A mask without any geometry of its own (spacing 1, origin 0) takes the image's; one that
        says it lies elsewhere than the image is refused.
        """
        image = self._open(case.image, E_IMAGE_UNREADABLE)
        mask = self._open(case.mask or "", E_MASK_UNREADABLE)
        if mask.GetSize() != image.GetSize():
            raise UnusableCaseError(E_MASK_SHAPE)
        if not (_has_default_geometry(mask) or _lie_together(image, mask)):
            raise UnusableCaseError(E_MASK_GEOMETRY)
        return whole_numbers(_pixels(mask, E_MASK_UNREADABLE, like=image), self._spatial_dims)

    def geometry_of(self, case: Case) -> "VolumeGeometry":
        """Say where the array of `read_image` lies in the patient; three dimensions only.

        Raises:
            UnusableCaseError: `E_NO_GEOMETRY`: its directions are not at right angles.
        """
        from fedward_common.dicom_writing.volumes import VolumeGeometry

        x, y, z, spacing, origin = _lps_geometry(self._open(case.image, E_IMAGE_UNREADABLE))
        try:
            return VolumeGeometry((spacing[2], spacing[1], spacing[0]), origin, (x, y, z))
        except ValueError:
            raise UnusableCaseError(E_NO_GEOMETRY) from None

    def close(self) -> None:
        """Nothing is held open."""

    def _open(self, locator: str, unreadable: str) -> Any:
        return open_volume(existing_file_inside(self._folder, locator), self._folder, unreadable)


def open_volume(path: Path, folder: Path, unreadable: str) -> Any:
    """Read a header and check that what it promises is there and bearable.

    Args:
        path: A file with an ending of `volume_files.IMAGE_IO_OF_SUFFIX`, inside `folder`.
        folder: Already resolved; a file that holds the pixels apart must lie in it too.
        unreadable: Code for a file that cannot be read.

    Returns:
        SimpleITK's reader of a 2-D or 3-D image; no pixel is read yet.

    Raises:
        UnusableCaseError: `unreadable`, `E_IMAGE_SHAPE`, `E_IMAGE_TOO_LARGE`, or what is wrong
            with the path of the pixels.
    """
    import SimpleITK

    image_io = image_io_of(path)
    if image_io is None:
        raise UnusableCaseError(unreadable)
    detached_data_file(path, folder, unreadable)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # texts of readers stay unseen
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise UnusableCaseError(unreadable) from None
    if reader.GetDimension() not in (2, 3):
        raise UnusableCaseError(E_IMAGE_SHAPE)
    num_values = int(np.prod(reader.GetSize(), dtype=object)) * reader.GetNumberOfComponents()
    if num_values > MAX_VALUES:
        raise UnusableCaseError(E_IMAGE_TOO_LARGE)
    if image_io == "NiftiImageIO":
        require_whole_nifti(path, num_values * _stored_value_bytes(reader), unreadable)
    return reader


def _stored_value_bytes(reader: Any) -> int:
    """Bytes of one value on disk; `bitpix` of the header where ITK passes it on."""
    if reader.HasMetaDataKey("bitpix"):
        bits = str(reader.GetMetaData("bitpix")).strip()
        if bits.isdigit():
            return max(1, int(bits) // 8 // int(reader.GetNumberOfComponents()))
    return 1


def _pixels(reader: Any, unreadable: str, like: Any = None) -> NDArray[Any]:
    """Read the pixels and turn 3-D ones to LPS by the geometry of `like`, or their own."""
    import SimpleITK

    geometry = like or reader
    try:
        image = reader.Execute()
        if image.GetDimension() == 3:
            image.SetDirection(geometry.GetDirection())
            image = SimpleITK.DICOMOrient(image, "LPS")
        return np.asarray(SimpleITK.GetArrayFromImage(image))
    except (RuntimeError, MemoryError, ValueError):
        raise UnusableCaseError(unreadable) from None


def _lps_geometry(reader: Any) -> "tuple[Vector3, Vector3, Vector3, Vector3, Vector3]":
    """Give the directions of columns, rows and slices, spacings in this order, and the origin."""
    import SimpleITK

    image = SimpleITK.Image(reader.GetSize(), SimpleITK.sitkUInt8)
    image.SetSpacing(reader.GetSpacing())
    image.SetOrigin(reader.GetOrigin())
    image.SetDirection(reader.GetDirection())
    image = SimpleITK.DICOMOrient(image, "LPS")
    x, y, z = np.asarray(image.GetDirection()).reshape(3, 3).T.tolist()
    return tuple(x), tuple(y), tuple(z), tuple(image.GetSpacing()), tuple(image.GetOrigin())


def _has_default_geometry(reader: Any) -> bool:
    dims = reader.GetDimension()
    return (
        np.array_equal(reader.GetSpacing(), np.ones(dims))
        and np.array_equal(reader.GetOrigin(), np.zeros(dims))
        and np.array_equal(reader.GetDirection(), np.eye(dims).ravel())
    )


def _lie_together(one: Any, other: Any) -> bool:
    spacing = np.asarray(one.GetSpacing())
    far = np.abs(np.asarray(one.GetOrigin()) - np.asarray(other.GetOrigin())) / spacing
    return bool(
        np.allclose(one.GetDirection(), other.GetDirection(), rtol=0, atol=_MAX_DIRECTION_ERROR)
        and np.allclose(other.GetSpacing(), spacing, rtol=_MAX_SPACING_ERROR, atol=0)
        and np.all(far <= _MAX_ORIGIN_ERROR)
    )
