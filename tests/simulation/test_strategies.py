"""Strategies in whole runs: killed anywhere, with sites that fail, after damaged checkpoints."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.masked_federation import change_update, last_weights, updates_seen
from tests.simulation.test_resume import Killed, KillingJournal
from tests.tiny_federation import (
    SITES,
    NotesObserver,
    TinyFederation,
    entries_of,
    essence,
    history_of,
    make_federation,
    pictures_of,
)

from fedward_common.tensor_file import read_tensors
from fedward_server.coordinator.counted_rounds import last_counted_rounds

PLAIN = (
    "strategy.momentum=0.0", "strategy.weighting=uniform",
    "training.optimizer.name=sgd", "training.optimizer.learning_rate=0.2",
)  # fmt: skip
PRIVATE = ("privacy.mechanism=per-site", "privacy.epsilon=4.0", "privacy.delta=1e-4")
SCAFFOLD = (*PLAIN, "strategy.name=scaffold")
FEDADAM = (*PLAIN, "strategy.name=fedadam", "strategy.learning_rate=0.02")
MEDIAN = (*PLAIN, "strategy.name=median", "quorum.required_sites=3")
FEDPROX = (*PLAIN, "strategy.name=fedavg", "training.proximal_mu=0.5")
STRATEGIES = {
    "scaffold": SCAFFOLD,
    "private scaffold": (*SCAFFOLD, *PRIVATE),
    "fedadam": FEDADAM,
    "private fedadam": (*FEDADAM, *PRIVATE),
    "median": MEDIAN,
    "private median": (*MEDIAN, *PRIVATE),
    "fedprox": FEDPROX,
    "private fedprox": (*FEDPROX, *PRIVATE),
}


def last_checkpoint(folder: Path) -> dict[str, NDArray[np.float32]]:
    _, name, digest = history_of(folder).checkpoints[-1]
    return read_tensors(folder / name, digest)


@pytest.mark.parametrize("settings", STRATEGIES.values(), ids=STRATEGIES)
def test_a_run_killed_after_any_journal_entry_ends_bit_for_bit_as_the_undisturbed_run(
    tiny: TinyFederation, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    federation = tiny.with_job(*settings)
    federation.run(tmp_path / "undisturbed")
    folder = tmp_path / "killed"
    federation.set_up(folder)
    for entry in range(1, len(entries_of(tmp_path / "undisturbed")) + 1):
        for before in (True, False):
            with pytest.raises(Killed):
                federation.run(folder, journal=KillingJournal(folder, entry, before=before))
    federation.run(folder)
    assert essence(folder) == essence(tmp_path / "undisturbed")


@pytest.mark.parametrize("settings", [SCAFFOLD, FEDADAM], ids=["scaffold", "fedadam"])
def test_a_bit_flip_in_the_newest_checkpoint_costs_a_round_and_changes_no_weight(
    tiny: TinyFederation, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    federation = tiny.with_job(*settings)
    federation.run(tmp_path / "undisturbed")
    folder = tmp_path / "flipped"
    federation.set_up(folder)
    with pytest.raises(Killed):
        federation.run(folder, journal=KillingJournal(folder, 4, before=False))
    newest = sorted(folder.glob("checkpoint-*.safetensors"))[-1]
    content = newest.read_bytes()
    newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    observer = NotesObserver()
    federation.run(folder, observer=observer)
    assert len(observer.notes) == 1
    assert essence(folder) == essence(tmp_path / "undisturbed")


def own_variates(federation: TinyFederation, folder: Path) -> dict[str, NDArray[np.float32]]:
    """Give each site's control variate of the last of its rounds that was counted."""
    setup, participants = federation.set_up(folder), history_of(folder).participants
    found = {}
    for site, number in last_counted_rounds(setup.job, participants, federation.homes).items():
        run = federation.homes[site] / "runs" / setup.manifest.run  # type: ignore[index]
        hashes = json.loads((run / "control-variates.json").read_bytes())
        name = f"control-variate-{number:06d}.safetensors"
        found[site] = read_tensors(run / name, hashes[str(number)])["control-variate"]
    return found


