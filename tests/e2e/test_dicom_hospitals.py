"""From files on disk to a trained model, with the commands that people type."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Ended, Fedward, MakeWorkplace, require_one_line_and_a_hint
from tests.tiny_federation import tiny_job

JOB_OF_TASK = {"classification": "demo_detect.toml", "segmentation": "demo_outline.toml"}
COHORTS_OF_THEIR_OWN = (
    ("labels-by-file.csv", "classification"),
    ("labels-by-file.csv", "segmentation"),
    ("labels-by-study.csv", "classification"),
    ("labels-by-accession.csv", "classification"),
    ("labels-of-another.csv", "classification"),
)
SECOND_DELIVERY = ("labels-2.csv", "classification")


def run_process(command: Sequence[str], folder: Path, **environment: str) -> Ended:
    """Run a command as a person does, with the scripts of this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        list(command),
        cwd=folder,
        env=os.environ | environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def fedward_site(folder: Path, *arguments: str) -> Ended:
    return run_process([sys.executable, "-m", "fedward_client", *arguments], folder)


def result_in(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
    return result


@pytest.fixture(scope="module")
def faulty_hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fedward_server.simulation.phantom_writing import PhantomOrder, make_phantoms

    folder = tmp_path_factory.mktemp("faulty")
    return make_phantoms(folder, PhantomOrder((10,), "both", 32, quirks=True))[0].folder


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        ("labels.csv", "classification"),
        ("labels-ct.csv", "segmentation"),
        pytest.param("labels.csv", "segmentation", marks=pytest.mark.slow),
        pytest.param("labels-ct.csv", "classification", marks=pytest.mark.slow),
    ],
)
def test_a_check_finds_every_fault_of_a_phantom_hospital_and_no_other(
    faulty_hospital: Path, tmp_path: Path, project_root: Path, labels: str, task: str
) -> None:
    templates = project_root / "server" / "fedward_server" / "job_templates"
    expected = json.loads((faulty_hospital / "expected_findings.json").read_text("utf-8"))
    cases = "series" if labels == "labels-ct.csv" else "images"
    home = ("--home", str(tmp_path / "home"))
    added = fedward_site(
        faulty_hospital, "cohort", "add", "faulty", *home,
        "--dicom", "dicom", "--labels", labels, "--task", str(templates / JOB_OF_TASK[task]),
        "--cases", cases, *expected["register_with"][task],
    )  # fmt: skip
    assert added.code == 0, added.err
    checked = fedward_site(faulty_hospital, "cohort", "check", "faulty", *home, "--json")
    assert checked.code == 0, checked.err
    found = json.loads(checked.out)
    assert found["archive"] == expected["archive"]
    assert found["lines"] == expected["lines"][labels][task]


def found_by_check(folder: Path, home: Path) -> tuple[int, dict[str, Any]]:
    checked = fedward_site(folder, "cohort", "check", "faulty", "--home", str(home), "--json")
    found: dict[str, Any] = json.loads(checked.out)
    return checked.code, {key: found[key] for key in ("archive", "lines", "limits_passed")}


def further_entry(hospital: Path, labels: str, task: str = "classification") -> dict[str, Any]:
    expected = json.loads((hospital / "expected_findings.json").read_text("utf-8"))
    entries = {(one["labels"], one["task"]): one for one in expected["further"]}
    assert set(entries) == {*COHORTS_OF_THEIR_OWN, SECOND_DELIVERY}
    return dict(entries[labels, task])


@pytest.mark.parametrize(("labels", "task"), COHORTS_OF_THEIR_OWN)
def test_a_check_finds_what_a_further_label_file_shows_and_nothing_else(
    faulty_hospital: Path, tmp_path: Path, project_root: Path, labels: str, task: str
) -> None:
    templates = project_root / "server" / "fedward_server" / "job_templates"
    entry = further_entry(faulty_hospital, labels, task)
    assert entry["update_of"] == ""
    added = fedward_site(
        faulty_hospital, "cohort", "add", "faulty", "--home", str(tmp_path / "home"),
        "--dicom", "dicom", "--labels", labels, "--task", str(templates / JOB_OF_TASK[task]),
        *entry["register_with"],
    )  # fmt: skip
    assert added.code == 0, added.err
    code, found = found_by_check(faulty_hospital, tmp_path / "home")
    assert code == (1 if entry["limits_passed"] else 0)
    assert found == {key: entry[key] for key in found}


def test_a_second_delivery_that_moves_a_patient_to_another_split_is_found(
    faulty_hospital: Path, tmp_path: Path, project_root: Path
) -> None:
    templates = project_root / "server" / "fedward_server" / "job_templates"
    expected = json.loads((faulty_hospital / "expected_findings.json").read_text("utf-8"))
    labels, task = SECOND_DELIVERY
    entry = further_entry(faulty_hospital, labels, task)
    home = ("--home", str(tmp_path / "home"))
    added = fedward_site(
        faulty_hospital, "cohort", "add", "faulty", *home, "--dicom", "dicom",
        "--labels", entry["update_of"], "--task", str(templates / JOB_OF_TASK[task]),
        *expected["register_with"][task],
    )  # fmt: skip
    assert added.code == 0, added.err
    updated = fedward_site(faulty_hospital, "cohort", "update", "faulty", *home, "--labels", labels)
    assert updated.code == 0, updated.err
    code, found = found_by_check(faulty_hospital, tmp_path / "home")
    assert code == 0
    assert found == {key: entry[key] for key in found}


