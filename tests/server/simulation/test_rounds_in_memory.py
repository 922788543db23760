"""Masked rounds that are in memory alone come to the same sums, whatever ends on the way."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message, RecordDict
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.masked_federation import (
    SHORT,
    Passing,
    WatchedGrid,
    codes_of,
    five_sites,
    kinds_of,
    restart_sites,
)
from tests.simulation.test_resume import Killed, KillingJournal
from tests.simulation.test_strategies import PRIVATE, SCAFFOLD
from tests.tiny_federation import TinyFederation, essence, history_of
from tests.worker_grids import Grids, answers_to, clock_of_a_hanging_site

from fedward_client.daemon import secure_rounds
from fedward_client.daemon.round_memory import RoundMemory
from fedward_client.daemon.round_store import RoundStore
from fedward_client.daemon.site_state import open_site
from fedward_common.errors import StoppedError
from fedward_common.secagg import rounds_in_memory
from fedward_server.coordinator.observer import SilentObserver
from fedward_server.simulation.federation import Engine, keeps_rounds_in_memory, run_federation
from fedward_server.simulation.fork_server import start_fork_server

STEPS = ("train.round", "query.share:train", "query.mask:train", "query.confirm:train",
         "query.unmask:train")  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def fork_server() -> None:
    """Import torch once, for all workers."""
    start_fork_server()


@pytest.fixture
def masked(tiny: TinyFederation) -> TinyFederation:
    return tiny.with_job(*SHORT)


@pytest.fixture
def grids(masked: TinyFederation) -> Iterator[Grids]:
    made = Grids(masked)
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(tiny: TinyFederation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose rounds are on disk."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    tiny.with_job(*SHORT).run(folder)
    return folder


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> TinyFederation:
    """Sites of which four make a sum, without who was ended through no fault of its own."""
    return five_sites(tmp_path_factory.mktemp("five")).with_job(*SHORT)


@pytest.fixture(scope="module")
def undisturbed_five(five: TinyFederation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed-five") / "run"
    five.run(folder)
    return folder


def written_rounds(federation: TinyFederation, folder: Path) -> list[str]:
    """Name what was written of rounds of training, at the sites and beside the journal."""
    run = federation.set_up(folder).manifest.run
    homes = [home / "runs" / run / "secure" for home in federation.homes.values()]
    found = [path for home in homes for path in home.glob("train-*")]
    return sorted({path.name for path in (*found, *folder.glob("*secure-train*"))})


# -- the same sums, and nothing on disk ------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_the_sums_are_those_of_rounds_on_disk_and_nothing_is_written(
    masked: TinyFederation, tmp_path: Path, grids: Grids, undisturbed: Path, num_workers: int
) -> None:
    folder = tmp_path / "run"
    seen: set[str] = set()

    def look(passing: Passing, message: Message) -> None:
        seen.update(written_rounds(masked, folder))

    if num_workers:
        masked.run(folder, grid=grids(num_workers, in_memory=True))
    else:
        masked.run(folder, grid=WatchedGrid(masked, before=look, after=look, in_memory=True))
    assert essence(folder) == essence(undisturbed)
    assert not codes_of(folder)
    assert not seen
    assert not written_rounds(masked, folder)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_simulation_keeps_rounds_in_memory_where_it_may(
    masked: TinyFederation, tmp_path: Path, undisturbed: Path, num_workers: int
) -> None:
    federation = masked.in_folder(tmp_path / "run")
    run_federation(federation, Engine(num_workers), SilentObserver())
    assert not written_rounds(masked, federation.folder)
    assert essence(federation.folder) == essence(undisturbed)


@pytest.mark.parametrize(
    "settings",
    [PRIVATE, SCAFFOLD, ("quorum.attempts=1",)],
    ids=["noise", "control variates", "one attempt"],
)
def test_a_round_that_would_not_be_done_again_alike_is_on_disk(
    tiny: TinyFederation, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    federation = tiny.with_job(*SHORT, *settings)
    federation.run(tmp_path / "run", grid=WatchedGrid(federation, in_memory=True))
    assert written_rounds(federation, tmp_path / "run") == ["train-00000002"]
    assert not keeps_rounds_in_memory(federation.set_up(tmp_path / "run"))


def test_large_contributions_are_on_disk(
    masked: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds_in_memory, "MAX_CONTRIBUTION_BYTES", 100)
    masked.run(tmp_path / "run", grid=WatchedGrid(masked, in_memory=True))
    assert written_rounds(masked, tmp_path / "run") == ["train-00000002"]


@pytest.mark.parametrize(
    ("is_simulated", "asked_for", "kind"),
    [(True, True, RoundMemory), (True, False, RoundStore), (False, True, RoundStore)],
)
def test_only_a_simulated_site_that_was_asked_to_keeps_rounds_in_memory(
    masked: TinyFederation, tmp_path: Path, is_simulated: bool, asked_for: bool, kind: type
) -> None:
    setup = masked.set_up(tmp_path / "run")
    coordinator = Coordinator(masked, setup, setup.key)
    coordinator.propose()
    site = open_site(masked.homes[SITE])
    run = site.accepted_run(setup.manifest.run, setup.manifest_sha256)
    try:
        site.is_simulated, site.rounds_in_memory = is_simulated, "a grid" if asked_for else ""
        assert type(secure_rounds._store_of(site, run, "train", 1)) is kind
        assert type(secure_rounds._store_of(site, run, "test", 1)) is RoundStore
    finally:
        restart_sites()


# -- a worker that ends ----------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_ends_once_costs_an_attempt_and_no_site_its_round(
    masked: TinyFederation, tmp_path: Path, grids: Grids, undisturbed: Path, step: str
) -> None:
    folder, grid = tmp_path / "run", grids(2, {"birch": f"{step}/2/1=die"}, in_memory=True)
    masked.run(folder, grid=grid)
    assert essence(folder) == essence(undisturbed)
    assert ("birch", 2, "WORKER_DIED") in codes_of(folder)
    assert {code for _, _, code in codes_of(folder)} == {"WORKER_DIED"}
    assert not grid.has_rounds_in_memory
    assert kinds_of(folder).count("round.abandoned") == 1


def test_a_worker_that_hangs_takes_along_what_one_that_ends_does(
    masked: TinyFederation, tmp_path: Path, grids: Grids, undisturbed: Path
) -> None:
    folder = tmp_path / "run"
    with clock_of_a_hanging_site(masked, "birch") as clock:
        faults = {"birch": "query.mask:train/2/1=hang"}
        masked.run(folder, grid=grids(1, faults, clock, in_memory=True))
    assert codes_of(folder) == [("birch", 2, "WORKER_TIMED_OUT")]
    assert essence(folder) == essence(undisturbed)


def test_no_sum_is_made_without_a_site_whose_round_ended_with_the_worker(
    five: TinyFederation, tmp_path: Path, undisturbed_five: Path
) -> None:
    """Alder trained in the worker that birch ended; of four sites, three would do without it."""
    grids, folder = Grids(five), tmp_path / "run"
    try:
        five.run(folder, grid=grids(1, {"birch": "train.round/2/1=die"}, in_memory=True))
    finally:
        grids.close()
    assert essence(folder) == essence(undisturbed_five)
    assert codes_of(folder) == [("birch", 2, "WORKER_DIED")]


def test_a_site_that_ends_its_worker_in_every_round_costs_the_others_one_attempt(
    masked: TinyFederation, tmp_path: Path, grids: Grids
) -> None:
    always = masked.with_job("job.rounds=4")
    folder = tmp_path / "run"
    always.run(folder, grid=grids(2, {"alder": "train.round/*/*=die"}, in_memory=True))
    assert history_of(folder).participants == [["birch", "cedar"]] * 4
    assert kinds_of(folder).count("round.abandoned") == 1


def test_the_attempt_that_is_lost_with_a_worker_is_none_of_the_jobs_own(
    masked: TinyFederation, tmp_path: Path, grids: Grids, undisturbed: Path
) -> None:
    """Of two attempts the first fails for a reason of its own, and in the second a worker ends."""
    federation = masked.with_job("quorum.required_sites=3", "quorum.attempts=2")
    faults = {"birch": "train.round/2/1=raise;train.round/2/2=die"}
    federation.run(tmp_path / "run", grid=grids(2, faults, in_memory=True))
    assert history_of(tmp_path / "run").attempts[2] == 3
    assert essence(tmp_path / "run")["weights"] == essence(undisturbed)["weights"]


def test_messages_of_other_workers_are_handed_out_again(grids: Grids) -> None:
    """All are ended, for what they have in memory; nobody else's message is lost."""
    grid = grids(2, in_memory=True)
    processes = [worker.process for worker in grid._workers]
    nodes = (100, 101, 102)
    pushed = grid.push_messages(Message(RecordDict(), node, "query.manifest") for node in nodes)
    processes[0].kill()
    processes[0].join()
    ended, *others = answers_to(grid, pushed)
    assert ended.error.reason == "WORKER_DIED"
    assert [answer.error.reason for answer in others] == ["CLIENT_APP_RAISED"] * 2
    assert not any(process.is_alive() for process in processes)
    assert not grid.has_rounds_in_memory


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_round_stays_with_the_worker_that_has_it_in_memory(grids: Grids, in_memory: bool) -> None:
    grid = grids(2, in_memory=in_memory)

    def push(kind: str, number: int, *nodes: int) -> list[str]:
        return grid.push_messages(
            Message(RecordDict(), node, kind, group_id=str(number)) for node in nodes
        )

    answers_to(grid, push("train.round", 1, 100))
    (worker,) = {grid._last_worker[100]}
    answers_to(grid, push("train.round", 1, 101))
    grid._last_worker[101] = worker  # both were there
    push("query.mask", 1, 100, 101)
    assert [len(other.under_way) for other in grid._workers] == ([1, 0] if in_memory else [1, 1])
    answers_to(grid, push("query.mask", 1, 100, 101))
    push("train.round", 2, 100, 101)
    assert [len(other.under_way) for other in grid._workers] == [1, 1]


