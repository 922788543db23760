"""`fedward launch`, with --resume too: what it lays down, orders and refuses."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.hold_out_sets import public_arrays, saved
from tests.joint_federation import joint_job
from tests.server.coordinator.commands.conftest import FINISHED, HALF, SITES, Fedward, write_job
from tests.tiny_federation import TinyFederation, changed, tiny_job

from fedward_common.wire import protocol_versions
from fedward_server.coordinator.commands.new_run import lay_down, name_of_job
from fedward_server.coordinator.commands.planned_run import planned_run
from fedward_server.coordinator.commands.run_view import view_of
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.hold_out_set import HOLD_OUT_FILE
from fedward_server.coordinator.open_runs import open_runs
from fedward_server.coordinator.run_setup import read_run_setup
from fedward_server.coordinator.run_stop import is_stopped

REFUSED_JOBS = {
    "quorum.required_sites is 4": changed(tiny_job(), "quorum.required_sites=4"),
    "minimum_sites is 9": changed(
        tiny_job(), "secure_aggregation.enabled=true", "secure_aggregation.minimum_sites=9"
    ),
    "needs 3 or more in every sum": changed(joint_job(), "quorum.required_sites=2"),
    "do not fit a ring of 8 bits": changed(joint_job(), "privacy.ring_bits=8"),
}


def quiet(event: str, **fields: Any) -> None:
    del event, fields


def test_a_launched_run_is_laid_down_whole_and_ordered(
    home: CoordinatorHome, control: FlowerControl, fedward: Fedward, job_file: Path
) -> None:
    ended = fedward("launch", str(job_file), "--sites", "cedar,alder", "--seed", "7", "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert (told["run"], told["state"]) == ("tiny", "launched")
    setup = read_run_setup(home.runs / "tiny", home.key_file, now_seconds=time.time())
    manifest = setup.manifest
    assert manifest.training_sites == ("alder", "cedar")
    assert (manifest.seed, manifest.run) == (7, told["run_id"])
    assert manifest.consortium == setup.roster.consortium
    assert setup.answer_key is not None  # over a network nothing lies open
    assert setup.job == tiny_job()
    assert setup.initial_weights().size == manifest.num_parameters
    assert control.ordered_runs()["tiny"].is_open
    assert not list(home.folder.glob(".new-run-*"))
    assert "tiny" in open_runs(home, quiet)
    assert told["not_connected"] == ["alder", "birch", "cedar"]  # no node runs here


@pytest.mark.usefixtures("control")
def test_a_run_is_of_the_version_that_its_launch_names(
    home: CoordinatorHome, fedward: Fedward, job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F23: so hospitals of the release before can take part in a new run."""
    monkeypatch.setattr(protocol_versions, "PROTOCOL_VERSION", 2)
    launched = ("launch", str(job_file), "--sites", "cedar,alder")
    assert fedward(*launched, "--name", "newest").code == 0
    assert fedward(*launched, "--name", "before", "--protocol", "1").code == 0
    found = {name: view_of(home, name).manifest.protocol for name in ("newest", "before")}
    assert found == {"newest": 2, "before": 1}
    refused = fedward(*launched, "--name", "other", "--protocol", "3")
    assert refused.code == 2
    assert "--protocol 3, and this release speaks 1 and 2" in refused.err
    assert not (home.runs / "other").exists()


@pytest.mark.usefixtures("control")
def test_who_is_not_connected_at_a_launch_is_named_with_how_long_it_is_waited_for(
    fedward: Fedward, job_file: Path
) -> None:
    ended = fedward("launch", str(job_file), "--sites", SITES)
    assert "Not connected: alder, birch, cedar; waited for 300 s" in ended.out


def test_several_runs_of_one_job_queue_under_names_of_their_own(
    control: FlowerControl, fedward: Fedward, job_file: Path
) -> None:
    for _ in range(2):
        assert fedward("launch", str(job_file), "--sites", SITES).code == 0
    assert fedward("launch", str(job_file), "--sites", SITES, "--name", "third").code == 0
    assert list(control.ordered_runs()) == ["tiny", "tiny-2", "third"]
    states = {row["run"]: row["state"] for row in json.loads(fedward("runs", "--json").out)}
    assert states["tiny"] == states["tiny-2"] == states["third"] == "queued"
    taken = fedward("launch", str(job_file), "--sites", SITES, "--name", "third")
    assert "there is a run 'third' already" in taken.refusal


