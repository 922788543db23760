"""Against a real PACS; where none is installed, a skip says how to get it."""

from pathlib import Path

from tests.client.dicomweb import orthanc_round_trip
from tests.client.dicomweb.orthanc import visit

NUM_SLICES = orthanc_round_trip.NUM_SLICES


def test_files_stored_in_orthanc_are_scanned_and_fetched_byte_for_byte(tmp_path: Path) -> None:
    result = visit(orthanc_round_trip.__name__, tmp_path)
    total = sum(NUM_SLICES)
    assert result["first"]["instances"] == result["first"]["files_read"] == total
    assert result["first"]["problems"] == 0
    assert result["second"]["files_read"] == result["second"]["files_removed"] == 0
    assert result["same"] == [True] * total
    assert result["slices"] == sorted(NUM_SLICES)
    assert result["asked_by_uid"] in NUM_SLICES
    assert result["positions"] == [float(number) for number in range(max(NUM_SLICES))]
    assert result["left"] == 0
    assert result["wrong_password"] == "E_SERVER_REFUSED"
