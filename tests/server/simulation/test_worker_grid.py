"""Sites in worker processes: one that dies or hangs costs its own message only."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from tests.masked_federation import SHORT, codes_of
from tests.tiny_federation import SITES, FakeClock, TinyFederation, essence, history_of
from tests.worker_grids import FAULTY_APP, Grids, answers_to, clock_of_a_hanging_site

from fedward_common.identities import COORDINATOR
from fedward_common.wire import messages
from fedward_common.wire.envelope import Subject, sign_envelope
from fedward_common.wire.flower_records import array_record_of_buffers, records_of
from fedward_server.simulation.fork_server import start_fork_server
from fedward_server.simulation.worker_grid import WorkerGrid


@pytest.fixture(scope="module", autouse=True)
def fork_server() -> None:
    """Import torch once, for all workers."""
    start_fork_server()


@pytest.fixture
def grids(tiny: TinyFederation) -> Iterator[Grids]:
    made = Grids(tiny)
    yield made
    made.close()


def test_one_worker_two_workers_and_sites_in_turn_give_the_same_bytes(
    tiny: TinyFederation, tmp_path: Path, grids: Grids
) -> None:
    tiny.run(tmp_path / "in-turn")
    for num_workers in (1, 2):
        folder = tmp_path / f"workers-{num_workers}"
        tiny.run(folder, grid=grids(num_workers))
        assert essence(folder) == essence(tmp_path / "in-turn"), num_workers


def test_masked_rounds_are_the_same_bytes_with_small_steps_in_the_pipe_as_in_turn(
    tiny: TinyFederation, tmp_path: Path, grids: Grids
) -> None:
    masked = tiny.with_job(*SHORT)
    masked.run(tmp_path / "in-turn")
    for num_workers in (1, 2):
        folder, grid = tmp_path / f"workers-{num_workers}", grids(num_workers)
        masked.run(folder, grid=grid)
        assert essence(folder) == essence(tmp_path / "in-turn"), num_workers
        ahead = {kind for kind, num in grid.most_under_way.items() if num > 1}
        assert ahead <= {"query.share", "query.confirm", "query.unmask"}, num_workers
        assert len(ahead) == 3 or num_workers > 1  # with two it depends on who is free when
        assert max(grid.most_under_way.values()) <= 2


@pytest.mark.parametrize("step", ["share", "confirm"])
def test_a_worker_that_dies_has_lost_no_message_that_waited_in_its_pipe(
    tiny: TinyFederation, tmp_path: Path, grids: Grids, step: str
) -> None:
    """Of three masking sites all must stay, so the attempt is made again; with all of them."""
    masked = tiny.with_job(*SHORT)
    masked.run(tmp_path / "undisturbed")
    folder = tmp_path / "run"
    masked.run(folder, grid=grids(1, faults={"alder": f"query.{step}:train/2/1=die"}))
    assert codes_of(folder) == [("alder", 2, "WORKER_DIED")]
    assert essence(folder) == essence(tmp_path / "undisturbed")


def test_a_worker_that_dies_costs_its_message_and_is_replaced(
    tiny: TinyFederation, run_folder: Path, grids: Grids
) -> None:
    tiny.run(run_folder, grid=grids(faults={"birch": "train.round/2/1=die"}))
    history = history_of(run_folder)
    assert history.failures == [{"round": 2, "attempt": 1, "site": "birch", "code": "WORKER_DIED"}]
    assert history.participants == [
        list(SITES), ["alder", "cedar"], list(SITES), list(SITES)
    ]  # fmt: skip


def test_a_worker_that_hangs_is_ended_at_the_deadline_and_replaced(
    tiny: TinyFederation, run_folder: Path, grids: Grids
) -> None:
    # One worker: with two, another site under way would be past the deadline as well.
    with clock_of_a_hanging_site(tiny, "birch") as clock:
        faults = {"birch": "train.round/2/1=hang"}
        tiny.run(run_folder, grid=grids(num_workers=1, faults=faults, clock=clock))
    history = history_of(run_folder)
    assert [(f["site"], f["round"], f["code"]) for f in history.failures] == [
        ("birch", 2, "WORKER_TIMED_OUT")
    ]
    assert history.participants[2:] == [list(SITES)] * 2


def test_a_single_worker_that_keeps_dying_leaves_the_other_sites_their_rounds(
    tiny: TinyFederation, run_folder: Path, grids: Grids
) -> None:
    tiny.run(run_folder, grid=grids(num_workers=1, faults={"alder": "train.round/*/*=die"}))
    history = history_of(run_folder)
    assert history.finished
    assert history.participants == [["birch", "cedar"]] * 4


class CountingGrid(WorkerGrid):
    """Notes how many answers lie unread before and after each look."""

    most_unread = 0

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        before = len(self._answers)
        answers = super().pull_messages(message_ids)
        self.most_unread = max(self.most_unread, before, len(self._answers))
        return answers

    def first_answered(self, message_ids: Iterable[str]) -> str | None:
        for worker in self._workers:
            if worker.under_way:
                worker.connection.poll(60)  # as if the reader were slower than all workers
        return super().first_answered(message_ids)


def from_the_last(grid: WorkerGrid, left: list[str]) -> str:
    return left[-1]


def as_they_come(grid: WorkerGrid, left: list[str]) -> str:
    while True:
        if (message_id := grid.first_answered(left)) is not None:
            return message_id


@pytest.mark.parametrize("whose_turn", [from_the_last, as_they_come])
def test_no_more_answers_are_kept_than_there_are_workers(
    tiny: TinyFederation, tmp_path: Path, whose_turn: Callable[[WorkerGrid, list[str]], str]
) -> None:
    """Twelve questions, whose answers are read in another order than they were asked."""
    setup = tiny.set_up(tmp_path / "run")
    query = messages.ManifestQuery(setup.manifest_bytes, setup.roster_bytes)
    kind, body = messages.encode_message(query)
    subject = Subject(setup.manifest.consortium, setup.manifest.run, "")
    envelope = sign_envelope(
        setup.key, subject=subject, sender=COORDINATOR, recipient="", kind=kind, body=body,
        arrays_sha256={},
    )  # fmt: skip
    home = tiny.node_configs()[100]
    grid = CountingGrid(
        {100 + n: home for n in range(12)}, num_workers=2, threads=1, message_seconds=600,
        clock=FakeClock(), client_app=FAULTY_APP,
    )  # fmt: skip
    try:
        left = grid.push_messages(
            Message(records_of(envelope, array_record_of_buffers({})), node, "query.manifest")
            for node in grid.get_node_ids()
        )
        while left:
            message_id = whose_turn(grid, left)
            left.remove(message_id)
            answers = answers_to(grid, [message_id])
            assert [a.metadata.reply_to_message_id for a in answers] == [message_id]
            assert not answers[0].has_error()
        assert 0 < grid.most_unread <= 2
    finally:
        grid.close()


def test_a_free_worker_begins_before_anybody_waits_for_the_answer(
    tiny: TinyFederation, grids: Grids
) -> None:
    grid = grids(num_workers=2)
    grid.push_messages(Message(RecordDict(), node, "query.manifest") for node in (100, 101, 102))
    assert [len(worker.under_way) for worker in grid._workers] == [1, 1]
    assert len(grid._waiting) == 1


def with_bytes(num_bytes: int) -> RecordDict:
    return RecordDict({"envelope": ConfigRecord({"body": bytes(num_bytes)})})


WITH_ARRAY = RecordDict({"arrays": ArrayRecord({"masked": Array("uint8", (1,), "raw", b"1")})})


@pytest.mark.parametrize(
    ("kind", "content", "num_at_worker"),
    [
        ("query.share", RecordDict({"arrays": ArrayRecord()}), 2),
        ("query.share", with_bytes(1 << 16), 2),
        ("query.share", with_bytes((1 << 16) + 1), 1),
        ("query.share", WITH_ARRAY, 1),
        ("query.confirm", with_bytes(1), 2),
        ("query.unmask", with_bytes(1), 2),
        ("query.mask", with_bytes(1), 1),
        ("train.round", with_bytes(1), 1),
    ],
)
def test_a_busy_worker_has_one_small_step_more_in_its_pipe_and_nothing_else(
    grids: Grids, kind: str, content: RecordDict, num_at_worker: int
) -> None:
    grid = grids(num_workers=1)
    nodes = (100, 101, 102)
    answers_to(grid, grid.push_messages(Message(RecordDict(), n, "query.manifest") for n in nodes))
    pushed = grid.push_messages(Message(content, node, kind) for node in nodes)
    assert [len(worker.under_way) for worker in grid._workers] == [num_at_worker]
    assert len(grid._waiting) == len(nodes) - num_at_worker
    # Asked for from the last to the first, each is answered once and to whom it belongs.
    answers = answers_to(grid, reversed(pushed))
    assert [a.metadata.reply_to_message_id for a in answers] == pushed[::-1]


def test_a_site_that_this_worker_never_had_is_not_put_into_its_pipe(grids: Grids) -> None:
    grid = grids(num_workers=1)
    grid.push_messages(Message(RecordDict(), node, "query.share") for node in (100, 101))
    assert [len(worker.under_way) for worker in grid._workers] == [1]


def test_the_deadline_of_a_message_begins_when_the_one_before_it_is_answered(grids: Grids) -> None:
    clock = FakeClock()
    grid = grids(num_workers=1, clock=clock, message_seconds=600)
    nodes = (100, 101)
    answers_to(grid, grid.push_messages(Message(RecordDict(), n, "query.manifest") for n in nodes))
    pushed = grid.push_messages(Message(RecordDict(), node, "query.share") for node in nodes)
    (worker,) = grid._workers
    assert (len(worker.under_way), worker.ends) == (2, 600)
    clock.now = 100
    answers_to(grid, pushed[:1])
    assert (len(worker.under_way), worker.ends) == (1, 700)


def test_a_site_goes_to_the_worker_that_has_it_in_memory_where_that_is_free(
    tiny: TinyFederation, grids: Grids
) -> None:
    grid = grids(num_workers=2)
    worked = []
    for nodes in ((100, 101), (101, 100), (101,), (100,)):
        pushed = grid.push_messages(Message(RecordDict(), node, "query.manifest") for node in nodes)
        worked.append(
            {
                message.metadata.dst_node_id: grid._workers.index(worker)
                for worker in grid._workers
                for message in worker.under_way
            }
        )
        answers_to(grid, pushed)
    assert worked == [{100: 0, 101: 1}, {100: 0, 101: 1}, {101: 1}, {100: 0}]


def test_closing_ends_every_process(grids: Grids) -> None:
    before = {process.pid for process in multiprocessing.active_children()}
    grid = grids(num_workers=2)
    children = [p for p in multiprocessing.active_children() if p.pid not in before]
    assert len(children) == 2
    grid.close()
    assert not any(process.is_alive() for process in children)
