"""The gate on a public hold-out set leaves a poisoned round out, and nothing is refunded (F30)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from tests.hold_out_sets import GatedFederation, with_hold_out
from tests.joint_federation import FOUR_SITES, joint_job, make_joint_federation
from tests.masked_federation import (
    MASKED,
    Passing,
    Vector,
    WatchedGrid,
    change_update,
    kinds_of,
    last_weights,
)
from tests.simulation.test_resume import Killed, KillingJournal
from tests.simulation.test_strategies import FEDADAM, PRIVATE, SCAFFOLD, last_checkpoint
from tests.simulation.test_strategies import own_variates as own_variates_of
from tests.tiny_federation import (
    SITES,
    NotesObserver,
    TinyFederation,
    entries_of,
    essence,
    history_of,
)

from fedward_client.ledger.charges import count_of
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome
from fedward_common.errors import ConfigurationError
from fedward_common.identities import SiteId
from fedward_common.wire.flower_records import envelope_of
from fedward_common.wire.header import decode_header
from fedward_common.wire.messages import TrainRound, decode_message
from fedward_server.coordinator.hold_out_evaluation import HoldOutEvaluation
from fedward_server.coordinator.hold_out_set import HOLD_OUT_FILE
from fedward_server.coordinator.round_failures import RoundLostError
from fedward_server.coordinator.run_journal import HOLD_OUT_REJECTED

UNIFORM = "strategy.weighting=uniform"


def flipped(update: Vector) -> Vector:
    """Give what takes the model far to where it is wrong: back, and much further."""
    return np.float32(-40) * update


@pytest.fixture(scope="module")
def gated(tiny: TinyFederation, tmp_path_factory: pytest.TempPathFactory) -> GatedFederation:
    folder = tmp_path_factory.mktemp("public")
    return with_hold_out(tiny.with_job(UNIFORM), folder / "set.npz")


def dropped(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry in entries_of(folder) if entry["kind"] == "round.dropped"]


def told(folder: Path) -> dict[str, Any]:
    """Everything two runs must share, the gate's decisions included."""
    entries = entries_of(folder)
    decisions = [(e["kind"], e["round"], e["hold_out"]) for e in entries if "hold_out" in e]
    return essence(folder) | {"decisions": decisions, "rejected": history_of(folder).rejected}


def killed_everywhere(federation: TinyFederation, folder: Path, num_entries: int) -> None:
    """Kill a run before and after each of its entries, then let it come to its end."""
    federation.set_up(folder)
    for entry in range(1, num_entries + 1):
        for before in (True, False):
            with pytest.raises(Killed):
                federation.run(folder, journal=KillingJournal(folder, entry, before=before))
    federation.run(folder)


MODES = {"open": ("job.rounds=4",), "masked": ("job.rounds=4", MASKED)}


@pytest.mark.parametrize("settings", MODES.values(), ids=MODES)
def test_a_poisoned_round_is_left_out_and_the_next_one_goes_on_from_the_weights_before(
    gated: GatedFederation,
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: tuple[str, ...],
) -> None:
    sent: dict[int, Vector] = {}
    asked_to_evaluate: dict[int, bool] = {}

    def watch(passing: Passing, message: Message) -> None:
        if passing.kind == "train.round":
            envelope, arrays = envelope_of(message.content)
            sent[passing.round] = np.array(arrays["weights"])
            asked = decode_message(decode_header(envelope.header_bytes).kind, envelope.body)
            assert isinstance(asked, TrainRound)
            asked_to_evaluate[passing.round] = asked.evaluate

    federation, observer = gated.with_job(*settings, "evaluation.every=1"), NotesObserver()
    change_update(monkeypatch, "birch", flipped, in_round=2)
    grid = WatchedGrid(federation, before=watch)
    history = federation.run(run_folder, grid=grid, observer=observer)
    everybody = list(SITES)
    assert history.participants == [everybody, [], everybody, everybody]
    assert history.rejected == [2]
    np.testing.assert_array_equal(sent[3], sent[2])
    assert not np.array_equal(sent[4], sent[3])
    (entry,) = dropped(run_folder)
    assert (entry["round"], entry["code"], entry["sites"]) == (2, HOLD_OUT_REJECTED, everybody)
    found = entry["hold_out"]
    assert found["metric"] == "auc"
    assert found["value"] < found["value_before"] - 0.1
    assert any("round 2 is left out: auc on the hold-out set is" in n for n in observer.notes)
    # What the sites told of round 1 in the same exchange is kept, and nobody tells it again.
    assert [evaluation["round"] for evaluation in history.evaluations] == [1, 3, 4]
    assert asked_to_evaluate == {2: True, 3: False, 4: True, 1: False}
    assert not (run_folder / "secure-train").exists()


