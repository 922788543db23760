"""Images from and results to a PACS that speaks DICOMweb (PS3.18)."""
