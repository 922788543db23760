"""One DICOM file or series: read within limits, decoded elsewhere, no header value let out."""
