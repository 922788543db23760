"""A round that is asked for again, as where the answer was lost, is not trained again (F11)."""

from pathlib import Path

import numpy as np
import pytest
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.client.daemon.test_private_rounds import coordinator_of

from fedward_client.daemon import site_state, site_work
from fedward_common.wire import messages

POLICY = "unbounded_training = true"


def proposed(folder: Path, *, real: bool) -> Coordinator:
    coordinator = coordinator_of(folder, policy=POLICY, real=real)
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    return coordinator


def count_trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    rounds: list[int] = []
    honest = site_work._work

    def work(site, run, round_, *others):  # type: ignore[no-untyped-def]
        rounds.append(round_.round_number)
        return honest(site, run, round_, *others)

    monkeypatch.setattr(site_work, "_work", work)
    return rounds


def test_a_hospital_gives_the_answer_it_gave_without_training_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = proposed(tmp_path, real=True)
    rounds = count_trainings(monkeypatch)
    first = coordinator.train()
    site_state.forget_open_sites()  # as in a process that starts anew
    second = coordinator.train()
    assert rounds == [1]
    assert first.message == second.message == messages.TrainReply(2)
    np.testing.assert_array_equal(first.arrays["update"], second.arrays["update"])


def test_other_weights_and_other_rounds_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = proposed(tmp_path, real=True)
    rounds = count_trainings(monkeypatch)
    first = coordinator.train()
    others = {messages.WEIGHTS: coordinator.weights + np.float32(0.5)}
    second = coordinator.train(arrays=others)
    coordinator.train(subject=coordinator.subject(2))
    assert rounds == [1, 1, 2]
    assert not np.array_equal(first.arrays["update"], second.arrays["update"])


def test_a_damaged_record_of_it_costs_a_training_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = proposed(tmp_path, real=True)
    rounds = count_trainings(monkeypatch)
    first = coordinator.train()
    run = coordinator.federation.homes[SITE] / "runs" / coordinator.setup.manifest.run
    kept = run / "update.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1])
    second = coordinator.train()
    assert rounds == [1, 1]
    np.testing.assert_array_equal(first.arrays["update"], second.arrays["update"])


def test_a_simulated_site_of_an_open_run_writes_no_vectors(tmp_path: Path) -> None:
    coordinator = proposed(tmp_path, real=False)
    coordinator.train()
    run = coordinator.federation.homes[SITE] / "runs" / coordinator.setup.manifest.run
    assert not list(run.glob("update.*"))
