"""Twelve faults of published systems: a check for each, which passes here and finds the fault.

Most tests ask the same question twice, of the code as it is and of the code with the fault put in.
What a fault's neighbourhood needs besides stands with the part that it concerns.
"""

import contextlib
import dataclasses
import fcntl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.client.daemon.asked_site import SITE, Answered, Coordinator
from tests.client.ledger.ledgers import CAPS, opened, reserve, steps
from tests.guarantees.linear_training import (
    LEARNING_RATE,
    PRIVATE,
    CountingNoise,
    NoiseOfTheFirstSum,
    NoNoise,
    linear_model,
    one_image_each,
    private_job,
    trained,
)
from tests.tiny_federation import SIDE, make_federation, tiny_job
from torch import Tensor, nn

from fedward_client.daemon import private_rounds, site_state
from fedward_client.daemon.privacy_plan import PrivacyPlan, plan_privacy
from fedward_client.ledger.accounts import RunAccount
from fedward_client.ledger.budget import require_job_within_cap, site_accounting
from fedward_client.ledger.site_ledger import Ledger, open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome
from fedward_client.site_policy import PrivacyPolicy, SitePolicy, require_admissible
from fedward_client.training import private_training
from fedward_client.training.private_training import PrivateOutcome, PrivateRound, train_privately
from fedward_common.errors import (
    ConfigurationError,
    LockedError,
    PrivacyError,
    TrainingError,
    WeightsMismatchError,
)
from fedward_common.job.job_file import Job
from fedward_common.models.parameter_spec import ParameterSpec, TensorSpec
from fedward_common.models.weights_file import read_weights, write_weights
from fedward_common.patient_bands import band_of, weight_of
from fedward_common.privacy.accountant import PLD
from fedward_common.privacy.calibration import noise_multiplier_for
from fedward_common.privacy.disclosures import Disclosure, SampledGaussian
from fedward_common.privacy.noise_source import NoiseSource, SeededNoise
from fedward_common.wire import messages
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.optimizers import FedAvg


def asked_real_site(folder: Path, *overrides: str) -> Coordinator:
    """Give the coordinator of a run that a site with real noise has accepted."""
    federation = make_federation(folder / "federation", tiny_job(overrides=(*PRIVATE, *overrides)))
    settings = federation.homes[SITE] / "site.toml"
    settings.write_text(settings.read_text().replace("simulated = true\n", ""))
    site_state.forget_open_sites()
    federation = dataclasses.replace(federation, seals_answers=True)
    setup = federation.set_up(folder / "run")
    coordinator = Coordinator(federation, setup, setup.key)
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    return coordinator


def account_at(coordinator: Coordinator) -> RunAccount:
    home = SiteHome(coordinator.federation.homes[SITE])
    with open_ledger(home, SystemUtcClock()) as ledger:
        return ledger.accounts.run(coordinator.setup.manifest.run)


# -- 1: a new privacy engine each round, so epsilon is one round's, not the run's -----------------


def spend_all_rounds(folder: Path, plan: PrivacyPlan, job: Job) -> float:
    """Begin every round, each with the ledger opened anew; give what all of them cost."""
    with opened(folder) as ledger:
        reserve(ledger, planned=plan.disclosure_of(plan.num_steps))
    for number in range(1, job.job.rounds + 1):
        with opened(folder) as ledger:
            round_ = plan.disclosure_of(job.training.local_steps)
            ledger.begin_round("run1", number, 1, round_)
            spent = ledger.accounts.run("run1").spent
    return PLD.epsilon_of(spent, plan.delta or 0.0)


def test_epsilon_is_that_of_all_rounds_together(tmp_path: Path) -> None:
    job = private_job("job.rounds=20")
    plan = plan_privacy(job, 200, "patient")
    assert spend_all_rounds(tmp_path / "whole", plan, job) == plan.epsilon
    of_a_round = dataclasses.replace(plan, num_steps=job.training.local_steps)
    with pytest.raises(PrivacyError) as caught:
        spend_all_rounds(tmp_path / "one round", of_a_round, job)
    assert caught.value.code == "BUDGET_EXCEEDED"


# -- 2: noise calibrated for epochs while local steps times rounds are taken ----------------------


