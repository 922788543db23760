"""A trained model on one series of this hospital, and its answer as a DICOM object."""
