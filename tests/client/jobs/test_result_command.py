"""`fedward-site result`: pooled figures beside the hospital's own, as people see them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.conftest import Ended, Site
from tests.client.daemon.test_run_result import tell
from tests.client.jobs.asking_coordinator import PRIVATE, Asking, asking
from tests.told_results import a_result

from fedward_common.evaluation.figures import classification_figures
from fedward_common.evaluation.operating_points import Threshold
from fedward_common.evaluation.sums import sums_from_vector
from fedward_common.wire.run_result import PooledFigure, ResultReceipt

WITHIN = 'approval = "within-policy"'
EDGE = 480


def pooled_figures(asked: Asking) -> dict[str, PooledFigure]:
    """Figures of the site's own test patients, told as if they were everybody's."""
    sums, task = own_sums(asked), asked.coordinator.setup.job.task
    figures = classification_figures(sums, task.class_names, Threshold(EDGE))
    return {name: PooledFigure(**vars(figure)) for name, figure in figures.items()}


def own_sums(asked: Asking) -> Any:
    vector = np.load(asked.home.run_folder(asked.run) / "test-sums.npy")
    return sums_from_vector(vector, asked.coordinator.setup.job.task)


@pytest.fixture
def tested(tmp_path: Path) -> Asking:
    one = asking(tmp_path, *PRIVATE, jobs=WITHIN)
    assert one.propose() == one.train() == one.evaluate_finally() == ""
    return one


def run(site: Site, asked: Asking, *words: str) -> Ended:
    ended = site(["result", asked.run, *words, "--home", str(asked.home.folder)])
    assert ended.code == 0, ended.err
    return ended


def test_pooled_figures_stand_beside_the_own_at_the_same_threshold_in_80_columns(
    site: Site, tested: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = a_result(test=pooled_figures(tested), threshold_bin_edges={"finding": EDGE})
    assert isinstance(tell(tested, result).message, ResultReceipt)
    shown = run(site, tested).out
    assert max(map(len, shown.splitlines())) <= 80
    (head,) = [line for line in shown.splitlines() if "figure" in line and "pooled" in line]
    assert head.split() == ["figure", "pooled", "95", "%", "interval", "cases", "own", "95", "%",
                            "interval", "cases"]  # fmt: skip
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.split()}
    for name in ("auc", "balanced_accuracy", "sensitivity", "specificity", "f1"):
        cells = rows[name]
        assert len(cells) % 2 == 0
        assert cells[: len(cells) // 2] == cells[len(cells) // 2 :], name
    for words in ("4 rounds", "round 3", "3 sites", "leave it nowhere", "Spent of each of"):
        assert words in " ".join(shown.split()), words
    found = json.loads(run(site, tested, "--json").out)
    assert found["own"] == found["pooled"]["test"]
    assert found["pooled"]["thresholds"] == {"finding": Threshold(EDGE).probability}
    assert (found["pooled"]["num_sites"], found["pooled"]["selected_round"]) == (3, 3)
    assert found["spent"]["epsilon"] > 0


def test_before_the_end_it_says_that_there_are_no_pooled_figures_yet(
    site: Site, tested: Asking
) -> None:
    shown = run(site, tested).out
    assert "No pooled figures yet" in shown
    assert "at probability 0.5" in shown
    assert json.loads(run(site, tested, "--json").out)["pooled"] is None


def test_a_result_of_two_sites_has_no_figures_and_says_why(site: Site, tested: Asking) -> None:
    told = a_result(test={}, validation={}, num_sites=2)
    assert isinstance(tell(tested, told).message, ResultReceipt)
    shown = " ".join(run(site, tested).out.split())
    assert "pooled figures are not told" in shown
    assert "2 sites" in shown
    assert json.loads(run(site, tested, "--json").out)["pooled"]["test"] == {}


def test_a_site_that_was_not_tested_sees_the_pooled_figures_alone(
    site: Site, tmp_path: Path
) -> None:
    one = asking(tmp_path, *PRIVATE, jobs=WITHIN)
    assert one.propose() == ""
    assert isinstance(tell(one).message, ResultReceipt)
    shown = run(site, one).out
    assert "0.250-0.750" in shown
    assert "pooled f1: no test patient has it" in shown
    assert "was not tested on this site's patients" in shown


def test_what_the_coordinator_wrote_is_printed_as_text_and_nothing_else(
    site: Site, tested: Asking
) -> None:
    hostile = PooledFigure(None, None, None, 0, "\x1b[2J[red]gone", None, 0, None, None)
    told = a_result(test={"[bold]\x1b]0;x": hostile})
    assert isinstance(tell(tested, told).message, ResultReceipt)
    shown = run(site, tested).out
    assert "\x1b" not in shown
    assert "[red]gone" in shown
    assert "[bold]" in shown


def test_a_damaged_result_is_named(site: Site, tested: Asking) -> None:
    tell(tested)
    (tested.home.run_folder(tested.run) / "result.cbor").write_bytes(b"\xa0")
    ended = site(["result", tested.run, "--home", str(tested.home.folder)])
    assert ended.code == 1
    assert "result.cbor is damaged" in ended.error
