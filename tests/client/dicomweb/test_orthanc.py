"""Against a real PACS; where none is installed, a skip says how to get it."""

from pathlib import Path

from tests.client.dicomweb import orthanc_cohort, orthanc_round_trip
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


def test_a_cohort_of_orthanc_is_added_checked_and_updated_in_bounded_space(tmp_path: Path) -> None:
    result = visit(orthanc_cohort.__name__, tmp_path)
    total = orthanc_cohort.NUM_PATIENTS
    assert result["codes"] == [0, 0, 0, 0, 0, 1], result
    added, checked, unchanged, updated, checked_again = result["answers"]
    assert (added["snapshot"], added["cases"]) == ("chest@1", total)
    assert (checked["snapshot"], checked["cases"]) == ("chest@1", total)
    assert (unchanged["is_new"], unchanged["snapshot"]) == (False, "chest@1")
    assert (updated["snapshot"], updated["cases"]) == ("chest@2", total + 1)
    # what was fetched to be checked fits, only never all at once; the last one alone does not
    assert checked_again["cases"] == total
    assert checked_again["lines"] == {"E_SERVER_TOO_LARGE": 1}
    assert "HTTP 401" in result["refused"] and "Traceback" not in result["refused"]
    assert result["left"] == []
    assert result["needles"] == []
