"""The whole zoo through the cohort commands: nothing stops, nothing names a patient."""

import csv
import json
from pathlib import Path

import pytest
from tests.client.cohorts.dicom_hospital import TASK, read_json
from tests.client.conftest import Site

pytestmark = pytest.mark.real_data

# shorter values (a sex, a slice thickness) stand in any text by chance
_MIN_NEEDLE = 6
_ALLOWED = {"ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "unknown", "UNKNOWN"}


def needles(zoo: Path) -> set[str]:
    """Give names, ids, dates, UIDs and free texts that no output may hold."""
    found: set[str] = set()
    for expected in json.loads((zoo / "deid_expected.json").read_text()).values():
        entries = expected["must_be_removed_or_replaced"]
        found |= {str(entry["value"]) for entry in entries}
    with (zoo / "manifest.csv").open(encoding="utf-8") as file:
        found |= {row["patient_name"] for row in csv.DictReader(file)}
    return {one for one in found if len(one) >= _MIN_NEEDLE and one not in _ALLOWED}


def test_no_needle_of_the_zoo_is_printed_logged_or_reported(
    site: Site, data_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    zoo = data_root / "dicom-zoo"
    files = sorted(path.name for path in zoo.glob("*.dcm"))
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\n" + "".join(f"{name},1\n" for name in files))
    task = tmp_path / "job.toml"
    task.write_text(TASK)
    home = tmp_path / "home"
    told = ""
    for command in (
        ["add", "zoo", "--dicom", str(zoo), "--labels", str(labels), "--task", str(task),
         "--burned-in", "allow", "--min-patients", "1", "--max-excluded-share", "1"],
        ["check", "zoo"],
        ["check", "zoo", "--json"],
        ["update", "zoo"],
        ["list"],
        ["report", "zoo"],
        ["report", "zoo", "--local", "--html", str(tmp_path / "page.html")],
    ):  # fmt: skip
        ended = site(["cohort", *command, "--home", str(home)])
        assert ended.code == 0, ended.err
        told += ended.out + ended.err
        if command[-1] == "--json":
            summary = read_json(ended.out)
            assert summary["found"] >= len(files)
            assert summary["cases"] > 40
    told += caplog.text + (tmp_path / "page.html").read_text()
    names = "\n".join(str(path.relative_to(home)) for path in home.rglob("*"))
    reports = [path for path in home.rglob("*") if path.is_file() and "reports" in path.parts]
    assert reports
    told += names + "".join(path.read_text(encoding="utf-8") for path in reports)
    present = {one for one in needles(zoo) if one in told}
    assert present == set()