def test_noise_is_calibrated_for_the_steps_that_are_taken() -> None:
    job = private_job("training.local_steps=6", "job.rounds=20")
    plan = plan_privacy(job, 200, "patient")
    noise = CountingNoise(1)
    private = PrivateRound(plan.noise_multiplier, plan.sampling_rate, 1.0)
    trained(noise, private, one_image_each(200), num_steps=job.training.local_steps)
    num_taken = noise.num_sums * job.job.rounds
    epsilon, delta = job.privacy.epsilon or 0.0, job.privacy.delta or 0.0

    def true_epsilon(noise_multiplier: float) -> float:
        taken = SampledGaussian(noise_multiplier, plan.sampling_rate, num_taken)
        return PLD.epsilon_of([taken], delta)

    assert 0.9 * epsilon < true_epsilon(plan.noise_multiplier) <= epsilon
    num_of_epochs = job.job.rounds  # one look at each patient taken for one step
    for_epochs = noise_multiplier_for(
        epsilon, delta, sampling_rate=plan.sampling_rate, num_steps=num_of_epochs
    )
    assert true_epsilon(for_epochs) > 1.5 * epsilon


# -- 3: the noise generator seeded with the run's seed or the clock -------------------------------


def updates_repeat(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Say whether a real site, with every seed and the clock as before, gives the same update."""
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "time_ns", lambda: 2 * 10**18)
    updates: list[bytes] = []
    for name in ("one", "two"):
        coordinator = asked_real_site(folder / name)
        np.random.seed(1)  # a global generator, which must not matter
        torch.manual_seed(1)
        updates.append(coordinator.train().arrays["update"].tobytes())
    return updates[0] == updates[1]


def test_noise_follows_from_no_seed_and_no_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not updates_repeat(tmp_path / "sound", monkeypatch)
    monkeypatch.setattr(private_rounds, "OsKeyedNoise", lambda: SeededNoise(time.time_ns()))
    assert updates_repeat(tmp_path / "clock", monkeypatch)
    monkeypatch.setattr(private_rounds, "OsKeyedNoise", lambda: SeededNoise(7))  # the run's seed
    assert updates_repeat(tmp_path / "seed", monkeypatch)


# -- 4: amplification by client sampling applied to every local step ------------------------------


def is_charged_as_trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Compare what the ledger holds of a round with what the training was given."""
    used: list[Disclosure] = []

    def spy(module: nn.Module, job: Job, *rest: Any) -> PrivateOutcome:
        private = next(one for one in rest if isinstance(one, PrivateRound))
        num_steps = job.training.local_steps
        used.append(SampledGaussian(private.noise_multiplier, private.sampling_rate, num_steps))
        return train_privately(module, job, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(private_training, "train_privately", spy)
        coordinator = asked_real_site(folder)
        coordinator.train()
    return account_at(coordinator).spent == tuple(used)


def test_each_step_is_charged_at_the_rate_at_which_patients_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_charged_as_trained(tmp_path / "sound", monkeypatch)
    disclosure_of = PrivacyPlan.disclosure_of

    def amplified(plan: PrivacyPlan, num_steps: int) -> Disclosure:
        two_of_three = dataclasses.replace(plan, sampling_rate=plan.sampling_rate * 2 / 3)
        return disclosure_of(two_of_three, num_steps)

    monkeypatch.setattr(PrivacyPlan, "disclosure_of", amplified)
    assert not is_charged_as_trained(tmp_path / "amplified", monkeypatch)


# -- 5: noise added once after many locally clipped steps, scaled to the clip of one --------------


def noise_in_update(noise: NoiseSource, num_steps: int) -> float:
    """Give the deviation of the summed steps, over the clipping norm, where nobody is drawn."""
    private = PrivateRound(noise_multiplier=2.0, sampling_rate=1e-9, clipping_norm=3.0)
    weight, _ = trained(noise, private, one_image_each(100), num_steps=num_steps)
    expected_patients = 1e-9 * 100
    return float(weight.std()) * expected_patients / LEARNING_RATE / private.clipping_norm


def test_each_local_step_has_the_noise_of_its_own_clip() -> None:
    assert noise_in_update(SeededNoise(1), num_steps=16) == pytest.approx(2.0 * 4, rel=0.15)
    assert noise_in_update(NoiseOfTheFirstSum(1), num_steps=16) < 2.0 * 4 / 2


# -- 6: noise for equal weights under averaging by number of examples -----------------------------

NUM_PATIENTS = (40, 400)
EXPECTED_BATCH, NOISE_MULTIPLIER = 4, 2.0


def least_noise_over_influence(global_noise: float, weights: Sequence[float]) -> float:
    """Compare noise with what one patient, of the site where it is most, can move."""
    largest = max(weights) / sum(weights) * LEARNING_RATE / EXPECTED_BATCH
    return global_noise / largest


@pytest.mark.parametrize("weighting", ["bands", "equal"])
def test_a_site_has_all_of_its_noise_whatever_the_sites_weights_are(weighting: str) -> None:
    by_band = [weight_of(band_of(number), 1000) for number in NUM_PATIENTS]
    weights = by_band if weighting == "bands" else [1.0, 1.0]
    model = GlobalModel(np.zeros(2 * SIDE**2, np.float32).tobytes(), FedAvg(1.0), 0.0)
    model.begin_round()
    for number, weight in zip(NUM_PATIENTS, weights, strict=True):
        private = PrivateRound(NOISE_MULTIPLIER, EXPECTED_BATCH / number, 1.0)
        update, _ = trained(SeededNoise(number), private, one_image_each(number))
        model.add(update.ravel(), weight)
    model.commit_round()
    noise = float(np.frombuffer(model.weights, np.float32).std())
    assert least_noise_over_influence(noise, weights) > 0.9 * NOISE_MULTIPLIER
    if weighting == "bands":
        for_equal_weights = NOISE_MULTIPLIER * LEARNING_RATE / EXPECTED_BATCH / 2
        assert least_noise_over_influence(for_equal_weights, weights) < 0.9 * NOISE_MULTIPLIER


# -- 7: a guarantee of records reported for patients with many images -----------------------------


def influence_on_a_sum(cases_by_patient: Sequence[NDArray[np.int64]]) -> float:
    """Give the norm of the sum of one patient's images, all of them in `cases_by_patient`."""
    private = PrivateRound(noise_multiplier=1.0, sampling_rate=1.0, clipping_norm=1.0)
    parts = trained(NoNoise(1), private, cases_by_patient, brightness=100.0)
    update = np.concatenate([part.ravel() for part in parts])
    return float(np.linalg.norm(update)) * len(cases_by_patient) / LEARNING_RATE


def test_a_patient_with_many_images_counts_as_one(tmp_path: Path) -> None:
    assert influence_on_a_sum([np.arange(50)]) == pytest.approx(1.0, rel=1e-4)
    assert influence_on_a_sum(one_image_each(50)) == pytest.approx(50.0, rel=1e-4)
    account = account_at(asked_real_site(tmp_path))
    assert account.reserved.num_patients == 12  # with 16 images


# -- 8: batch norm, or any buffer, leaving the site -----------------------------------------------


class KeepsMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        self.get_buffer("mean").copy_(values.detach().mean())
        return values


def buffers_learn(layer: nn.Module) -> bool:
    """Train with bright images; say whether a buffer has seen them."""
    before = [buffer.clone() for buffer in layer.buffers()]
    private = PrivateRound(noise_multiplier=1.0, sampling_rate=1.0, clipping_norm=1.0)
    with contextlib.suppress(TrainingError):
        trained(
            SeededNoise(1), private, one_image_each(4), brightness=9.0, module=linear_model(layer)
        )
    return any(not torch.equal(*pair) for pair in zip(before, layer.buffers(), strict=True))


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm1d(SIDE**2, affine=False), KeepsMean])
def test_a_model_with_buffers_is_not_trained(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError) as caught:
        private_training.require_private_module(linear_model(make()))
    assert caught.value.code == "LAYER_MIXES_PATIENTS"
    assert not buffers_learn(make())
    monkeypatch.setattr(private_training, "require_private_module", lambda module: None)
    assert buffers_learn(make())