@pytest.mark.parametrize("settings", MODES.values(), ids=MODES)
def test_a_run_with_a_rejected_round_that_is_killed_anywhere_decides_the_same_again(
    gated: GatedFederation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: tuple[str, ...],
) -> None:
    federation = gated.with_job(*settings, "job.rounds=3", "evaluation.every=3")
    change_update(monkeypatch, "birch", flipped, in_round=2)
    federation.run(tmp_path / "undisturbed")
    wanted = told(tmp_path / "undisturbed")
    assert wanted["rejected"] == [2]
    folder = tmp_path / "killed"
    killed_everywhere(federation, folder, len(entries_of(tmp_path / "undisturbed")))
    assert told(folder) == wanted
    assert "run.rewound" not in kinds_of(folder)


def test_a_last_round_that_is_rejected_has_no_evaluation_of_weights_that_have_one(
    gated: GatedFederation, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_at(monkeypatch, run_folder, 3)
    history = gated.with_job("job.rounds=3", "evaluation.every=1").run(run_folder)
    assert history.rejected == [3]
    assert [evaluation["round"] for evaluation in history.evaluations] == [1, 2]
    assert "evaluation.validation" not in kinds_of(run_folder)
    assert history.finished


def test_a_rejected_round_is_charged_at_the_sites_as_any_other(
    gated: GatedFederation, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = gated.with_job(*PRIVATE, "job.rounds=3", "evaluation.every=3")
    bad_at(monkeypatch, run_folder, 2)
    history = federation.run(run_folder)
    assert history.rejected == [2]
    run = federation.set_up(run_folder).manifest.run
    for site in SITES:
        home = SiteHome(federation.homes[SiteId(site)])
        with open_ledger(home, SystemUtcClock()) as ledger:
            steps = sum(count_of(one) for one in ledger.accounts.run(run).spent)
        assert steps == 3 * federation.job.training.local_steps


def test_a_run_whose_rounds_are_rejected_again_and_again_stops_and_may_go_on(
    gated: GatedFederation, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as poisoned:
        change_update(poisoned, "birch", flipped, in_round=2)
        change_update(poisoned, "birch", flipped, in_round=3)
        with pytest.raises(RoundLostError, match="2 rounds in a row were left out") as caught:
            gated.run(run_folder)
    assert "auc on the hold-out set" in str(caught.value)
    assert "--resume" in caught.value.hint
    assert history_of(run_folder).rejected == [2, 3]
    (kept,) = history_of(run_folder).checkpoints
    history = gated.without_file().run(run_folder)
    assert history.participants == [list(SITES), [], [], list(SITES)]
    assert [number for number, _, _ in history.checkpoints] == [kept[0], 4]
    assert history.finished


def test_the_first_round_is_compared_with_the_initial_weights(
    gated: GatedFederation, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values_of(monkeypatch, 0.8, 0.2, 0.75)
    history = gated.with_job("job.rounds=2").run(run_folder)
    assert history.rejected == [1]
    first, second = (e["hold_out"] for e in entries_of(run_folder) if "hold_out" in e)
    assert (first["value_before"], first["value"]) == (0.8, 0.2)
    assert (second["value_before"], second["value"]) == (0.8, 0.75)


def test_weights_whose_output_is_not_finite_are_rejected(
    gated: GatedFederation, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_update(monkeypatch, "birch", lambda update: update * 0 + np.float32(9e5), in_round=1)
    values_of(monkeypatch, 0.5, None, 0.6)
    observer = NotesObserver()
    history = gated.with_job("job.rounds=2").run(run_folder, observer=observer)
    assert history.rejected == [1]
    assert dropped(run_folder)[0]["hold_out"]["value"] is None
    assert any("auc on the hold-out set is not finite" in note for note in observer.notes)


# -- what stays as it was --------------------------------------------------------------------------


def test_without_a_set_nothing_changes_and_a_set_that_rejects_nothing_changes_no_weight(
    tiny: TinyFederation, gated: GatedFederation, tmp_path: Path
) -> None:
    tiny.with_job(UNIFORM).run(tmp_path / "without")
    gated.run(tmp_path / "with")
    assert essence(tmp_path / "with") == essence(tmp_path / "without")
    entries = entries_of(tmp_path / "without")
    assert not any("hold_out" in entry or "code" in entry for entry in entries)
    assert not (tmp_path / "without" / HOLD_OUT_FILE).exists()
    assert (tmp_path / "with" / HOLD_OUT_FILE).exists()


def test_every_site_sees_which_set_decides(gated: GatedFederation, run_folder: Path) -> None:
    setup = gated.set_up(run_folder)
    assert setup.manifest.job.hold_out == gated.job.hold_out
    assert setup.manifest.job.hold_out is not None


# -- the set of a run ------------------------------------------------------------------------------


def _gone(file: Path) -> None:
    file.unlink()


def _changed(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] + b"x")


@pytest.mark.parametrize("spoil", [_gone, _changed], ids=["gone", "changed"])
def test_a_run_whose_set_is_gone_or_changed_asks_no_site_until_it_is_given_again(
    gated: GatedFederation, tmp_path: Path, spoil: Any
) -> None:
    gated.run(tmp_path / "undisturbed")
    folder = tmp_path / "run"
    gated.set_up(folder)
    with pytest.raises(Killed):
        gated.run(folder, journal=KillingJournal(folder, 3, before=False))
    num_entries = len(entries_of(folder))
    spoil(folder / HOLD_OUT_FILE)
    with pytest.raises(ConfigurationError) as caught:
        gated.without_file().run(folder)
    assert caught.value.code == "HOLD_OUT_MISSING"
    assert "--hold-out" in caught.value.hint
    assert len(entries_of(folder)) == num_entries
    gated.run(folder)
    assert told(folder) == told(tmp_path / "undisturbed")


# -- strategies whose coordinator or sites keep something ------------------------------------------


def values_of(monkeypatch: pytest.MonkeyPatch, *values: float | None) -> None:
    """Let the weights of a run have these values, one after the other."""
    left: Iterator[float | None] = iter(values)
    monkeypatch.setattr(HoldOutEvaluation, "value_of", lambda self, weights: next(left))


def bad_at(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Let what is made in one round be bad, however often the run is killed."""

    def value_of(self: HoldOutEvaluation, weights: bytes) -> float:
        judged = history_of_open(folder) + 1
        known = self.__dict__.setdefault("_seen", [])
        known.append(weights)
        return 0.2 if judged == number and len(known) > 1 else 0.9

    monkeypatch.setattr(HoldOutEvaluation, "value_of", value_of)


def history_of_open(folder: Path) -> int:
    """Count the rounds that are over in a journal that somebody else has open."""
    text = (folder / "entries.jsonl").read_text(encoding="utf-8")
    return text.count('"round.committed"') + text.count('"round.dropped"')


KEEPING = {
    "fedavgm with a moving average": (UNIFORM,),
    "fedadam": FEDADAM,
    "scaffold": SCAFFOLD,
    "masked scaffold": (*SCAFFOLD, MASKED),
}


@pytest.mark.parametrize("settings", KEEPING.values(), ids=KEEPING)
def test_no_state_of_a_strategy_keeps_anything_of_a_rejected_round(
    gated: GatedFederation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: tuple[str, ...],
) -> None:
    federation = gated.with_job(*settings, "job.rounds=3", "evaluation.every=3")
    for name in ("undisturbed", "killed"):
        bad_at(monkeypatch, tmp_path / name, 2)
        if name == "undisturbed":
            federation.run(tmp_path / name)
        else:
            num_entries = len(entries_of(tmp_path / "undisturbed"))
            killed_everywhere(federation, tmp_path / name, num_entries)
    assert told(tmp_path / "killed") == told(tmp_path / "undisturbed")
    assert history_of(tmp_path / "killed").rejected == [2]
    if "scaffold" in federation.job.strategy.name:
        # The global control variate is the mean of what the sites hold, as if round 2 had not been.
        held = own_variates_of(federation, tmp_path / "killed")
        mean = np.mean([held[site] for site in SITES], axis=0)
        kept = last_checkpoint(tmp_path / "killed")["optimizer.control-variate"]
        np.testing.assert_allclose(kept, mean, atol=1e-5)


def test_the_joint_mechanism_goes_on_from_the_weights_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint = make_joint_federation(tmp_path / "federation", joint_job())
    federation = with_hold_out(joint, tmp_path / "set.npz", "job.rounds=2")
    bad_at(monkeypatch, tmp_path / "run", 1)
    history = federation.run(tmp_path / "run")
    assert history.participants == [[], list(FOUR_SITES)]
    bad_at(monkeypatch, tmp_path / "both", 2)
    federation.run(tmp_path / "both")
    moved = last_weights(tmp_path / "run"), last_weights(tmp_path / "both")
    start = federation.set_up(tmp_path / "run").initial_weights()
    assert all(not np.array_equal(weights, start) for weights in moved)
    (committed,) = history_of(tmp_path / "both").checkpoints
    assert committed[0] == 1


def test_a_damaged_checkpoint_after_a_rejected_round_costs_rounds_and_changes_no_weight(
    gated: GatedFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_update(monkeypatch, "birch", flipped, in_round=2)
    gated.run(tmp_path / "undisturbed")
    folder = tmp_path / "flipped"
    gated.set_up(folder)
    with pytest.raises(Killed):
        gated.run(folder, journal=KillingJournal(folder, 4, before=False))
    assert [number for number, _, _ in history_of(folder).checkpoints] == [1, 3]
    newest = sorted(folder.glob("checkpoint-*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    gated.run(folder)
    assert "run.rewound" in kinds_of(folder)
    assert essence(folder)["weights"] == essence(tmp_path / "undisturbed")["weights"]
    assert history_of(folder).rejected == [2]
