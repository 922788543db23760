"""Lists of patients who withdrew: every id is found, or the file is refused."""

import json
import os
from pathlib import Path

import pytest
from tests.client.cohorts.small_cohorts import KEY

from fedward_client.cohorts.registered.excluded_patients import (
    add_excluded_patients,
    all_excluded_patients,
    excluded_patients,
    read_patient_ids,
)
from fedward_client.cohorts.registered.split_record import SplitRecord
from fedward_client.site_home import SiteHome, create_site_home
from fedward_common.errors import ConfigurationError, CorruptFileError


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    return create_site_home(tmp_path / "home", split_key=KEY)


def ids_of(tmp_path: Path, text: str, column: str | None = None) -> frozenset[str]:
    path = tmp_path / "ids.csv"
    path.write_text(text, encoding="utf-8")
    return read_patient_ids(path, column)


@pytest.mark.parametrize(
    "text",
    [
        "pid,reason\nP1,withdrawn\n",
        "pid;reason\nP1;withdrawn\n",
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
    assert raised.value.hint == "name the column of the ids with --column"
    assert "P1" not in str(raised.value) + str(raised.value.hint)


@pytest.mark.parametrize("name", ["patient", "patient_id", "PatientID", "Patient ID"])
def test_a_table_with_a_usual_column_gives_its_ids(tmp_path: Path, name: str) -> None:
    assert ids_of(tmp_path, f"reason,{name}\nwithdrawn,P1\n") == {"P1"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_needs_no_column_named_whatever_separates_its_columns(
    tmp_path: Path, separator: str
) -> None:
    text = "reason,Patient ID,note\n,P1,x\nwithdrawn,P2,\n".replace(",", separator)
    assert ids_of(tmp_path, text) == {"P1", "P2"}


def test_two_usual_columns_are_one_too_many(tmp_path: Path) -> None:
    text = "patient,PatientID\n1,P1\n"
    with pytest.raises(ConfigurationError, match="2 columns") as raised:
        ids_of(tmp_path, text)
    assert "--column" in str(raised.value.hint)
    assert ids_of(tmp_path, text, "PatientID") == {"P1"}


def test_a_list_is_one_id_a_line_and_a_named_column_may_hold_any_sign(tmp_path: Path) -> None:
    assert ids_of(tmp_path, "P1\n\n P2 \n") == {"P1", "P2"}
    assert ids_of(tmp_path, 'pid,reason\n"P,1",x\n', "pid") == {"P,1"}


@pytest.mark.parametrize(
    ("content", "column"),
    [
        (b"a\nb b\n\n a \n", None),
        (b"\xef\xbb\xbfa\r\nb b\r\n", None),
        (b"study,PatientID\n1,a\n2,b b\n", None),
        (b"patient_id\na\nb b\n", None),
        (b"x,who\n1,a\n1,b b\n1,\n", "who"),
    ],
)
def test_ids_come_from_lines_or_from_a_column(
    tmp_path: Path, content: bytes, column: str | None
) -> None:
    path = tmp_path / "ids"
    path.write_bytes(content)
    assert read_patient_ids(path, column) == {"a", "b b"}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"PatientID\n", b"\xff\xfe", None])
def test_a_file_without_ids_is_one_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ids"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        read_patient_ids(path, None)
    assert raised.value.hint


def test_a_pipe_is_no_list_of_patients(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError):
        read_patient_ids(tmp_path / "pipe", None)


# -- the list --------------------------------------------------------------------------------------


def test_excluded_patients_are_only_ever_added_to(home: SiteHome) -> None:
    assert excluded_patients(home) == frozenset()
    assert add_excluded_patients(home, {"a", "b"}, "withdrawn") == 2
    assert add_excluded_patients(home, {"b", "c"}, "error") == 1
    assert excluded_patients(home) == {"a", "b", "c"}
    assert (home.folder / "excluded_patients.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema":"x","excluded":{}}', "null"])
def test_a_damaged_list_lets_nobody_in_again(home: SiteHome, content: str) -> None:
    (home.folder / "excluded_patients.json").write_text(content)
    with pytest.raises(CorruptFileError):
        excluded_patients(home)
    with pytest.raises(CorruptFileError):
        add_excluded_patients(home, {"a"}, "withdrawn")


def test_a_list_that_is_gone_lets_nobody_in_again(home: SiteHome) -> None:
    home.excluded_patients_file.unlink()
    with pytest.raises(CorruptFileError, match="missing") as raised:
        excluded_patients(home)
    assert "restore" in raised.value.hint
    with pytest.raises(CorruptFileError):
        add_excluded_patients(home, {"a"}, "withdrawn")


def test_a_list_that_was_shortened_is_found(home: SiteHome) -> None:
    add_excluded_patients(home, {"a", "b"}, "withdrawn")
    table = json.loads(home.excluded_patients_file.read_bytes())
    del table["content"]["a"]
    home.excluded_patients_file.write_text(json.dumps(table))
    with pytest.raises(CorruptFileError, match="not what was written"):
        excluded_patients(home)


def test_a_list_of_another_site_is_none_of_this(home: SiteHome, tmp_path: Path) -> None:
    other = create_site_home(tmp_path / "other", split_key=KEY[::-1])
    home.excluded_patients_file.write_bytes(other.excluded_patients_file.read_bytes())
    with pytest.raises(CorruptFileError):
        excluded_patients(home)


def test_an_older_copy_of_the_list_is_found_where_the_record_is_asked(home: SiteHome) -> None:
    add_excluded_patients(home, {"a"}, "withdrawn")
    older = home.excluded_patients_file.read_bytes()
    add_excluded_patients(home, {"b"}, "withdrawn")
    record = SplitRecord.of_home(home)
    assert all_excluded_patients(home, record) == {"a", "b"}
    home.excluded_patients_file.write_bytes(older)
    with pytest.raises(CorruptFileError, match="names 1 patients, and 2 were excluded"):
        all_excluded_patients(home, record)


def test_the_list_is_read_again_when_it_was_written_again(home: SiteHome) -> None:
    assert excluded_patients(home) == frozenset()
    add_excluded_patients(home, {"a"}, "withdrawn")
    assert excluded_patients(home) == {"a"}
    home.excluded_patients_file.write_text("{}")
    with pytest.raises(CorruptFileError):
        excluded_patients(home)


def test_a_damaged_record_keeps_nobody_in(home: SiteHome) -> None:
    (home.folder / "split_record.sqlite").write_bytes(b"no database" * 500)
    assert add_excluded_patients(home, {"a"}, "withdrawn") == 1
    assert excluded_patients(home) == {"a"}
