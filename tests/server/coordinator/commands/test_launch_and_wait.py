"""What a script is told: a run's id alone, and a result once there is one."""

from pathlib import Path

import pytest
from tests.server.coordinator.commands.conftest import FINISHED, SITES, Fedward

from fedward_server.coordinator.commands.run_view import view_of
from fedward_server.coordinator.coordinator_home import CoordinatorHome


@pytest.mark.usefixtures("control")
def test_a_launch_can_print_what_hospitals_know_the_run_by_and_nothing_else(
    home: CoordinatorHome, fedward: Fedward, job_file: Path
) -> None:
    ended = fedward("launch", str(job_file), "--sites", SITES, "--id-only")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{view_of(home, 'tiny').manifest.run}\n"


@pytest.mark.usefixtures("control")
def test_a_person_is_told_what_hospitals_know_the_run_by(
    home: CoordinatorHome, fedward: Fedward, job_file: Path
) -> None:
    ended = fedward("launch", str(job_file), "--sites", SITES)
    assert f"hospitals know it as {view_of(home, 'tiny').manifest.run};" in ended.out


@pytest.mark.parametrize("other", ["--watch", "--json", "--resume"])
def test_the_id_alone_goes_with_no_other_way_of_telling(
    fedward: Fedward, job_file: Path, other: str
) -> None:
    assert fedward("launch", str(job_file), "--sites", SITES, "--id-only", other).code == 2


def test_a_result_that_is_waited_for_is_shown_after_its_journal(
    fedward: Fedward, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    ended = fedward("result", FINISHED, "--wait", "--out", str(out))
    assert ended.code == 0, ended.err
    assert f"{FINISHED} is finished" in ended.out
    assert (out / "report.html").is_file()
    both = fedward("result", FINISHED, "--wait", "--json", "--out", str(tmp_path / "again"))
    assert both.code == 2
