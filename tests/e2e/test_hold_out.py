"""`fedward hold-out` makes the set, and `fedward simulate --hold-out` judges rounds by it."""

import hashlib
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
from tests.hold_out_sets import public_cohort
from tests.masked_federation import change_update
from tests.simulation.test_hold_out import flipped


def command(work: Workplace, *options: str, out: str = "set.npz") -> list[str]:
    """Write a cohorts file of public images, and give the command that makes a set of them."""
    public = work.folder / "public"
    cohorts = work.folder / "public.toml"
    cohorts.write_text(toml_of(public_cohort(public)))
    return [
        "hold-out", str(work.folder / "job.toml"), "--cohorts", str(cohorts),
        "--data-root", str(public), "--site", "public", "--out", str(work.folder / out), *options,
    ]  # fmt: skip


def test_a_poisoned_simulation_is_judged_by_the_set_that_the_command_made(
    make_workplace: MakeWorkplace, fedward: Fedward, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_workplace()
    made = fedward(command(work, "--split", "all", "--json"))
    assert made.code == 0, made.err
    told, file = json.loads(made.out), work.folder / "set.npz"
    assert told["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert told["images"] > told["patients"] == 24
    named = (
        "--seed",
        "7",
        "--set",
        f"hold_out.sha256={told['sha256']}",
        "--set",
        "strategy.weighting=uniform",
    )
    refused = fedward(work.simulate(*named))
    assert "no file came" in require_one_line_and_a_hint(refused)
    assert (refused.code, work.out.exists()) == (2, False)
    change_update(monkeypatch, "birch", flipped, in_round=2)
    ended = fedward(work.simulate(*named, "--no-examples", "--baselines", "--hold-out", str(file)))
    assert ended.code == 0, ended.err
    result = work.result()
    assert result["hold_out"] == {
        "sha256": told["sha256"], "metric": "auc", "largest_drop": 0.1, "rounds_rejected": [2],
    }  # fmt: skip
    assert (result["rounds_planned"], result["rounds_completed"]) == (4, 3)
    assert [bool(sites) for sites in result["participants"]] == [True, False, True, True]
    assert result["baselines"]["pooled"]["rounds_completed"] == 4  # judged by nobody
    assert "1 round (2) made the AUC on a public hold-out set" in (
        work.out / "report.html"
    ).read_text(encoding="utf-8")
    file.unlink()
    assert fedward(work.simulate(*named, "--no-examples", "--resume")).code == 0


def test_the_command_says_what_to_write_into_the_job(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    ended = fedward(command(work))
    assert ended.code == 0, ended.err
    sha256 = hashlib.sha256((work.folder / "set.npz").read_bytes()).hexdigest()
    assert f'[hold_out]\nsha256 = "{sha256}"\n' in ended.out
    again = fedward(command(work))
    assert "is there already" in require_one_line_and_a_hint(again)


def test_a_set_that_no_run_would_take_is_not_left_behind(
    make_workplace: MakeWorkplace, fedward: Fedward
) -> None:
    work = make_workplace()
    arguments = command(work)
    manifest = Path(work.folder / "public" / "public.csv")
    lines = manifest.read_text().splitlines()
    one_class = [lines[0], *(line for line in lines[1:] if line.split(",")[2] == "1")]
    manifest.write_text("\n".join(one_class) + "\n")
    ended = fedward(arguments)
    assert "has no case of 'normal'" in require_one_line_and_a_hint(ended)
    assert not (work.folder / "set.npz").exists()
