import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.client.cohorts.registered_cohorts import (
    home_in,
    random_image,
    register,
    settings_of,
    write_image,
)

from fedward_client.cohorts.cohort_file import SourceSettings, write_cohort_file
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.patient_exclusion import exclude_everywhere
from fedward_client.cohorts.registered.pinned_snapshots import (
    offered_sources,
    with_newest_snapshots,
    with_pinned_snapshots,
    write_pins,
)
from fedward_client.site_home import SiteHome
from fedward_common.errors import CohortError, ConfigurationError, CorruptFileError

FILES = SourceSettings(source="arrays", path="/a.npz", manifest="/a.csv")


def home_with_snapshots(tmp_path: Path, count: int = 1) -> SiteHome:
    home = home_in(tmp_path / "home")
    locator = write_image(tmp_path / "dicom", 0, random_image(0))
    for number in range(count):
        rows = [{"file": locator, "label": str(number % 2), "split": "train"}]
        register(home, tmp_path / "dicom", rows, max_excluded_share=0.35)
    return home


def test_a_registered_cohort_goes_before_a_file_of_its_name(tmp_path: Path) -> None:
    home = home_with_snapshots(tmp_path)
    write_cohort_file(home.cohorts / "chest.toml", [FILES])
    write_cohort_file(home.cohorts / "other.toml", [FILES])
    (source,) = offered_sources(home, "chest")
    assert (source.source, source.cohort) == ("registered", "chest")
    assert source.path == str(home.folder.resolve()) and source.max_excluded_share == 0.35
    assert offered_sources(home, "other") == (FILES,)
    with pytest.raises(ConfigurationError):
        offered_sources(home, "neither")


def test_the_newest_snapshot_is_named_unless_one_is_named_already(tmp_path: Path) -> None:
    home = home_with_snapshots(tmp_path, count=3)
    sources = (settings_of(home), settings_of(home, "chest@1"), FILES)
    assert [one.cohort for one in with_newest_snapshots(sources)] == ["chest@3", "chest@1", ""]
    with pytest.raises(ConfigurationError):
        with_newest_snapshots([settings_of(home, "brain")])


def test_what_was_noted_is_what_a_run_goes_on_with(tmp_path: Path) -> None:
    home, file = home_with_snapshots(tmp_path, count=2), tmp_path / "snapshots.json"
    sources = (settings_of(home), FILES)
    assert with_pinned_snapshots(file, sources)[0].cohort == "chest@2"
    write_pins(file, [dataclasses.replace(sources[0], cohort="chest@1"), FILES])
    assert [one.cohort for one in with_pinned_snapshots(file, sources)] == ["chest@1", ""]


def test_other_sources_than_those_noted_are_refused(tmp_path: Path) -> None:
    home, file = home_with_snapshots(tmp_path), tmp_path / "snapshots.json"
    write_pins(file, [settings_of(home, "chest@1")])
    for changed in ((), (FILES,), (settings_of(home, "brain"),), (settings_of(home), FILES)):
        with pytest.raises(CohortError) as raised:
            with_pinned_snapshots(file, changed)
        assert raised.value.code == "E_COHORT_CHANGED"


def hospital_of(tmp_path: Path, num_patients: int, **limits: Any) -> SiteHome:
    home = home_in(tmp_path / "home")
    rows = [
        {"file": write_image(tmp_path / "dicom", number, random_image(number)), "label": "0"}
        for number in range(num_patients)
    ]
    rows.append({"file": "nowhere.dcm", "label": "0"})
    register(home, tmp_path / "dicom", rows, **limits)
    return home


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"min_patients": 4}, "E_TOO_FEW_PATIENTS"),
        ({"max_excluded_share": 0.1}, "E_TOO_MANY_EXCLUDED"),
    ],
)
def test_no_run_is_accepted_with_a_snapshot_beyond_the_cohorts_limits(
    tmp_path: Path, limits: Mapping[str, Any], code: str
) -> None:
    home = hospital_of(tmp_path, 3, **{"max_excluded_share": 1.0, **limits})
    for source in (offered_sources(home, "chest")[0], settings_of(home, "chest@1")):
        with pytest.raises(CohortError) as raised:
            with_newest_snapshots([source])
        assert raised.value.code == code


