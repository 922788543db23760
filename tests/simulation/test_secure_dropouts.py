"""Sites that leave a masked round at any step: the sum of those who stay, or nothing at all."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from tests.masked_federation import (
    CONFIRMING,
    FAULTY_APP,
    FIVE_SITES,
    MASKED,
    SHORT,
    Passing,
    Vector,
    WatchedGrid,
    codes_of,
    five_sites,
    kinds_of,
    last_weights,
    restart_sites,
)
from tests.tiny_federation import (
    SITES,
    NotesObserver,
    TinyFederation,
    entries_of,
    essence,
    history_of,
)

from fedward_common.errors import QuorumError
from fedward_common.wire.flower_records import envelope_of
from fedward_common.wire.header import decode_header
from fedward_server.coordinator.round_failures import RoundLostError

STEPS = ("share", "mask", "confirm", "unmask")


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> TinyFederation:
    return five_sites(tmp_path_factory.mktemp("five") / "federation").with_job(*SHORT)


@pytest.fixture(scope="module")
def five_undisturbed(five: TinyFederation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("five-undisturbed") / "run"
    five.run(folder)
    return folder


@pytest.fixture(scope="module")
def without_birch(five: TinyFederation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same two rounds with nothing masked, and without one site in the second."""
    folder = tmp_path_factory.mktemp("without") / "run"
    faults = {"birch": "train.round/2/*=gone"}
    five.with_job("secure_aggregation.enabled=false").run(
        folder, client_app=FAULTY_APP, faults=faults
    )
    return folder


@pytest.mark.parametrize("fault", ["gone", "unsigned"])
@pytest.mark.parametrize("step", ["train.round", "query.share", "query.mask"])
def test_a_site_that_leaves_before_its_masked_vector_is_there_is_not_in_the_sum(
    five: TinyFederation, without_birch: Path, run_folder: Path, step: str, fault: str
) -> None:
    faults = {"birch": f"{step}:train/2/*={fault}" if "query" in step else f"{step}/2/*={fault}"}
    history = five.run(run_folder, client_app=FAULTY_APP, faults=faults)
    assert history.participants[1] == [site for site in FIVE_SITES if site != "birch"]
    assert [(site, number) for site, number, _ in codes_of(run_folder)] == [("birch", 2)]
    plain = last_weights(without_birch)
    np.testing.assert_allclose(last_weights(run_folder), plain, rtol=0, atol=1e-3)
    assert history.attempts == {1: 1, 2: 1}
    assert history.aggregation is not None
    ready = 4 if step == "train.round" else 5
    assert history.aggregation["sites_ready"] == ready


@pytest.mark.parametrize("fault", ["gone", "raise"])
@pytest.mark.parametrize("step", ["confirm", "unmask"])
def test_a_site_that_leaves_after_its_masked_vector_is_there_is_in_the_sum(
    five: TinyFederation, five_undisturbed: Path, tmp_path: Path, step: str, fault: str
) -> None:
    faults = CONFIRMING | {"birch": f"query.{step}:train/2/*={fault}"}
    history = five.run(tmp_path / "run", client_app=FAULTY_APP, faults=faults)
    assert history.participants[1] == list(FIVE_SITES)
    assert [(site, number) for site, number, _ in codes_of(tmp_path / "run")] == [("birch", 2)]
    assert essence(tmp_path / "run")["weights"] == essence(five_undisturbed)["weights"]


# One round: what was rounded is not trained on, so the codec's own bounds hold for the weights.
COARSE = (
    "strategy.name=fedavg", "strategy.weighting=uniform", "strategy.momentum=0.0",
    "training.optimizer.name=sgd", "training.optimizer.learning_rate=0.2",
    "job.rounds=1", "evaluation.every=1", "secure_aggregation.bits=24",
)  # fmt: skip
COARSE_STEP = 2.0**-18  # for five sites and a range of 4
FLOAT32_ROUNDING = 1e-7


@pytest.fixture(scope="module")
def coarse(five: TinyFederation, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Vector]:
    """The weights that nothing masked comes to, by whether birch is in the round."""
    federation = five.with_job(*COARSE, "secure_aggregation.enabled=false")
    folder = tmp_path_factory.mktemp("coarse")
    gone = {"birch": "train.round/1/*=gone"}
    federation.run(folder / "with")
    federation.run(folder / "without", client_app=FAULTY_APP, faults=gone)
    return {True: last_weights(folder / "with"), False: last_weights(folder / "without")}