# -- the whole simulation ends ---------------------------------------------------------------------


class Stopping(Grids):
    """Grids that are stopped when the first message of a kind passes, in mid-step."""

    def stopped_at(self, kind: str, **options: Any) -> Any:
        stop = threading.Event()
        grid = self(2, stop=stop, **options)
        give = grid._send

        def send(worker: Any, message: Message) -> None:
            give(worker, message)
            if message.metadata.message_type == kind and message.metadata.group_id == "2":
                stop.set()

        grid._send = send  # type: ignore[method-assign]
        return grid


@pytest.mark.parametrize("step", STEPS)
def test_a_simulation_that_is_stopped_in_mid_step_goes_on_to_the_same_sums(
    masked: TinyFederation, tmp_path: Path, undisturbed: Path, step: str
) -> None:
    folder, stopping = tmp_path / "run", Stopping(masked)
    try:
        with pytest.raises(StoppedError):
            masked.run(folder, grid=stopping.stopped_at(step.partition(":")[0], in_memory=True))
        assert len(history_of(folder).checkpoints) == 1
        stopping.close()
        masked.run(folder, grid=stopping(2, in_memory=True))
    finally:
        stopping.close()
    assert essence(folder) == essence(undisturbed)
    assert not written_rounds(masked, folder)


def test_once_rounds_are_on_disk_a_kill_between_sum_and_commit_loses_none(
    masked: TinyFederation, tmp_path: Path, undisturbed: Path
) -> None:
    """A worker ended, so the sites unmasked on disk: they give no second sum of the round."""
    folder, grids = tmp_path / "run", Grids(masked)
    grid = grids(2, {"birch": "query.confirm:train/2/1=die"}, in_memory=True)
    masked.set_up(folder)
    # Behind that of round 1 and the one that says that round 2 is repeated.
    entry = kinds_of(undisturbed).index("round.committed") + 3
    try:
        with pytest.raises(Killed):
            masked.run(folder, grid=grid, journal=KillingJournal(folder, entry, before=True))
    finally:
        grids.close()
    assert len(history_of(folder).checkpoints) == 1
    assert "secure-train" in written_rounds(masked, folder)
    federation = masked.in_folder(folder)
    assert not keeps_rounds_in_memory(masked.set_up(folder))
    run_federation(federation, Engine(2), SilentObserver())
    assert essence(folder) == essence(undisturbed)