def test_queued_runs_say_their_places_and_begin_in_that_order_after_any_end(
    home: CoordinatorHome, control: FlowerControl, fedward: Fedward, job_file: Path
) -> None:
    for name in ("c", "a", "b"):
        launch = fedward("launch", str(job_file), "--sites", SITES, "--name", name)
        assert launch.code == 0, launch.err
    assert "Run b is launched and queued at place 3 after c, a; hospitals" in launch.out
    rows = {row["run"]: row for row in json.loads(fedward("runs", "--json").out)}
    assert [(rows[n]["place"], rows[n]["after"]) for n in "cab"] == [
        (1, []), (2, ["c"]), (3, ["c", "a"]),
    ]  # fmt: skip
    assert (rows[FINISHED]["place"], rows[FINISHED]["after"]) == (None, [])
    assert "queued at place 3 after c, a" in fedward("runs").out
    assert "queued at place 2 after c" in fedward("status", "a").out
    # Whatever became of Flower's database, the next start asks the folders.
    assert open_runs(home, quiet) == [HALF, "c", "a", "b"]


def test_a_queued_run_that_is_stopped_leaves_the_queue_and_comes_back_at_its_end(
    home: CoordinatorHome, control: FlowerControl, fedward: Fedward, job_file: Path
) -> None:
    for name in ("c", "a", "b"):
        assert fedward("launch", str(job_file), "--sites", SITES, "--name", name).code == 0
    assert json.loads(fedward("stop", "a", "--json").out)["state"] == "stopped"
    assert not control.ordered_runs()["a"].is_open
    assert json.loads(fedward("status", "b", "--json").out)["after"] == ["c"]
    assert open_runs(home, quiet) == [HALF, "c", "b"]
    resumed = json.loads(fedward("launch", "--resume", "--name", "a", "--json").out)
    assert (resumed["place"], resumed["after"]) == (3, ["c", "b"])
    still_open = [name for name, run in control.ordered_runs().items() if run.is_open]
    assert still_open == ["c", "b", "a"]
    assert open_runs(home, quiet) == [HALF, "c", "b", "a"]


@pytest.mark.parametrize("command", ["plan", "launch"])
@pytest.mark.parametrize(
    ("sites", "words"),
    [
        ("alder,elm", "elm: not in roster version 1"),
        ("alder,alder", "are one"),
        ("coordinator,alder", "cannot be used"),
        (",", "no site is to train"),
    ],
)
@pytest.mark.usefixtures("control")
def test_sites_that_cannot_train_are_refused_by_plan_and_launch(
    fedward: Fedward, job_file: Path, command: str, sites: str, words: str
) -> None:
    assert words in fedward(command, str(job_file), "--sites", sites).refusal


@pytest.mark.parametrize("command", ["plan", "launch"])
@pytest.mark.parametrize("words", REFUSED_JOBS)
@pytest.mark.usefixtures("control")
def test_a_job_that_these_sites_cannot_do_is_refused_by_plan_and_launch(
    home: CoordinatorHome, fedward: Fedward, tmp_path: Path, command: str, words: str
) -> None:
    before = sorted(home.runs.iterdir())
    file = write_job(tmp_path / "other.toml", REFUSED_JOBS[words])
    assert words in fedward(command, str(file), "--sites", SITES).refusal
    assert sorted(home.runs.iterdir()) == before


@pytest.mark.usefixtures("control")
def test_no_run_is_laid_down_with_a_roster_or_key_that_does_not_count(
    home: CoordinatorHome, fedward: Fedward, job_file: Path
) -> None:
    home.key_file.write_text("17" * 32)
    refused = fedward("launch", str(job_file), "--sites", SITES)
    assert "is not the coordinator's key" in refused.refusal
    home.key_file.write_text("no key")
    assert "holds no key" in fedward("launch", str(job_file), "--sites", SITES).refusal
    home.roster_file.unlink()
    refused = fedward("launch", str(job_file), "--sites", SITES)
    assert "roster.cbor is not there" in refused.refusal