def test_phantoms_are_made_by_the_command_and_told_as_json(
    tmp_path: Path, fedward: Fedward
) -> None:
    out = tmp_path / "hospitals"
    command = ["phantom", "--hospitals", "2", "--patients", "12,10", "--image-size", "32",
               "--out", str(out)]  # fmt: skip
    ended = fedward([*command, "--json"])
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert [one["hospital"] for one in told] == ["hospital-north", "hospital-river"]
    assert [one["label_files"][0]["patients"] for one in told] == [12, 10]
    for one in told:
        assert len(list(Path(one["dicom"]).rglob("*.dcm"))) == one["files"]
    again = fedward(command)
    assert again.code == 2
    assert "not empty" in require_one_line_and_a_hint(again)
    shown = fedward([*command[:-1], str(tmp_path / "other"), "--quirks"])
    assert "hospital-river" in shown.out
    assert "expected_findings.json" in shown.out


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_dicomized_data_train_the_very_same_model(
    make_workplace: MakeWorkplace, fedward: Fedward, kind: str
) -> None:
    work = make_workplace(tiny_job(kind))
    assert fedward(work.simulate("--no-examples")).code == 0
    dicom = work.folder / "dicom"
    wrapped = fedward([
        "dicomize", str(work.folder / "job.toml"), "--cohorts", str(work.folder / "cohorts.toml"),
        "--data-root", str(work.folder / "data"), "--out", str(dicom),
    ])  # fmt: skip
    assert wrapped.code == 0, wrapped.err
    registered = run_process(["sh", str(dicom / "register.sh")], work.folder)
    assert registered.code == 0, registered.err
    again = fedward([
        "simulate", str(dicom / "job.toml"), "--cohorts", str(dicom / "cohorts.toml"),
        "--out", str(work.folder / "again"), "--workers", "0", "--no-examples",
    ])  # fmt: skip
    assert again.code == 0, again.err
    assert work.result("again")["model_sha256"] == work.result()["model_sha256"]
    assert work.result("again")["metrics"] == work.result()["metrics"]


def test_a_cohorts_file_that_is_dicom_already_is_refused_before_anything_is_written(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    cohorts = work.folder / "cohorts.toml"
    cohorts.write_text(
        '[sites.alder]\nsource = "registered"\npath = "home"\ncohort = "main"\n', encoding="utf-8"
    )
    ended = fedward([
        "dicomize", str(work.folder / "job.toml"), "--cohorts", str(cohorts),
        "--out", str(work.folder / "dicom"),
    ])  # fmt: skip
    assert ended.code == 2
    assert "DICOM already" in require_one_line_and_a_hint(ended)
    assert not any((work.folder / "dicom").iterdir())


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["pneumonia", "hippocampus"])
def test_the_example_gives_the_same_metrics_as_dicom_and_as_it_is(
    tmp_path: Path, fedward: Fedward, project_root: Path, data_root: Path, name: str
) -> None:
    shutil.copytree(project_root / "examples", tmp_path / "examples")
    cohorts = tmp_path / "examples" / f"{name}.cohorts.toml"
    # acqB has two thirds of the volumes, which would take minutes
    cohorts.write_text(
        re.sub(r"(?ms)^\[sites\.acqB\].*?(?=^\[|\Z)", "", cohorts.read_text("utf-8"))
    )
    few = "--set job.rounds=2,evaluation.every=1 --no-examples"
    readme = (project_root / "examples" / "dicom" / "README.md").read_text("utf-8")
    block = readme.split(f"<!-- {name} -->\n```bash\n")[1].split("```")[0]
    shorter = re.sub(r"^(fedward simulate .*)$", rf"\1 {few}", block, flags=re.M)
    assert shorter.count(few) == 1
    followed = run_process(["bash", "-euc", shorter], tmp_path, DATA=str(data_root))
    assert followed.code == 0, followed.err
    ended = fedward([
        "simulate", str(project_root / "examples" / f"{name}.toml"),
        "--cohorts", str(cohorts), "--data-root", str(data_root), *few.split(),
        "--out", str(tmp_path / "arrays"),
    ])  # fmt: skip
    assert ended.code == 0, ended.err
    arrays, wrapped = (result_in(tmp_path / out) for out in ("arrays", f"out/{name}-dicom"))
    assert list(wrapped["metrics"]) == list(arrays["metrics"])
    for metric, figure in arrays["metrics"].items():
        assert wrapped["metrics"][metric]["value"] == pytest.approx(figure["value"], abs=1e-6)
        assert wrapped["metrics"][metric]["support"] == figure["support"]
    if name == "pneumonia":  # whole numbers, so nothing at all is lost
        assert wrapped["model_sha256"] == arrays["model_sha256"]