# -- 9: epsilon lost at a restart, refunded by a crash, or spent by two processes -----------------


def spent_after_a_crash(folder: Path) -> tuple[Disclosure, ...]:
    """Begin a round, never commit it, start anew, and end the run."""
    with opened(folder) as ledger:
        reserve(ledger, planned=steps(10))
        ledger.begin_round("run1", 1, 1, steps(4))
    with opened(folder) as ledger:
        ledger.release("run1")
        return ledger.accounts.run("run1").charged


def two_reserve_at_once(folder: Path) -> bool:
    """Say whether two who have the ledger open can each take more than half of the budget."""
    cap = dataclasses.replace(CAPS, epsilon_total=20.0)
    with opened(folder) as one:
        try:
            with opened(folder) as other:
                reserve(one, "run1", planned=steps(15), caps=cap)
                reserve(other, "run2", planned=steps(15), caps=cap)
        except LockedError:
            return False
    return True


def test_what_a_crash_left_is_spent_and_nobody_spends_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spent_after_a_crash(tmp_path / "sound") == (steps(4),)
    assert not two_reserve_at_once(tmp_path / "locked")
    monkeypatch.setattr(Ledger, "begin_round", lambda *_: None)  # charged when committed
    assert spent_after_a_crash(tmp_path / "late") == ()
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert two_reserve_at_once(tmp_path / "unlocked")