def test_a_withdrawal_may_leave_too_few_patients_for_a_new_run(tmp_path: Path) -> None:
    home, file = hospital_of(tmp_path, 3, min_patients=3, max_excluded_share=0.9), tmp_path / "pins"
    sources = with_newest_snapshots([settings_of(home)])
    write_pins(file, sources)
    exclude_everywhere(home, frozenset({"SECRET-ID-1"}), "withdrawn")
    with pytest.raises(CohortError) as raised:
        with_newest_snapshots([settings_of(home)])
    assert raised.value.code == "E_TOO_FEW_PATIENTS"
    # an accepted run goes on
    assert with_pinned_snapshots(file, sources) == sources


def test_a_folder_that_a_failed_add_left_does_not_hide_a_file_of_its_name(tmp_path: Path) -> None:
    home = home_in(tmp_path / "home")
    write_cohort_file(home.cohorts / "main.toml", [FILES])
    CohortFolder(home, "main").create()
    assert offered_sources(home, "main") == (FILES,)


def test_a_cohort_that_lost_its_settings_is_not_replaced_by_a_file_of_its_name(
    tmp_path: Path,
) -> None:
    home = home_with_snapshots(tmp_path)
    write_cohort_file(home.cohorts / "chest.toml", [FILES])
    CohortFolder(home, "chest").settings_file.unlink()
    with pytest.raises(ConfigurationError):
        offered_sources(home, "chest")


# -- the record ------------------------------------------------------------------------------------


def home_of_one_tester(tmp_path: Path) -> SiteHome:
    """Cohort "chest" tests on patient SECRET-ID-1, and trains on SECRET-ID-0."""
    home = home_in(tmp_path / "home")
    for number in range(2):
        write_image(tmp_path / "dicom", number, random_image(number))
    register(home, tmp_path / "dicom", rows_of("train", "test"))
    return home


def rows_of(*splits: str, **others: str) -> list[dict[str, str]]:
    return [
        {"file": f"i{n}.dcm", "label": "0", "split": split, **others}
        for n, split in enumerate(splits)
    ]


@pytest.mark.parametrize("others", [{}, {"patient": "own-1"}], ids=["same name", "another name"])
def test_a_snapshot_whose_test_patient_trains_elsewhere_now_is_refused(
    tmp_path: Path, others: dict[str, str]
) -> None:
    home = home_of_one_tester(tmp_path)
    assert with_newest_snapshots([settings_of(home)])
    trained = [{**rows_of("", "train")[1], **others}]
    register(home, tmp_path / "dicom", trained, "other")
    for source in (settings_of(home), settings_of(home, "chest@1")):
        with pytest.raises(CohortError) as raised:
            with_newest_snapshots([source])
        assert raised.value.code == "E_SPLIT_MOVED"
        assert "cohort update chest" in raised.value.hint and "SECRET" not in str(raised.value)
    register(home, tmp_path / "dicom", rows_of("train", ""))
    assert with_newest_snapshots([settings_of(home)])[0].cohort == "chest@2"


def test_a_run_that_was_accepted_before_goes_on(tmp_path: Path) -> None:
    home, file = home_of_one_tester(tmp_path), tmp_path / "pins"
    sources = with_newest_snapshots([settings_of(home)])
    write_pins(file, sources)
    register(home, tmp_path / "dicom", rows_of("train", "train"), "other")
    assert with_pinned_snapshots(file, sources) == sources


def test_no_run_is_accepted_on_a_record_or_a_list_that_was_changed(tmp_path: Path) -> None:
    home = home_of_one_tester(tmp_path)
    record, listed = home.folder / "split_record.sqlite", home.excluded_patients_file
    exclude_everywhere(home, frozenset({"SECRET-ID-7"}), "withdrawn")
    older = {path: path.read_bytes() for path in (record, listed)}
    exclude_everywhere(home, frozenset({"SECRET-ID-8"}), "withdrawn")
    newer = {path: path.read_bytes() for path in (record, listed)}
    assert with_newest_snapshots([settings_of(home)])
    for path, content in ((record, b""), (record, b"x" * 999), (listed, older[listed])):
        path.write_bytes(content)
        with pytest.raises(CorruptFileError):
            with_newest_snapshots([settings_of(home)])
        path.write_bytes(newer[path])
    assert with_newest_snapshots([settings_of(home)])


def test_no_snapshot_is_made_on_a_record_or_a_list_that_was_changed(tmp_path: Path) -> None:
    home = home_of_one_tester(tmp_path)
    older = home.excluded_patients_file.read_bytes()
    exclude_everywhere(home, frozenset({"SECRET-ID-1"}), "withdrawn")
    home.excluded_patients_file.write_bytes(older)
    with pytest.raises(CorruptFileError):
        register(home, tmp_path / "dicom", rows_of("train", "test"))
