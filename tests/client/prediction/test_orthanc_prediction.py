"""A result in a real PACS; where none is installed, a skip says how to get it."""

from pathlib import Path

import pytest
from tests.client.dicomweb.orthanc import visit
from tests.client.prediction import orthanc_prediction


@pytest.mark.slow
def test_a_predicted_segmentation_is_stored_in_orthanc_and_found_again(tmp_path: Path) -> None:
    result = visit(orthanc_prediction.__name__, tmp_path)
    assert result["modality"] == ["SEG"]
    assert result["refers_to_series"] == [True]
    assert result["same"] == [True]
    assert result["voxels"] == result["bright"] > 0