# -- 10: privacy parameters chosen by whoever is to be restrained ---------------------------------


def refusal_of(policy: SitePolicy, job: Job) -> str:
    """Give the code with which a site with 2000 patients refuses a job; empty if it does not."""
    try:
        require_admissible(policy, job.privacy, 2000, evaluates=True)
        plan = plan_privacy(job, 2000, "patient")
        caps = policy.caps(job.privacy)
        require_job_within_cap(
            "run", (plan.disclosure_of(plan.num_steps),), caps, site_accounting()
        )
    except PrivacyError as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (("privacy.epsilon=9.0",), "EPSILON_ABOVE_CAP"),
        (("privacy.delta=0.05",), "DELTA_TOO_LARGE"),
    ],
)
def test_a_job_cannot_raise_what_a_site_allows(wish: tuple[str, ...], code: str) -> None:
    job = private_job("privacy.delta=1e-5", *wish)
    assert refusal_of(SitePolicy(), private_job("privacy.delta=1e-5")) == ""
    assert refusal_of(SitePolicy(), job) == code
    with pytest.raises(ConfigurationError):
        private_job("privacy.epsilon_per_job=100.0")
    if code == "EPSILON_ABOVE_CAP":
        of_the_job = PrivacyPolicy(epsilon_per_job=job.privacy.epsilon or 0.0)
        assert refusal_of(SitePolicy(of_the_job), job) == ""


# -- 11: figures, sizes, losses or seconds of a site in clear beside its update -------------------


def says_nothing_of_the_site(answer: Answered, job: Job) -> bool:
    """Say whether an answer could have been written from the job alone, but for the update."""
    expected = messages.TrainReply(local_steps=job.training.local_steps)
    return answer.message == expected and answer.arrays.keys() == {messages.UPDATE}


def test_beside_an_update_nothing_leaves_that_tells_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = asked_real_site(tmp_path)
    job = coordinator.federation.job
    assert says_nothing_of_the_site(coordinator.train(), job)
    named = {field.name for field in dataclasses.fields(messages.ManifestReply)}
    assert named == {"band_low", "band_high", "unit"}

    def with_examples(*args: Any) -> PrivateOutcome:
        return dataclasses.replace(train_privately(*args), num_steps=16)

    monkeypatch.setattr(private_training, "train_privately", with_examples)
    again = coordinator.train(subject=coordinator.subject(2))
    assert not says_nothing_of_the_site(again, job)


# -- 12: weights of a wrong architecture loaded in silence ----------------------------------------


def test_weights_of_another_architecture_with_the_same_shapes_are_refused(tmp_path: Path) -> None:
    tensors = (TensorSpec("conv", (4, 3)), TensorSpec("norm", (4,)))
    group_norms = ParameterSpec("groups=4", tensors)
    instance_norms = ParameterSpec("groups=8", tensors)
    write_weights(tmp_path / "w", group_norms, np.ones(16, np.float32))
    with pytest.raises(WeightsMismatchError, match="groups=4"):
        read_weights(tmp_path / "w", instance_norms)
    nameless = dataclasses.replace(instance_norms, architecture=group_norms.architecture)
    assert read_weights(tmp_path / "w", nameless).size == 16  # shapes alone would not tell
