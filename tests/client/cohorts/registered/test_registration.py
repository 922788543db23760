import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.client.cohorts.small_cohorts import CLASSIFY, KEY, SEGMENT

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.registered.cohort_checks import limits_passed
from fedward_client.cohorts.registered.registration import (
    CohortRegistration,
    LabelColumns,
    read_registration,
    write_registration,
)
from fedward_client.cohorts.registered.registration_request import key_value_pairs, spacing_of
from fedward_client.cohorts.registered.scanner_names import modality_name, scanner_name
from fedward_client.cohorts.registered.snapshot import Snapshot
from fedward_client.dicomweb.settings import DicomWebSettings
from fedward_client.site_home import SiteHome, create_site_home
from fedward_common.errors import ConfigurationError

PLAIN: dict[str, Any] = {
    "name": "chest",
    "labels_file": "/nowhere/labels.csv",
    "task": CLASSIFY,
    "cases": "images",
    "dicom_folder": "/nowhere/dicom",
}
SERVER = DicomWebSettings(url="https://pacs.example.org/dicom-web")


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    return create_site_home(tmp_path / "home", split_key=KEY)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"dicom_folder": "", "dicomweb": SERVER},
        {"label_values": {"": "not annotated", 'a"b\\': "exclude", "x\x7f=": 1}},
        {"columns": LabelColumns(label="Größe 1", split=""), "split_values": {"a": "test"}},
        {"task": SEGMENT, "spacing_mm": (2.5, 1.0, 1.0), "label_values": {"3": "organ"}},
        {"unit": "image", "min_patients": 1, "max_excluded_share": 1.0, "burned_in": "allow"},
    ],
)
def test_a_registration_is_read_back_as_it_was(home: SiteHome, more: dict[str, Any]) -> None:
    registration = CohortRegistration(**(PLAIN | more))
    write_registration(home, registration)
    assert read_registration(home, "chest") == registration
    path = home.cohorts / "chest" / "cohort.toml"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"dicom_folder": ""}, "needs a DICOM folder"),
        ({"dicomweb": SERVER}, "needs a DICOM folder"),
        ({"labels_file": "labels.csv"}, "labels_file"),
        ({"dicom_folder": "dicom"}, "dicom_folder"),
        ({"name": "../x"}, "cannot be used"),
        ({"min_patients": 0}, "min_patients"),
        ({"max_excluded_share": 1.5}, "max_excluded_share"),
        ({"spacing_mm": (0.0, 1.0, 1.0)}, "spacing_mm"),
        ({"label_values": {"a": "nromal"}}, "no class"),
        ({"task": SEGMENT, "label_values": {"0": "exclude"}}, "exclude"),
        ({"task": SEGMENT, "label_values": {"GTV": "organ", "gtv ": "exclude"}}, "two things"),
        ({"class_columns": {"normal": "x"}}, "class_columns"),
    ],
)
def test_what_cannot_go_together_is_refused(more: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word) as raised:
        CohortRegistration(**(PLAIN | more))
    assert raised.value.hint


def test_an_unknown_key_and_a_renamed_folder_are_errors(home: SiteHome) -> None:
    write_registration(home, CohortRegistration(**PLAIN))
    path = home.cohorts / "chest" / "cohort.toml"
    (home.cohorts / "other").mkdir()
    (home.cohorts / "other" / "cohort.toml").write_bytes(path.read_bytes())
    with pytest.raises(ConfigurationError, match="is of cohort 'chest'"):
        read_registration(home, "other")
    path.write_text("max_exclude_share = 0.5\n" + path.read_text())
    with pytest.raises(ConfigurationError, match="max_exclude_share") as raised:
        read_registration(home, "chest")
    assert "max_excluded_share" in raised.value.hint
    with pytest.raises(ConfigurationError, match="no cohort 'third'"):
        read_registration(home, "third")


def test_the_last_equals_sign_parts_value_and_meaning() -> None:
    assert key_value_pairs("--map", ["a=b=c", " x = y", "=z"]) == {"a=b": "c", "x": "y", "": "z"}
    assert key_value_pairs("--map", None) == {}


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "a,b,c"])
def test_a_spacing_is_three_numbers(text: str) -> None:
    with pytest.raises(ConfigurationError):
        spacing_of(text)
    assert spacing_of("2.5,1,1") == (2.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("SIEMENS", "Siemens"),
        ("Siemens  Healthineers", "Siemens"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("GE", "GE"),
        ("Geraldine Needle", "other"),
        ("", ""),
        ("  ", ""),
    ],
)
def test_a_manufacturer_is_a_word_of_the_list(said: str, shown: str) -> None:
    assert scanner_name(said) == shown


def test_a_modality_is_a_word_of_the_list() -> None:
    assert [modality_name(one) for one in ("ct ", "NEEDLE", "")] == ["CT", "other", ""]


def test_limits_do_not_count_what_was_wanted() -> None:
    registration = CohortRegistration(**(PLAIN | {"min_patients": 1}))
    excluded = tuple(Finding("EXCLUDED_BY_LABEL", line) for line in range(2, 92))
    bad = tuple(Finding("E_LOCALIZER", line) for line in range(92, 95))
    snapshot = Snapshot("chest", 1, "patient", (), (), (), excluded, 100, "00")
    assert limits_passed(snapshot, registration) == ("E_COHORT_EMPTY", "E_TOO_FEW_PATIENTS")
    worse = dataclasses.replace(snapshot, findings=(*excluded, *bad))
    assert "E_TOO_MANY_EXCLUDED" in limits_passed(worse, registration)
    between_files = tuple(Finding("E_DUPLICATE_INSTANCE", None) for _ in range(50))
    told = dataclasses.replace(snapshot, findings=(*excluded, *bad[:2], *between_files))
    assert "E_TOO_MANY_EXCLUDED" not in limits_passed(told, registration)
