"""Data sets to the bytes of a DICOM file, uncompressed or losslessly compressed."""

import copy
import io
from typing import TYPE_CHECKING, Literal

from fedward_common.dicom_writing.identifiers import derived_uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Encoding = Literal["none", "rle", "jpeg-ls", "jpeg-2000"]

_VERSION_NAME = "FEDWARD"


def file_bytes(ds: "Dataset", encoding: Encoding = "none") -> bytes:
    """Give the whole file; `ds` keeps its uncompressed pixels.

    Args:
        ds: Uncompressed, with or without pixels.
        encoding: `none` is Explicit VR Little Endian; the others lose nothing. It says nothing of a
            data set without pixels. `jpeg-2000` needs 32 pixels along each side.

    Raises:
        RuntimeError: The compression's encoder is not installed, or cannot take this image.
    """
    from pydicom import dcmwrite
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    whole = Dataset()
    whole.update(ds if encoding == "none" else copy.deepcopy(ds))
    whole.file_meta = FileMetaDataset()
    whole.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    whole.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole.file_meta.ImplementationClassUID = derived_uid("implementation")
    whole.file_meta.ImplementationVersionName = _VERSION_NAME
    if encoding != "none" and "PixelData" in ds:
        _compress(whole, encoding)
    buffer = io.BytesIO()
    dcmwrite(buffer, whole, enforce_file_format=True)
    return buffer.getvalue()


def _compress(ds: "Dataset", encoding: Encoding) -> None:
    from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

    syntaxes = {"rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg-2000": JPEG2000Lossless}
    ds.set_original_encoding(False, True, "utf-8")
    # GDCM's RLE encoder aborts the process on an odd number of bytes
    plugin = "pydicom" if encoding == "rle" else ""
    ds.compress(syntaxes[encoding], encoding_plugin=plugin, generate_instance_uid=False)
