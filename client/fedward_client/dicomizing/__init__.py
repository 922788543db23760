"""Arrays, pictures and volumes of a manifest wrapped into DICOM, for researchers."""