@pytest.mark.parametrize("by_chance", [False, True], ids=["to the nearest", "by chance"])
@pytest.mark.parametrize("step", ["share", "mask", "unmask"])
def test_in_24_bits_too_the_sum_is_that_of_the_survivors(
    five: TinyFederation, coarse: dict[bool, Vector], run_folder: Path, step: str, by_chance: bool
) -> None:
    rounding = f"secure_aggregation.stochastic_rounding={str(by_chance).lower()}"
    faults = {"birch": f"query.{step}:train/1/*=gone"}
    federation = five.with_job(*COARSE, rounding)
    history = federation.run(run_folder, client_app=FAULTY_APP, faults=faults)
    is_in = step == "unmask"
    assert history.participants == [[s for s in FIVE_SITES if is_in or s != "birch"]]
    assert history.attempts == {1: 1}
    within = COARSE_STEP * (1.0 if by_chance else 0.5) + FLOAT32_ROUNDING
    found = last_weights(run_folder)
    np.testing.assert_allclose(found, coarse[is_in], rtol=0, atol=within)
    assert np.abs(found - coarse[not is_in]).max() > 1000 * within


@pytest.mark.parametrize("step", ["share", "mask", "confirm"])
def test_of_three_sites_none_may_leave_after_its_keys_and_the_next_attempt_has_all_of_them(
    tiny: TinyFederation, tmp_path: Path, undisturbed: Path, step: str
) -> None:
    federation = tiny.with_job(*SHORT)
    unmasked: list[Passing] = []

    def watch(passing: Passing, message: Message) -> None:
        if passing.kind == "query.unmask" and (passing.round, passing.attempt) == (2, 1):
            unmasked.append(passing)

    faults = {"birch": f"query.{step}:train/2/1=gone"}
    grid = WatchedGrid(federation, faults, before=watch)
    history = federation.run(tmp_path / "run", grid=grid)
    assert not unmasked
    assert kinds_of(tmp_path / "run").count("round.abandoned") == 1
    assert history.attempts[2] == 2
    assert history.participants == [list(SITES)] * 2
    assert essence(tmp_path / "run") == essence(undisturbed)


def test_sites_that_masked_refuse_the_next_attempt_until_enough_gave_the_last_one_up(
    tiny: TinyFederation, tmp_path: Path, undisturbed: Path
) -> None:
    """One of three abandonments is enough; here none reaches the coordinator."""
    federation = tiny.with_job(*SHORT)
    deaf = "query.abandon:train/*/*=gone"
    faults = dict.fromkeys(SITES, deaf) | {"birch": f"query.mask:train/2/1=gone;{deaf}"}
    folder = tmp_path / "run"
    with pytest.raises(QuorumError, match="round 2"):
        federation.run(folder, client_app=FAULTY_APP, faults=faults)
    refused = {site for site, _, code in codes_of(folder) if code == "SECAGG_MASKED_BEFORE"}
    assert refused == {"alder", "cedar"}
    assert history_of(folder).round == 1
    restart_sites()
    federation.run(folder)
    assert history_of(folder).attempts[2] == 3
    assert essence(folder) == essence(undisturbed)


