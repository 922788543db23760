"""`fedward simulate`: what it prints, what it leaves, and how it ends."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import (
    Fedward,
    MakeWorkplace,
    require_one_line_and_a_hint,
    start_fedward,
)
from tests.tiny_federation import SITES, pictures_of, tiny_job

from fedward_server.coordinator.run_journal import FileRunJournal

NO_PICTURES = "--no-examples"


def test_a_simulation_leaves_result_report_card_and_model(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    ended = fedward(work.simulate())
    assert ended.code == 0, ended.err
    left = {path.name for path in work.out.iterdir()}
    assert {"result.json", "report.html", "model_card.md", "model", "journal"} <= left
    result = work.result()
    assert result["rounds_completed"] == 4
    assert result["participants"] == [list(SITES)] * 4
    assert result["baselines"] is None
    assert result["secure_aggregation"] == {"enabled": False, "answers_sealed": False}
    assert result["privacy"]["mechanism"] == "none"
    about = json.loads((work.out / "model" / "model.json").read_text())
    assert about["model_sha256"] == result["model_sha256"]


def test_json_is_all_that_stands_on_stdout(make_workplace: MakeWorkplace) -> None:
    work = make_workplace()
    process = start_fedward(work.simulate("--json", NO_PICTURES))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out) == work.result()
    assert "Report:" in err


def test_two_runs_of_one_seed_leave_the_same_model_and_another_seed_another(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    for out, seed in (("one", "5"), ("same", "5"), ("other", "6")):
        assert fedward(work.simulate(NO_PICTURES, "--seed", seed, out=out)).code == 0
    hashes = [work.result(out)["model_sha256"] for out in ("one", "same", "other")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_baselines_are_one_pooled_and_one_for_each_site(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    ended = fedward(work.simulate("--baselines", NO_PICTURES))
    assert ended.code == 0, ended.err
    baselines = work.result()["baselines"]
    assert list(baselines["local"]) == list(SITES)
    for outcome in (baselines["pooled"], *baselines["local"].values()):
        assert outcome["metrics"]["auc"]["support"] == 18
        assert outcome["rounds_completed"] == 4


def test_a_baseline_of_a_site_without_data_is_named_and_the_others_are_there(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace(birch=[])
    assert fedward(work.simulate("--baselines", NO_PICTURES)).code == 0
    local = work.result()["baselines"]["local"]
    assert local["birch"]["metrics"] is None
    assert local["birch"]["error"] == "QUORUM_NOT_REACHED"
    assert local["alder"]["metrics"]["auc"]["value"] is not None


def test_a_site_of_one_class_has_no_auc_of_its_own_and_says_why(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    normal = [p for p in pictures_of("birch") if p.row["label"] == "0"]
    work = make_workplace(birch=normal)
    assert fedward(work.simulate(NO_PICTURES)).code == 0
    result = work.result()
    figure = result["metrics_per_site"]["birch"]["auc"]
    assert figure["value"] is None
    assert figure["reason"] == "no patient of class 'finding' in the test split"
    assert result["metrics_per_site"]["alder"]["auc"]["value"] is not None
    assert result["metrics"]["auc"]["value"] is not None


def test_an_empty_site_is_named_in_the_result_with_its_code(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace(birch=[])
    assert fedward(work.simulate(NO_PICTURES)).code == 0
    about = work.result()["sites"]["birch"]
    assert (about["accepted"], about["refused_with"]) == (False, "E_COHORT_EMPTY")


def test_a_segmentation_leaves_dice_of_its_structure(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace(tiny_job("segmentation"))
    ended = fedward(work.simulate())
    assert ended.code == 0, ended.err
    metrics = work.result()["metrics"]
    assert metrics["dice:square"]["support"] == 18
    assert metrics["dice"]["value"] == metrics["dice:square"]["value"]


# -- how it ends -----------------------------------------------------------------------------------


def _with(*overrides: str) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


USAGE: dict[str, tuple[list[str], str]] = {
    "an unknown key": (_with("training.learning_rte=1"), "training.learning_rte"),
    "a value out of range": (_with("strategy.momentum=2"), "strategy.momentum"),
    "an unknown model": (_with("model.name=alexnet"), "alexnet"),
    "an unknown option": (_with("model.options.widht=8"), "widht"),
    "privacy that lacks a key": (
        _with("privacy.mechanism=joint", "privacy.epsilon=8.0", "privacy.delta=1e-5"),
        "privacy.expected_batch_patients",
    ),
    "a data root that is none": (["--data-root", "/nowhere"], "/nowhere"),
}


@pytest.mark.parametrize(("options", "named"), USAGE.values(), ids=USAGE)
def test_wrong_configuration_is_one_line_and_a_hint_and_exit_code_2(
    make_workplace: MakeWorkplace, fedward: Fedward, options: list[str], named: str
) -> None:
    work = make_workplace()
    ended = fedward(work.simulate(*options))
    assert ended.code == 2
    assert named in require_one_line_and_a_hint(ended)
    assert not (work.out / "result.json").exists()


def test_an_unknown_key_in_the_job_file_names_the_nearest_known_one(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    job = work.folder / "job.toml"
    job.write_text(job.read_text().replace("local_steps", "local_stpes"))
    ended = fedward(work.simulate())
    assert ended.code == 2
    assert "training.local_stpes" in require_one_line_and_a_hint(ended)
    assert "local_steps" in ended.err.splitlines()[-1]


@pytest.mark.parametrize("missing", ["job.toml", "cohorts.toml"])
def test_a_file_that_is_missing_is_exit_code_2(
    make_workplace: MakeWorkplace, fedward: Fedward, missing: str
) -> None:
    work = make_workplace()
    (work.folder / missing).unlink()
    ended = fedward(work.simulate())
    assert ended.code == 2
    assert missing in require_one_line_and_a_hint(ended)


def test_an_unknown_option_is_exit_code_2(fedward: Fedward) -> None:
    assert fedward(["simulate", "--no-such-option"]).code == 2


def test_work_that_fails_is_exit_code_1(make_workplace: MakeWorkplace, fedward: Fedward) -> None:
    work = make_workplace(**{site: [] for site in SITES})
    ended = fedward(work.simulate())
    assert ended.code == 1
    line = require_one_line_and_a_hint(ended)
    assert all(f"{site}: E_COHORT_EMPTY" in line for site in SITES)


def test_with_debug_the_traceback_is_shown(make_workplace: MakeWorkplace) -> None:
    work = make_workplace()
    process = start_fedward(["--debug", *work.simulate(*_with("strategy.momentum=2"))])
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" in err


# -- one folder, one simulation --------------------------------------------------------------------


def test_a_second_run_into_the_same_folder_is_refused(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    assert fedward(work.simulate(NO_PICTURES)).code == 0
    before = (work.out / "result.json").read_bytes()
    ended = fedward(work.simulate(NO_PICTURES))
    assert ended.code == 2
    assert "is not empty" in require_one_line_and_a_hint(ended)
    assert "--resume" in ended.err
    assert (work.out / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    "other", [_with("job.rounds=5"), ["--seed", "9"], ["--threads", "2"]], ids=str
)
def test_going_on_with_other_settings_is_refused(
    make_workplace: MakeWorkplace, fedward: Fedward, other: list[str]
) -> None:
    work = make_workplace()
    assert fedward(work.simulate(NO_PICTURES)).code == 0
    ended = fedward(work.simulate("--resume", NO_PICTURES, *other))
    assert ended.code == 2
    assert "was started with another" in require_one_line_and_a_hint(ended)


def test_going_on_with_a_finished_simulation_gives_the_same_result(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    assert fedward(work.simulate(NO_PICTURES)).code == 0
    before = work.result()
    assert fedward(work.simulate("--resume", NO_PICTURES)).code == 0
    assert work.result() == before


def test_resume_may_also_begin(make_workplace: MakeWorkplace, fedward: Fedward) -> None:
    assert fedward(make_workplace().simulate("--resume", NO_PICTURES)).code == 0


def test_a_second_process_on_the_same_folder_is_told_so(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    assert fedward(work.simulate(NO_PICTURES)).code == 0
    journal = FileRunJournal(work.out / "journal")  # as the first process holds it
    try:
        process = start_fedward(work.simulate("--resume", NO_PICTURES))
        _, err = process.communicate(timeout=60)
    finally:
        journal.close()
    assert process.returncode == 1
    assert "is in use by another process" in err
    assert "Traceback" not in err


# -- several seeds ---------------------------------------------------------------------------------


def test_several_seeds_are_a_run_each_and_a_summary(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    assert fedward(work.simulate("--seeds", "1,2", NO_PICTURES)).code == 0
    summary = work.result()
    assert summary["schema"] == "fedward-seeds/1"
    hashes = [result["model_sha256"] for result in summary["results"]]
    assert len(set(hashes)) == 2
    each: list[dict[str, Any]] = [work.result(f"out/seed-{seed}") for seed in (1, 2)]
    assert [result["model_sha256"] for result in each] == hashes


# -- start-up --------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from fedward_server.cli import main\n"
        "sys.argv = ['fedward', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert end.code in (0, None), end.code\n"
        "heavy = {'torch', 'flwr', 'monai', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "simulate" in ended.stdout


def test_a_disk_that_is_full_in_a_baseline_is_an_error_and_no_outcome(
    make_workplace: MakeWorkplace, fedward: Fedward, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_workplace()
    real = os.write

    def write(descriptor: int, block: memoryview) -> int:
        if "baselines/local-birch" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, block)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        ended = fedward(work.simulate("--baselines", NO_PICTURES))
    assert ended.code == 1
    assert "no space left" in require_one_line_and_a_hint(ended)
    assert not (work.out / "result.json").exists()
    assert fedward(work.simulate("--baselines", "--resume", NO_PICTURES)).code == 0
    assert work.result()["baselines"]["local"]["birch"]["metrics"] is not None
