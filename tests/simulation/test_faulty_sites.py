"""The whole federation in memory, with faults drawn from a seed.

What must then be true is derived a second time from the faults alone: who is left out of which
round with which code, which rounds count, and when the run ends for want of a quorum.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from tests.faulty_site import CODES
from tests.tiny_federation import (
    SITES,
    FakeClock,
    NotesObserver,
    TinyFederation,
    entries_of,
    essence,
    history_of,
)

from fedward_common.errors import QuorumError
from fedward_common.tensor_file import read_tensors
from fedward_server.simulation.in_process_grid import InTurnGrid

FAULTY_APP = "tests.faulty_site:app"
ROUNDS, ATTEMPTS = 4, 2


class SlowGrid(InTurnGrid):
    """Sites in turn, of which some never answer a round.

    Args:
        late: Places of the sites in `SITES`, by round; a place is slow in every attempt.
    """

    poll_seconds = 7.0

    def __init__(self, federation: TinyFederation, faults: dict[str, str]) -> None:
        super().__init__(federation.node_configs(faults), FAULTY_APP)
        self.late: set[tuple[str, int, int]] = set()
        self._attempts: dict[str, tuple[str, int, int]] = {}
        self._seen: dict[tuple[str, int], int] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        pushed = []
        for message in messages:
            site = SITES[message.metadata.dst_node_id - min(self._configs)]
            number = int(message.metadata.group_id)
            (message_id,) = super().push_messages([message])
            if message.metadata.message_type == "train.round":
                attempt = self._seen.get((site, number), 0) + 1
                self._seen[site, number] = attempt
                self._attempts[message_id] = (site, number, attempt)
            pushed.append(message_id)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        there = [m for m in message_ids if self._attempts.get(m) not in self.late]
        return super().pull_messages(there)


@dataclass
class Expected:
    """What must come of a plan of faults."""

    participants: list[list[str]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    ends_in_round: int | None = None


Plan = dict[tuple[str, int, int], str]


def draw_plan(seed: int) -> Plan:
    """Give a fault to about a third of (site, round, attempt)."""
    draw = np.random.default_rng(seed)
    places = [(s, r, a) for r in range(1, ROUNDS + 1) for a in (1, 2) for s in SITES]
    names = sorted(CODES)
    return {place: names[draw.integers(len(names))] for place in places if draw.random() < 0.35}


def expected_of(plan: Plan, required_sites: int) -> Expected:
    expected = Expected()
    for number in range(1, ROUNDS + 1):
        for attempt in range(1, ATTEMPTS + 1):
            failing = {s: plan[s, number, attempt] for s in SITES if (s, number, attempt) in plan}
            expected.failures += [
                {"round": number, "attempt": attempt, "site": site, "code": CODES[fault]}
                for site, fault in failing.items()
            ]
            if len(SITES) - len(failing) >= required_sites:
                expected.participants.append([s for s in SITES if s not in failing])
                break
        else:
            expected.ends_in_round = number
            break
    return expected


def faults_in_words(plan: Plan) -> dict[str, str]:
    """Write a plan as `tests.faulty_site` reads it."""
    return {
        site: ";".join(
            f"train.round/{number}/{attempt}={fault}"
            for (of, number, attempt), fault in plan.items()
            if of == site and fault != "late"
        )
        for site in SITES
    }


def run_with(
    federation: TinyFederation, folder: Path, plan: Plan, clock: FakeClock | None = None
) -> None:
    grid = SlowGrid(federation, faults_in_words(plan))
    grid.late = {place for place, fault in plan.items() if fault == "late"}
    federation.run(folder, grid=grid, clock=clock)


def require_finite_weights(folder: Path) -> None:
    checkpoints = [
        (e["file"], e["sha256"]) for e in entries_of(folder) if e["kind"] == "round.committed"
    ]
    for name, digest in checkpoints[-2:]:
        for vector in read_tensors(folder / name, digest).values():
            assert np.isfinite(vector).all()


@pytest.mark.parametrize("seed", range(12))
def test_faulty_sites_are_named_and_the_others_go_on(
    tiny: TinyFederation, run_folder: Path, seed: int
) -> None:
    plan = draw_plan(seed)
    expected = expected_of(plan, required_sites=2)
    if expected.ends_in_round is None:
        run_with(tiny, run_folder, plan)
    else:
        with pytest.raises(QuorumError, match=f"round {expected.ends_in_round}: ") as caught:
            run_with(tiny, run_folder, plan)
        assert "--resume" in caught.value.hint
    history = history_of(run_folder)
    assert history.participants == expected.participants
    assert history.failures == expected.failures
    assert history.finished == (expected.ends_in_round is None)
    if expected.participants:
        require_finite_weights(run_folder)


def test_the_drawn_plans_reach_every_fault_and_both_endings() -> None:
    plans = [draw_plan(seed) for seed in range(12)]
    endings = {expected_of(plan, required_sites=2).ends_in_round is None for plan in plans}
    assert {fault for plan in plans for fault in plan.values()} == set(CODES)
    assert endings == {True, False}


def test_a_faulty_site_leaves_no_trace_in_the_weights(tiny: TinyFederation, tmp_path: Path) -> None:
    """Whatever is wrong with its answer, the round is that of the other two sites."""
    weights = {}
    for fault in CODES:
        plan = {("birch", 2, 1): fault}
        run_with(tiny, tmp_path / fault, plan)
        weights[fault] = essence(tmp_path / fault)["weights"]
        assert history_of(tmp_path / fault).participants[1] == ["alder", "cedar"]
    assert all(of_fault == weights["raise"] for of_fault in weights.values())


def test_below_the_quorum_committed_rounds_stay_and_a_mended_site_brings_the_run_to_its_end(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    tiny.run(tmp_path / "undisturbed")
    folder = tmp_path / "broken"
    broken = {(s, 3, a): "raise" for s in ("alder", "cedar") for a in (1, 2)}
    with pytest.raises(QuorumError) as caught:
        run_with(tiny, folder, broken)
    assert "alder: CLIENT_APP_RAISED, cedar: CLIENT_APP_RAISED" in str(caught.value)
    assert "\n" not in str(caught.value)
    abandoned = [e["attempt"] for e in entries_of(folder) if e["kind"] == "round.abandoned"]
    assert abandoned == [1, 2]
    assert history_of(folder).round == 2
    tiny.run(folder)
    assert essence(folder) == essence(tmp_path / "undisturbed")


def test_an_abandoned_attempt_leaves_no_trace_in_the_weights(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    tiny.run(tmp_path / "undisturbed")
    plan = {("alder", 2, 1): "late", ("cedar", 2, 1): "nan"}
    run_with(tiny, tmp_path / "second-attempt", plan)
    assert essence(tmp_path / "second-attempt") == essence(tmp_path / "undisturbed")


def test_a_late_site_costs_the_round_its_deadline_and_no_more(
    tiny: TinyFederation, run_folder: Path
) -> None:
    clock = FakeClock()
    run_with(tiny, run_folder, {("birch", 2, 1): "late"}, clock)
    deadline = tiny.job.quorum.deadline_seconds
    assert deadline <= clock.now <= deadline + SlowGrid.poll_seconds


def test_a_minimum_share_of_patients_can_end_a_round_that_has_enough_sites(
    tiny: TinyFederation, run_folder: Path
) -> None:
    federation = tiny.with_job("quorum.minimum_share=0.9")
    plan: Plan = {("birch", 2, a): "raise" for a in (1, 2)}
    with pytest.raises(QuorumError, match="2 of 3 sites, about 67% of the patients"):
        run_with(federation, run_folder, plan)


def test_an_update_so_large_that_the_sum_could_overflow_leaves_its_site_out_of_the_round(
    tiny: TinyFederation, run_folder: Path
) -> None:
    plan: Plan = {("birch", 2, 1): "huge"}
    run_with(tiny.with_job("strategy.weighting=uniform"), run_folder, plan)
    failures = [(f["site"], f["round"], f["code"]) for f in history_of(run_folder).failures]
    assert failures == [("birch", 2, "NON_FINITE")]
    require_finite_weights(run_folder)


def test_sums_that_cannot_be_added_to_the_others_leave_their_site_out_of_the_round(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    plan: Plan = {("birch", 3, 1): "crowd"}
    run_with(tiny, tmp_path / "crowd", plan)
    history = history_of(tmp_path / "crowd")
    assert [(f["site"], f["round"], f["code"]) for f in history.failures] == [
        ("birch", 3, "MALFORMED_MESSAGE")
    ]
    run_with(tiny, tmp_path / "raise", {("birch", 3, 1): "raise"})
    assert essence(tmp_path / "crowd") == essence(tmp_path / "raise")


@pytest.mark.parametrize("fault", ["raise", "garbage", "unsigned"])
def test_a_site_that_cannot_even_accept_is_left_out_of_the_run(
    tiny: TinyFederation, run_folder: Path, fault: str
) -> None:
    history = tiny.run(
        run_folder, client_app=FAULTY_APP, faults={"birch": f"query.manifest/*/*={fault}"}
    )
    assert sorted(history.accepted) == ["alder", "cedar"]
    assert [(f["site"], f["round"]) for f in history.failures] == [("birch", 0)]
    assert history.participants == [["alder", "cedar"]] * ROUNDS


def test_a_run_without_a_quorum_at_its_start_names_the_sites_and_can_begin_once_they_are_mended(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    tiny.run(tmp_path / "undisturbed")
    folder = tmp_path / "broken"
    faults = dict.fromkeys(("alder", "birch"), "query.manifest/*/*=raise")
    with pytest.raises(QuorumError, match="alder: NODE_UNAVAILABLE, birch: NODE_UNAVAILABLE"):
        tiny.run(folder, client_app=FAULTY_APP, faults=faults)
    tiny.run(folder)
    assert essence(folder) == essence(tmp_path / "undisturbed")


def test_a_run_that_goes_on_without_one_of_its_sites_names_it_and_ends(
    tiny: TinyFederation, run_folder: Path
) -> None:
    broken: Plan = {(s, 2, a): "raise" for s in ("alder", "cedar") for a in (1, 2)}
    with pytest.raises(QuorumError):
        run_with(tiny, run_folder, broken)
    history = tiny.run(
        run_folder, client_app=FAULTY_APP, faults={"birch": "query.manifest/*/*=raise"}
    )
    assert history.finished
    assert history.participants == [list(SITES)] + [["alder", "cedar"]] * 3
    gone = [f["code"] for f in history.failures if f["site"] == "birch"]
    assert set(gone) == {"NODE_UNAVAILABLE"}


def test_a_site_that_fails_in_the_evaluations_is_named_and_its_patients_are_not_counted(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    whole = tiny.run(tmp_path / "whole")
    faults = {"birch": "evaluate.final/*/*=raise;evaluate.validation/*/*=garbage"}
    history = tiny.run(tmp_path / "without", client_app=FAULTY_APP, faults=faults)
    codes = [(f["site"], f["round"], f["code"]) for f in history.failures]
    assert codes == [("birch", 4, "MALFORMED_MESSAGE"), ("birch", 4, "CLIENT_APP_RAISED")]
    assert whole.final is not None
    assert history.final is not None
    assert whole.final["sites"] == list(SITES)
    assert history.final["sites"] == ["alder", "cedar"]
    assert history.evaluations[-1]["figures"]["auc"]["support"] == 12
    assert whole.evaluations[-1]["figures"]["auc"]["support"] == 18


def test_nothing_of_an_exceptions_text_reaches_the_coordinator(
    tiny: TinyFederation, run_folder: Path
) -> None:
    observer = NotesObserver()
    tiny.run(
        run_folder,
        client_app=FAULTY_APP,
        faults={"birch": "train.round/*/*=raise"},
        observer=observer,
    )
    journal = (run_folder / "entries.jsonl").read_text()
    assert "CLIENT_APP_RAISED" in journal
    assert "Schmidt" not in journal + "".join(observer.notes)