def test_an_abandonment_that_a_site_forged_does_not_spoil_those_of_the_others(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    federation = tiny.with_job(*SHORT)
    forged = "query.mask:train/2/1=gone;query.abandon:train/2/1=other-body"
    history = federation.run(tmp_path / "run", client_app=FAULTY_APP, faults={"birch": forged})
    assert history.participants == [list(SITES)] * 2
    assert history.attempts[2] == 2


# -- too few shares at the end ---------------------------------------------------------------------


def test_a_round_that_too_few_unmask_is_left_out_and_the_next_goes_on_from_the_same_weights(
    five: TinyFederation, tmp_path: Path
) -> None:
    federation = five.with_job("job.rounds=3", "evaluation.every=3")
    gone = "query.unmask:train/2/*=gone"
    observer = NotesObserver()
    folder = tmp_path / "run"
    history = federation.run(
        folder, client_app=FAULTY_APP, faults={"birch": gone, "elder": gone}, observer=observer
    )
    assert history.participants == [list(FIVE_SITES), [], list(FIVE_SITES)]
    assert [number for number, _, _ in history.checkpoints] == [1, 3]
    assert any("round 2 is left out" in note for note in observer.notes)
    assert ("birch", 2, "CLIENT_APP_RAISED") in codes_of(folder)
    dropped = next(e for e in entries_of(folder) if e["kind"] == "round.dropped")
    assert (dropped["round"], dropped["attempt"]) == (2, 1)


def test_weights_stay_as_they_were_where_a_round_is_left_out(
    five: TinyFederation, tmp_path: Path
) -> None:
    """Asked in round 3 with the weights of round 1."""
    federation = five.with_job("job.rounds=3", "evaluation.every=3")
    sent: dict[int, str] = {}

    def watch(passing: Passing, message: Message) -> None:
        if passing.kind == "train.round":
            header = decode_header(envelope_of(message.content)[0].header_bytes)
            sent[passing.round] = header.arrays_sha256["weights"]

    gone = "query.unmask:train/2/*=gone"
    grid = WatchedGrid(federation, {"birch": gone, "elder": gone}, before=watch)
    federation.run(tmp_path / "run", grid=grid)
    assert sent[1] != sent[2] == sent[3]


def test_as_many_lost_rounds_in_a_row_as_attempts_end_the_run_and_it_goes_on_once_sites_are_mended(
    tiny: TinyFederation, run_folder: Path
) -> None:
    federation = tiny.with_job(MASKED, "evaluation.every=4", "quorum.attempts=2")
    gone = "query.unmask:train/2/*=gone;query.unmask:train/3/*=gone"
    with pytest.raises(RoundLostError, match="2 rounds in a row") as caught:
        federation.run(run_folder, client_app=FAULTY_APP, faults={"cedar": gone})
    assert "--resume" in caught.value.hint
    assert history_of(run_folder).participants == [list(SITES), [], []]
    history = federation.run(run_folder)
    assert history.finished
    assert history.participants == [list(SITES), [], [], list(SITES)]


def test_one_lost_round_at_the_beginning_does_not_end_the_run(
    tiny: TinyFederation, run_folder: Path
) -> None:
    federation = tiny.with_job(*SHORT)
    history = federation.run(
        run_folder, client_app=FAULTY_APP, faults={"cedar": "query.unmask:train/1/*=gone"}
    )
    assert history.participants == [[], list(SITES)]


def test_a_run_without_any_sum_has_no_result_and_says_so(
    tiny: TinyFederation, run_folder: Path
) -> None:
    federation = tiny.with_job(MASKED, "job.rounds=1", "evaluation.every=1")
    faults = {"cedar": "query.unmask:train/*/*=gone"}
    for _ in range(2):
        with pytest.raises(QuorumError, match="no model") as caught:
            federation.run(run_folder, client_app=FAULTY_APP, faults=faults)
        assert "start anew" in caught.value.hint


def test_test_sums_that_too_few_unmask_end_the_run_and_are_had_when_it_goes_on(
    tiny: TinyFederation, tmp_path: Path, undisturbed: Path
) -> None:
    federation = tiny.with_job(*SHORT)
    folder = tmp_path / "run"
    faults = {"cedar": "query.unmask:test/*/*=gone"}
    for _ in range(2):
        with pytest.raises(QuorumError, match="cedar: CLIENT_APP_RAISED") as caught:
            federation.run(folder, client_app=FAULTY_APP, faults=faults)
        assert "--resume" in caught.value.hint
        restart_sites()
    federation.run(folder)
    assert essence(folder) == essence(undisturbed)


def test_an_evaluation_that_fails_once_is_asked_for_again(
    tiny: TinyFederation, tmp_path: Path, undisturbed: Path
) -> None:
    federation = tiny.with_job(*SHORT)
    faults = {"birch": "query.mask:test/*/0=gone;query.share:validation/*/0=gone"}
    federation.run(tmp_path / "run", client_app=FAULTY_APP, faults=faults)
    abandoned = [e for e in entries_of(tmp_path / "run") if e["kind"] == "evaluation.abandoned"]
    assert [(e["split"], e["number"]) for e in abandoned] == [("validation", 0), ("test", 0)]
    assert essence(tmp_path / "run") == essence(undisturbed)
