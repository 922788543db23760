"""`fedward simulate` where images have several findings, and where not all is annotated."""

import json
from pathlib import Path

import pytest
from tests.e2e.conftest import (
    Fedward,
    MakeWorkplace,
    Workplace,
    require_one_line_and_a_hint,
    toml_of,
)
from tests.multi_label_pictures import FINDINGS, LABELS, findings_job, findings_of
from tests.tiny_federation import SITES, pictures_of, tiny_job, write_site

from fedward_common.job.job_file import table_of_job
from fedward_common.settings import read_toml


def workplace(folder: Path, labels: dict[str, str | int] | None = None) -> Workplace:
    """Write data, a cohorts file and a job below a folder."""
    data = folder / "data"
    data.mkdir(parents=True)
    table = dict(LABELS) if labels is None else labels
    sites = {s: write_site(data, s, findings_of(s), max_excluded_share=0.5) for s in SITES}
    lines = toml_of({"sites": sites})
    for site in SITES:  # a key may be empty, which an inline table without quotes cannot say
        keys = ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in table.items())
        lines = lines.replace(f'"{site}.csv"', f'"{site}.csv", labels = {{ {keys} }}')
    (folder / "cohorts.toml").write_text(lines)
    (folder / "job.toml").write_text(toml_of(table_of_job(findings_job())))
    assert read_toml(folder / "cohorts.toml")["sites"]["alder"]["labels"] == table
    return Workplace(folder)


def test_a_simulation_shows_every_finding_and_what_nobody_annotated(
    tmp_path: Path, fedward: Fedward
) -> None:
    work = workplace(tmp_path / "work")
    ended = fedward(work.simulate("--baselines"))
    assert ended.code == 0, ended.err
    result = work.result()
    for name in FINDINGS:
        assert result["metrics"][f"auc:{name}"]["value"] is not None
        assert name in ended.out
    assert result["metrics"]["auc"]["value"] is not None
    assert result["baselines"]["pooled"]["metrics"]["auc"]["value"] is not None
    assert result["baselines"]["local"]["birch"]["metrics"]["auc:effusion"]["value"] is not None
    about = json.loads((work.out / "model" / "model.json").read_text())
    assert about["task"]["multi_label"] is True
    assert list(about["thresholds"]) == list(FINDINGS)
    report = (work.out / "report.html").read_text()
    assert "Test results by finding" in report
    assert "Images not annotated at birch" in report
    assert "| fracture |" in (work.out / "model_card.md").read_text()


def test_a_value_that_no_table_maps_is_counted_by_its_code(
    tmp_path: Path, fedward: Fedward
) -> None:
    labels: dict[str, str | int] = {k: v for k, v in LABELS.items() if k != ""}
    work = workplace(tmp_path / "work", labels)
    ended = fedward(work.simulate("--no-examples"))
    assert ended.code == 0, ended.err
    sites = work.result()["sites"]
    assert sites["cedar"]["refused_with"] == "E_TOO_MANY_EXCLUDED"
    assert sites["birch"]["excluded"] == {}
    report = (work.out / "sites" / "cedar" / "reports" / "cohort-main.json").read_text()
    assert "E_LABEL_UNMAPPED" in report


def test_a_segmentation_cannot_be_multi_label(tmp_path: Path, fedward: Fedward) -> None:
    work = workplace(tmp_path / "work")
    ended = fedward(work.simulate("--set", "task.kind=segmentation"))
    assert ended.code == 2
    assert "task.multi_label" in require_one_line_and_a_hint(ended)


@pytest.mark.parametrize("task", ["classification", "multi-label", "segmentation"])
def test_a_new_job_of_each_kind_of_task_is_valid(
    tmp_path: Path, fedward: Fedward, task: str
) -> None:
    file = tmp_path / "job.toml"
    assert fedward(["job", "new", str(file), "--task", task]).code == 0
    ended = fedward(["job", "check", str(file), "--json"])
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["task"]["multi_label"] == (task == "multi-label")


def test_voxels_that_nobody_outlined_are_left_out_and_counted(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    pictures = pictures_of("birch")
    for picture in pictures[::2]:
        picture.mask[:4] = 7
    pictures[1].mask[:] = 7
    work = make_workplace(tiny_job("segmentation"), birch=pictures)
    cohorts = work.folder / "cohorts.toml"
    labels = '"birch.csv", labels = { 1 = "square", 7 = "not annotated" }'
    cohorts.write_text(cohorts.read_text().replace('"birch.csv"', labels))
    ended = fedward(work.simulate())
    assert ended.code == 0, ended.err
    result = work.result()
    assert sum(result["sites"]["birch"]["not_annotated"].values()) == 1
    assert result["metrics"]["dice:square"]["value"] > 0.3
    assert "1 without any label" in (work.out / "model_card.md").read_text()
