"""DICOM files built from arrays: pure functions, the same arguments give the same bytes."""
