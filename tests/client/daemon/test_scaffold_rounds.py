"""A round of SCAFFOLD at a site: it goes on from what was counted; one question, one answer."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.client.daemon.asked_site import SITE, Answered, Coordinator
from tests.tiny_federation import make_federation, tiny_job

from fedward_client.daemon import site_state
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome
from fedward_common import atomic_files
from fedward_common.wire import messages

SCAFFOLD = (
    "strategy.name=scaffold", "strategy.momentum=0.0", "strategy.weighting=uniform",
    "training.optimizer.name=sgd", "training.optimizer.learning_rate=0.25",
)  # fmt: skip
PRIVATE = ("privacy.mechanism=per-site", "privacy.epsilon=4.0", "privacy.delta=1e-4")
OPEN_AND_PRIVATE = pytest.mark.parametrize("private", [(), PRIVATE], ids=["open", "private"])


def coordinator_of(folder: Path, *overrides: str, real: bool = False) -> Coordinator:
    federation = make_federation(folder / "federation", tiny_job(overrides=(*SCAFFOLD, *overrides)))
    federation = dataclasses.replace(federation, seals_answers=real)
    if real:
        settings = federation.homes[SITE] / "site.toml"
        settings.write_text(settings.read_text().replace("simulated = true\n", ""))
    site_state.forget_open_sites()
    setup = federation.set_up(folder / "run")
    coordinator = Coordinator(federation, setup, setup.key)
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    return coordinator


def trained(
    coordinator: Coordinator,
    number: int = 1,
    counted: int = 0,
    *,
    attempt: int = 1,
    variate: float = 0.0,
    shift: float = 0.0,
    **arrays: NDArray[Any],
) -> Answered:
    """Ask for a round; `variate` stands in every place of the global control variate."""
    weights = coordinator.weights + np.float32(shift)
    sent = {
        messages.WEIGHTS: weights,
        messages.CONTROL_VARIATE: np.full_like(weights, variate),
    }
    return coordinator.ask(
        "train.round",
        messages.TrainRound(evaluate=False, counted_rounds={SITE: counted} if counted else {}),
        sent | arrays,
        subject=coordinator.subject(number, attempt=attempt),
    )


def bytes_of(answer: Answered) -> dict[str, bytes]:
    assert set(answer.arrays) == {messages.UPDATE, messages.CONTROL_VARIATE_CHANGE}, answer.message
    return {name: array.tobytes() for name, array in answer.arrays.items()}


def run_of(coordinator: Coordinator) -> Path:
    return coordinator.federation.homes[SITE] / "runs" / coordinator.setup.manifest.run


@OPEN_AND_PRIVATE
def test_the_change_follows_from_the_update_that_leaves_beside_it(
    tmp_path: Path, private: tuple[str, ...]
) -> None:
    coordinator = coordinator_of(tmp_path, *private)
    answer = trained(coordinator, variate=0.125)
    update, change = (
        answer.arrays[name] for name in (messages.UPDATE, messages.CONTROL_VARIATE_CHANGE)
    )
    assert update.dtype == change.dtype == np.float32
    # Two steps at 0.25: nothing but the update and c is in it, so it costs no privacy of its own.
    np.testing.assert_allclose(change, -update / 0.5 - 0.125, rtol=1e-5, atol=1e-6)


def test_a_round_that_was_counted_corrects_the_next_one_and_another_does_not(
    tmp_path: Path,
) -> None:
    answers = {}
    for counted in (0, 1):
        coordinator = coordinator_of(tmp_path / str(counted))
        trained(coordinator)
        answers[counted] = bytes_of(trained(coordinator, 2, counted))
    never_asked = coordinator_of(tmp_path / "never asked")
    assert answers[0] == bytes_of(trained(never_asked, 2))
    assert answers[1] != answers[0]


@OPEN_AND_PRIVATE
@pytest.mark.parametrize("real", [False, True])
def test_the_same_question_has_the_same_answer_after_a_restart(
    tmp_path: Path, private: tuple[str, ...], real: bool
) -> None:
    coordinator = coordinator_of(tmp_path, *private, real=real)
    bytes_of(trained(coordinator))
    first = bytes_of(trained(coordinator, 2, 1, variate=0.5))
    site_state.forget_open_sites()
    again = bytes_of(trained(coordinator, 2, 1, variate=0.5, attempt=2))
    assert again == first
    # And the round after that one goes on from it, whichever attempt was counted.
    third = bytes_of(trained(coordinator, 3, 2, variate=0.5))
    site_state.forget_open_sites()
    assert bytes_of(trained(coordinator, 3, 2, variate=0.5)) == third


@pytest.mark.parametrize("change", [{"variate": 0.25}, {"shift": 0.125}], ids=["c", "weights"])
def test_another_control_variate_or_other_weights_are_another_question(
    tmp_path: Path, change: dict[str, float]
) -> None:
    coordinator = coordinator_of(tmp_path)
    assert bytes_of(trained(coordinator, **change)) != bytes_of(trained(coordinator))  # type: ignore[arg-type]


@OPEN_AND_PRIVATE
@pytest.mark.parametrize("crash", [1, 2, 3, 4], ids=["variate", "list", "answer", "index"])
def test_a_crash_after_any_file_of_a_round_leaves_a_site_with_the_undisturbed_answers(
    tmp_path: Path, private: tuple[str, ...], crash: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = coordinator_of(tmp_path / "undisturbed", *private)
    wanted = [bytes_of(trained(undisturbed, n, n - 1)) for n in (1, 2, 3)]
    coordinator = coordinator_of(tmp_path / "killed", *private)
    assert bytes_of(trained(coordinator)) == wanted[0]
    run, written, real = run_of(coordinator), list[Path](), atomic_files.sync_folder

    def die(folder: Path) -> None:
        real(folder)
        written.extend([folder] if folder == run else [])
        if len(written) == crash:
            raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(atomic_files, "sync_folder", die)
        assert trained(coordinator, 2, 1).message == messages.Refusal("INTERNAL_ERROR")
    site_state.forget_open_sites()
    assert bytes_of(trained(coordinator, 2, 1)) == wanted[1]
    assert bytes_of(trained(coordinator, 3, 2)) == wanted[2]


def test_an_answer_whose_control_variate_was_overwritten_is_not_given_again(
    tmp_path: Path,
) -> None:
    coordinator = coordinator_of(tmp_path)
    run = run_of(coordinator)
    first = bytes_of(trained(coordinator))
    kept = {name: (run / name).read_bytes() for name in ("update.json", "update.safetensors")}
    bytes_of(trained(coordinator, variate=0.5))
    for name, content in kept.items():  # as if killed between control variate and answer
        (run / name).write_bytes(content)
    assert bytes_of(trained(coordinator)) == first
    trained_after = bytes_of(trained(coordinator, 2, 1))
    undisturbed = coordinator_of(tmp_path / "undisturbed")
    bytes_of(trained(undisturbed))
    assert bytes_of(trained(undisturbed, 2, 1)) == trained_after


def test_a_private_round_costs_what_it_costs_without_scaffold(tmp_path: Path) -> None:
    spent = []
    for name, strategy in (("with", ()), ("without", ("strategy.name=fedavg",))):
        coordinator = coordinator_of(tmp_path / name, *PRIVATE, *strategy)
        trained(coordinator)
        with open_ledger(SiteHome(coordinator.federation.homes[SITE]), SystemUtcClock()) as ledger:
            spent.append(ledger.accounts.run(coordinator.setup.manifest.run).spent)
    assert spent[0] == spent[1]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (np.zeros(3, dtype=np.float32), "WEIGHTS_MISMATCH"),
        (np.array([np.nan], dtype=np.float32), "WEIGHTS_MISMATCH"),
        (np.zeros(3, dtype=np.int64), "WEIGHTS_MISMATCH"),
    ],
)
def test_a_control_variate_that_fits_no_such_model_is_refused(
    tmp_path: Path, wrong: NDArray[Any], code: str
) -> None:
    coordinator = coordinator_of(tmp_path)
    arrays = {messages.CONTROL_VARIATE: np.resize(wrong, coordinator.weights.size)}
    if wrong.size == 3 and wrong.dtype == np.float32:
        arrays = {messages.CONTROL_VARIATE: wrong}
    message = messages.TrainRound(evaluate=False)
    sent = {messages.WEIGHTS: coordinator.weights} | arrays
    assert coordinator.ask("train.round", message, sent).message == messages.Refusal(code)
    del sent[messages.CONTROL_VARIATE]
    assert coordinator.ask("train.round", message, sent).message == messages.Refusal(code)


@pytest.mark.parametrize("counted", [2, 3, -1])
def test_a_counted_round_that_is_not_before_this_one_is_refused(
    tmp_path: Path, counted: int
) -> None:
    answer = trained(coordinator_of(tmp_path), 2, counted)
    assert answer.message == messages.Refusal("MALFORMED_MESSAGE")


def test_a_site_whose_control_variate_is_lost_says_so(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    trained(coordinator)
    shutil.move(run_of(coordinator) / "control-variate-000001.safetensors", tmp_path / "away")
    assert trained(coordinator, 2, 1).message == messages.Refusal("CORRUPT_FILE")


def test_without_scaffold_nothing_of_it_is_written_or_sent(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path, "strategy.name=fedavg")
    assert set(coordinator.train().arrays) == {messages.UPDATE}
    assert not list(run_of(coordinator).glob("control-variate*"))
