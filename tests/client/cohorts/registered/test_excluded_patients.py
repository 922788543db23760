"""Lists of patients who withdrew: every id is found, or the file is refused."""

from pathlib import Path

import pytest

from fedward_client.cohorts.registered.excluded_patients import read_patient_ids
from fedward_common.errors import ConfigurationError


def ids_of(tmp_path: Path, text: str, column: str | None = None) -> frozenset[str]:
    path = tmp_path / "ids.csv"
    path.write_text(text, encoding="utf-8")
    return read_patient_ids(path, column)


@pytest.mark.parametrize(
    "text",
    [
        "pid,reason\nP1,withdrawn\n",
        "PatientID;reason\nP1;withdrawn\n",
        "pid\treason\nP1\twithdrawn\n",
        "P1\nP2,withdrawn\n",
        '"pid"\n"P1"\n',
        "\nPatientID,reason\nP1,withdrawn\n",
    ],
)
def test_a_table_without_a_usual_column_is_refused_and_never_taken_for_a_list(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(ConfigurationError, match="looks like a table") as raised:
        ids_of(tmp_path, text)
    assert "--column" in str(raised.value.hint)
    assert "P1" not in str(raised.value) + str(raised.value.hint)


@pytest.mark.parametrize("name", ["patient", "patient_id", "PatientID", "Patient ID"])
def test_a_table_with_a_usual_column_gives_its_ids(tmp_path: Path, name: str) -> None:
    assert ids_of(tmp_path, f"reason,{name}\nwithdrawn,P1\n") == {"P1"}


def test_two_usual_columns_are_one_too_many(tmp_path: Path) -> None:
    text = "patient,PatientID\n1,P1\n"
    with pytest.raises(ConfigurationError, match="2 columns") as raised:
        ids_of(tmp_path, text)
    assert "--column" in str(raised.value.hint)
    assert ids_of(tmp_path, text, "PatientID") == {"P1"}


def test_a_list_is_one_id_a_line_and_a_named_column_may_hold_any_sign(tmp_path: Path) -> None:
    assert ids_of(tmp_path, "P1\n\n P2 \n") == {"P1", "P2"}
    assert ids_of(tmp_path, 'pid,reason\n"P,1",x\n', "pid") == {"P,1"}