def test_without_a_coordinator_nothing_is_laid_down(
    home: CoordinatorHome, fedward: Fedward, job_file: Path
) -> None:
    refused = fedward("launch", str(job_file), "--sites", SITES)
    assert "no coordinator runs on" in refused.refusal
    assert "fedward coordinator start" in refused.err
    # What a process that was killed leaves behind; port 1 answers nobody.
    home.loopback_file.write_text('{"port": 1, "token": "x"}')
    assert "no coordinator runs" in fedward("launch", str(job_file), "--sites", SITES).refusal
    assert sorted(path.name for path in home.runs.iterdir()) == [FINISHED, HALF]


def test_a_launch_that_loses_its_race_leaves_the_other_run_alone(
    home: CoordinatorHome, job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = planned_run(home, job_file, SITES.split(","), 0, now_seconds=time.time())
    manifest = (home.runs / HALF / "manifest.cbor").read_bytes()
    seen: list[bool] = [False]

    def not_there_at_first(path: Path) -> bool:
        first, seen[0] = not seen[0], True
        return not first and os.path.lexists(path)

    monkeypatch.setattr(Path, "exists", not_there_at_first)
    with pytest.raises(Exception, match="there is a run 'half' already"):
        lay_down(home, HALF, planned)
    monkeypatch.undo()
    assert (home.runs / HALF / "manifest.cbor").read_bytes() == manifest
    assert not list(home.folder.glob(".new-run-*"))


def test_a_stopped_run_goes_on_only_when_it_is_launched_again(
    home: CoordinatorHome, control: FlowerControl, fedward: Fedward
) -> None:
    assert open_runs(home, quiet) == [HALF]
    assert fedward("stop", HALF).code == 0
    assert open_runs(home, quiet) == []
    assert json.loads(fedward("stop", HALF, "--json").out)["state"] == "stopped"
    assert control.ordered_runs() == {}
    ended = fedward("launch", "--resume", "--name", HALF, "--json")
    assert json.loads(ended.out)["state"] == "resumed"
    assert not is_stopped(home.runs / HALF)
    assert control.ordered_runs()[HALF].is_open
    assert open_runs(home, quiet) == [HALF]
    assert "is under way" in fedward("launch", "--resume", "--name", HALF).refusal


def test_a_run_that_this_release_does_not_speak_stays_stopped(
    home: CoordinatorHome,
    control: FlowerControl,
    fedward: Fedward,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert fedward("stop", HALF).code == 0
    monkeypatch.setattr(protocol_versions, "PROTOCOL_VERSION", 3)
    refused = fedward("launch", "--resume", "--name", HALF)
    assert refused.code != 0
    assert "cannot go on: protocol 1 came, 2 and 3 is spoken here" in refused.refusal
    assert is_stopped(home.runs / HALF)
    assert control.ordered_runs() == {}


def test_a_run_is_found_by_its_job_and_goes_on_with_that_job_alone(
    home: CoordinatorHome, control: FlowerControl, fedward: Fedward, tmp_path: Path
) -> None:
    (home.runs / HALF).rename(home.runs / "tiny")
    same = write_job(tmp_path / "job.toml", tiny_job())
    other = write_job(tmp_path / "other.toml", changed(tiny_job(), "job.rounds=9"))
    assert "another job" in fedward("launch", str(other), "--resume").refusal
    refused = fedward("launch", str(same), "--resume", "--sites", "alder")
    assert "began with the sites alder, birch, cedar" in refused.refusal
    assert control.ordered_runs() == {}
    assert fedward("launch", str(same), "--resume", "--sites", SITES).code == 0
    assert control.ordered_runs()["tiny"].is_open


@pytest.mark.usefixtures("control")
def test_a_run_that_is_finished_or_unnamed_or_not_there_is_not_resumed(fedward: Fedward) -> None:
    assert "is finished" in fedward("launch", "--resume", "--name", FINISHED).refusal
    assert "is finished" in fedward("stop", FINISHED).refusal
    assert "which run" in fedward("launch", "--resume").refusal
    assert "has no run 'none'" in fedward("launch", "--resume", "--name", "none").refusal


def test_without_a_coordinator_a_stopped_run_stays_stopped(
    home: CoordinatorHome, fedward: Fedward
) -> None:
    fedward("stop", HALF)
    assert "no coordinator" in fedward("launch", "--resume", "--name", HALF).refusal
    assert is_stopped(home.runs / HALF)


def test_a_run_laid_down_gives_the_weights_of_the_simulation(
    home: CoordinatorHome, member: TinyFederation, job_file: Path
) -> None:
    planned = planned_run(home, job_file, SITES.split(","), 7, now_seconds=time.time())
    lay_down(home, "again", planned)
    first = view_of(home, FINISHED).manifest
    again = view_of(home, "again").manifest
    assert again.initial_weights_sha256 == first.initial_weights_sha256
    assert (again.job_table, again.seed) == (first.job_table, first.seed)
    assert set(first.training_sites) == set(member.homes)


def test_a_jobs_name_becomes_a_runs_name() -> None:
    assert name_of_job("Lung, first") == "lung-first"
    assert name_of_job("x" * 99) == "x" * 60
    assert name_of_job("肺") == "run"


# -- with a hold-out set ---------------------------------------------------------------------------


@pytest.fixture
def hold_out(tmp_path: Path) -> tuple[Path, Path]:
    """Give a job that names a set, and the set."""
    file, sha256 = saved(tmp_path, public_arrays(tmp_path / "public", tiny_job()))
    return write_job(
        tmp_path / "gated.toml", changed(tiny_job(), f"hold_out.sha256={sha256}")
    ), file


@pytest.mark.usefixtures("control")
def test_a_launch_keeps_the_set_with_the_run_and_names_it_in_the_manifest(
    home: CoordinatorHome, fedward: Fedward, hold_out: tuple[Path, Path]
) -> None:
    job, file = hold_out
    ended = fedward("launch", str(job), "--sites", SITES, "--hold-out", str(file))
    assert ended.code == 0, ended.err
    assert (home.runs / "tiny" / HOLD_OUT_FILE).read_bytes() == file.read_bytes()
    setup = read_run_setup(home.runs / "tiny", home.key_file, now_seconds=time.time())
    assert setup.job.hold_out is not None


@pytest.mark.usefixtures("control")
def test_a_launch_without_its_set_or_with_another_lays_nothing_down(
    home: CoordinatorHome, fedward: Fedward, hold_out: tuple[Path, Path], job_file: Path
) -> None:
    job, file = hold_out
    assert "no file came" in fedward("launch", str(job), "--sites", SITES).refusal
    named = ("--sites", SITES, "--hold-out", str(file))
    assert "no section [hold_out]" in fedward("launch", str(job_file), *named).refusal
    file.write_bytes(file.read_bytes() + b"x")
    assert "SHA-256" in fedward("launch", str(job), *named).refusal
    assert not (home.runs / "tiny").exists()
    assert not list(home.folder.glob(".new-run-*"))


@pytest.mark.usefixtures("control")
def test_a_set_that_was_lost_can_be_given_again_when_a_run_goes_on(
    home: CoordinatorHome, fedward: Fedward, hold_out: tuple[Path, Path]
) -> None:
    job, file = hold_out
    assert fedward("launch", str(job), "--sites", SITES, "--hold-out", str(file)).code == 0
    assert fedward("stop", "tiny").code == 0
    (home.runs / "tiny" / HOLD_OUT_FILE).unlink()
    assert "--hold-out" in fedward("launch", "--resume", "--name", "tiny").refusal
    ended = fedward("launch", "--resume", "--name", "tiny", "--hold-out", str(file))
    assert ended.code == 0, ended.err
    assert (home.runs / "tiny" / HOLD_OUT_FILE).exists()