FAULTS = {
    "nobody fails": {},
    "an update is spoiled": {"birch": "train.round/2/*=nan"},
    "answers are lost": {"birch": "train.round/3/*=raise", "cedar": "train.round/1/*=garbage"},
    "a round is abandoned once": dict.fromkeys(("alder", "birch"), "train.round/2/1=unsigned"),
    "a site is lost at the end": {"cedar": "train.round/4/*=shape"},
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_the_global_control_variate_stays_the_mean_of_the_sites_own(
    tiny: TinyFederation, run_folder: Path, faults: dict[str, str]
) -> None:
    federation = tiny.with_job(*SCAFFOLD)
    federation.run(run_folder, client_app="tests.faulty_site:app", faults=faults)
    own = own_variates(federation, run_folder)
    assert sorted(own) == list(SITES)
    mean = np.mean([vector.astype(np.float64) for vector in own.values()], axis=0)
    found = last_checkpoint(run_folder)["optimizer.control-variate"]
    assert np.abs(mean).max() > 0.01
    np.testing.assert_allclose(found, mean, rtol=1e-3, atol=1e-5)


def test_a_site_that_missed_a_round_goes_on_as_if_it_had_not_trained_in_it(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    federation = tiny.with_job(*SCAFFOLD)
    hashes = []
    for fault in ("raise", "nan"):  # it trained and the answer was lost, or was not usable
        folder = tmp_path / fault
        faults = {"birch": f"train.round/2/*={fault}"}
        federation.run(folder, client_app="tests.faulty_site:app", faults=faults)
        hashes.append(essence(folder)["weights"])
    assert hashes[0] == hashes[1]


def test_a_site_that_sends_no_change_or_an_unusable_one_is_a_failure_with_its_code(
    tiny: TinyFederation, run_folder: Path
) -> None:
    history = tiny.with_job(*SCAFFOLD).run(
        run_folder,
        client_app="tests.faulty_site:app",
        faults={"birch": "train.round/2/*=no-change", "cedar": "train.round/3/*=nan-change"},
    )
    failures = {(f["site"], f["round"]): f["code"] for f in history.failures}
    assert failures == {("birch", 2): "UNEXPECTED_ANSWER", ("cedar", 3): "NON_FINITE"}
    assert history.finished


def federation_of_equals(folder: Path) -> TinyFederation:
    """Three sites with the same images, one a patient, all of them in every step."""
    pictures = list({p.row["patient"]: p for p in pictures_of("alder")}.values())
    return make_federation(folder, pictures=dict.fromkeys(SITES, pictures)).with_job(
        *SCAFFOLD, "training.batch_patients=12", "training.local_steps=3", "job.rounds=5"
    )


def test_where_all_sites_have_the_same_patients_scaffold_is_fedavg(tmp_path: Path) -> None:
    federation = federation_of_equals(tmp_path / "equals")
    fedavg = federation.with_job("strategy.name=fedavg")
    folders = tmp_path / "scaffold", tmp_path / "fedavg"
    federation.run(folders[0])
    fedavg.run(folders[1])
    found, wanted = (last_checkpoint(folder)["weights"] for folder in folders)
    start = federation.set_up(tmp_path / "unrun").initial_weights()
    assert np.abs(wanted - start).max() > 0.05
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-5)


def test_where_sites_differ_scaffold_is_another_run(tiny: TinyFederation, tmp_path: Path) -> None:
    weights = []
    for name in ("scaffold", "fedavg"):
        tiny.with_job(*SCAFFOLD, f"strategy.name={name}").run(tmp_path / name)
        weights.append(last_checkpoint(tmp_path / name)["weights"])
    assert np.abs(weights[0] - weights[1]).max() > 1e-3


def test_a_run_with_scaffold_repeats_bit_for_bit(tiny: TinyFederation, tmp_path: Path) -> None:
    federation = tiny.with_job(*SCAFFOLD)
    for name in ("one", "two"):
        federation.run(tmp_path / name)
    assert essence(tmp_path / "one")["weights"] == essence(tmp_path / "two")["weights"]


def test_the_weights_move_by_the_median_of_what_the_sites_sent_whatever_one_of_them_sends(
    tiny: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_update(monkeypatch, "birch", lambda update: np.full_like(update, 1e5))
    sent = updates_seen(monkeypatch)
    one_round = ("job.rounds=1", "evaluation.every=1", "strategy.ema_decay=0.0")
    moved = {}
    for name, settings in {"median": MEDIAN, "fedavg": (*PLAIN, "strategy.name=fedavg")}.items():
        federation = tiny.with_job(*settings, *one_round)
        federation.run(tmp_path / name)
        moved[name] = last_weights(tmp_path / name)
    before = federation.set_up(tmp_path / "fedavg").initial_weights()
    median = np.median([sent[site, 1] for site in SITES], axis=0)
    np.testing.assert_allclose(moved["median"], before + median, rtol=0, atol=1e-6)
    assert np.abs(moved["median"] - before).max() < 1
    assert np.abs(moved["fedavg"] - before).min() > 1e4
