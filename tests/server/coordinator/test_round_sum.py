"""A sum of one attempt: exact modulo the ring, decoded whole or not at all."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.joint_federation import joint_job

from fedward_common.errors import MalformedMessageError, QuorumError, WeightsMismatchError
from fedward_common.job.job_file import ScheduleSection
from fedward_common.privacy.joint_constants import joint_constants_of
from fedward_common.wire import messages
from fedward_common.wire.contribution import ContributionVector
from fedward_common.wire.envelope import WireArray
from fedward_server.coordinator import round_sum
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.round_sum import JointSum, RoundSum, UpdateSum
from fedward_server.optimizers import FedAvg

START = np.array([1.0, -2.0, 0.5], dtype=np.float32)
JOB = joint_job(expected_batch_patients=4.0, fraction_bits=8, ring_bits=32, noise_multiplier=4.0)


def model_of() -> GlobalModel:
    return GlobalModel(START.tobytes(), FedAvg(1.0), 0.0)


def joint_sum_of(model: GlobalModel, *, ring_bits: int = 32) -> JointSum:
    section = dataclasses.replace(JOB.privacy, ring_bits=ring_bits)
    job = dataclasses.replace(JOB, privacy=section)
    return JointSum(model, job, joint_constants_of(job, 4, 3))


def weights_of(model: GlobalModel) -> list[float]:
    return [float(value) for value in np.frombuffer(model.weights, dtype=np.float32)]


def share(*values: int, ring_bits: int = 32) -> NDArray[np.int64]:
    return np.array([v % 2**ring_bits for v in values], dtype=np.uint64).view(np.int64)


def shares(values: WireArray) -> dict[str, WireArray]:
    return {messages.SHARES: values}


def updates(values: WireArray) -> dict[str, WireArray]:
    return {messages.UPDATE: values}


@pytest.mark.parametrize("ring_bits", [32, 64])
def test_a_joint_step_worked_by_hand(ring_bits: int) -> None:
    # 256 - 512 + 64 = -192 steps of 1/256, divided by 4: -0.1875; at a rate of 0.5 up by 0.09375.
    model = model_of()
    total = joint_sum_of(model, ring_bits=ring_bits)
    total.clear()
    for values in ((256, 0, -1), (-512, 0, 0), (64, 0, 1)):
        total.add(shares(share(*values, ring_bits=ring_bits)), 1.0)
    total.commit(1)
    assert weights_of(model) == [1.09375, -2.0, 0.5]
    assert model.round == 1


def test_the_learning_rate_follows_the_round() -> None:
    training = dataclasses.replace(
        JOB.training, schedule=ScheduleSection("exponential", final_fraction=0.125)
    )
    job = dataclasses.replace(JOB, training=training)
    model = model_of()
    total = JointSum(model, job, joint_constants_of(job, 4, 3))
    for _ in range(3):
        total.add(shares(share(-256, 0, 0)), 1.0)
    total.commit(4)  # the last of four: an eighth of 0.5, times 3/4
    assert weights_of(model)[0] == pytest.approx(1.0 + 0.5 / 8 * 0.75, rel=1e-6)


def test_below_the_threshold_nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(round_sum, "decode", never)
    model = model_of()
    total = joint_sum_of(model)
    for _ in range(2):
        total.add(shares(share(1, 2, 3)), 1.0)
    with pytest.raises(QuorumError, match="shares of 2 sites, the joint mechanism needs 3"):
        total.require_enough("round 1")
    with pytest.raises(QuorumError, match="shares of 2 sites, the joint mechanism needs 3"):
        total.commit(1)
    assert weights_of(model) == START.tolist()


def test_a_cleared_attempt_leaves_nothing_in_the_next() -> None:
    models = model_of(), model_of()
    sums = [joint_sum_of(model) for model in models]
    for _ in range(2):
        sums[0].add(shares(share(1000, -1000, 77)), 1.0)
    sums[0].clear()
    for total in sums:
        for _ in range(3):
            total.add(shares(share(5, 6, 7)), 1.0)
        total.commit(1)
    assert models[0].weights == models[1].weights


def test_a_sum_is_empty_after_its_round() -> None:
    total = joint_sum_of(model_of())
    for _ in range(3):
        total.add(shares(share(5, 6, 7)), 1.0)
    total.commit(1)
    with pytest.raises(QuorumError, match="shares of 0 sites"):
        total.require_enough("round 2")


WRONG: list[WireArray] = [
    np.zeros(2, dtype=np.int64),
    np.zeros((3, 1), dtype=np.int64),
    np.zeros(3, dtype=np.float32),
]


@pytest.mark.parametrize("wrong", WRONG, ids=["length", "shape", "dtype"])
def test_a_share_of_another_length_or_type_is_refused_and_not_added(wrong: WireArray) -> None:
    total = joint_sum_of(model_of())
    with pytest.raises(WeightsMismatchError) as refusal:
        total.add(shares(wrong), 1.0)
    assert refusal.value.code == "WEIGHTS_MISMATCH"
    with pytest.raises(QuorumError, match="shares of 0 sites"):
        total.require_enough("round 1")


def test_a_share_beyond_the_ring_is_refused() -> None:
    with pytest.raises(MalformedMessageError, match="beyond the ring of 32 bits"):
        joint_sum_of(model_of()).add(shares(np.array([0, 2**32, 0])), 1.0)


def test_an_update_of_another_length_or_type_is_refused() -> None:
    total: RoundSum = UpdateSum(model_of(), ContributionVector(messages.UPDATE, 3))
    total.clear()
    for wrong in (START[:2], np.zeros(3, dtype=np.int64)):
        with pytest.raises(WeightsMismatchError):
            total.add(updates(wrong), 1.0)


def test_a_sum_of_updates_is_their_weighted_mean() -> None:
    model = model_of()
    total: RoundSum = UpdateSum(model, ContributionVector(messages.UPDATE, 3))
    total.clear()
    total.add(updates(np.array([1, 0, 0], dtype=np.float32)), 3.0)
    total.add(updates(np.array([0, 4, 0], dtype=np.float32)), 1.0)
    total.require_enough("round 1")
    total.commit(1)
    assert weights_of(model) == [1.75, -1.0, 0.5]
