"""What lies in a folder or an archive of DICOM files, by its headers alone."""
