"""What stands in a masked vector: derived alike by everybody, and the same only for the same."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from tests.joint_federation import joint_job
from tests.tiny_federation import changed, tiny_job

from fedward_common.errors import ConfigurationError
from fedward_common.evaluation.sums import empty_sums
from fedward_common.job.job_file import Job
from fedward_common.secagg.codec import RingCodec, VectorCodec
from fedward_common.secagg.layout import (
    CLIPPED,
    SUMS,
    WEIGHT,
    WEIGHT_ONE,
    evaluation_layout,
    fewest_ready_sites,
    training_layout,
)
from fedward_common.secagg.thresholds import threshold_of

MASKED = "secure_aggregation.enabled=true"


def job_of(*overrides: str) -> Job:
    return tiny_job(overrides=[MASKED, *overrides])


def joint_of(**quorum: Any) -> Job:
    job = changed(joint_job(), MASKED)
    return dataclasses.replace(job, quorum=dataclasses.replace(job.quorum, **quorum))


def test_a_round_of_training_has_the_update_and_a_lane_of_weight_and_count() -> None:
    layout = training_layout(job_of(), 3, 100, evaluates=False)
    assert isinstance(layout.words, VectorCodec)
    assert (layout.num_words, layout.word_bytes) == (100, 4)
    assert [(s.name, s.length, s.value_range) for s in layout.words.sections] == [
        ("update", 100, 4.0)
    ]
    assert [(f.name, f.most) for f in layout.lane.fields] == [(WEIGHT, WEIGHT_ONE), (CLIPPED, 100)]


def test_where_an_evaluation_is_due_its_sums_travel_in_the_lane() -> None:
    job = job_of()
    layout = training_layout(job, 3, 100, evaluates=True)
    assert layout.lane.fields[-1].name == SUMS
    assert layout.lane.fields[-1].length == len(empty_sums(job.task).to_vector())
    assert layout.sha256 != training_layout(job, 3, 100, evaluates=False).sha256


def test_scaffold_masks_both_of_its_vectors_each_with_a_range_of_its_own() -> None:
    job = job_of(
        "strategy.name=scaffold", "strategy.momentum=0.0", "strategy.weighting=uniform",
        "training.optimizer.name=sgd", "secure_aggregation.control_variate_range=16.0",
    )  # fmt: skip
    layout = training_layout(job, 3, 100, evaluates=False)
    assert isinstance(layout.words, VectorCodec)
    assert [(s.name, s.value_range) for s in layout.words.sections] == [
        ("update", 4.0), ("control-variate-change", 16.0),
    ]  # fmt: skip
    assert layout.lane.fields[1].most == 200


def test_an_evaluation_of_its_own_has_no_words() -> None:
    layout = evaluation_layout(job_of(), 5)
    assert (layout.words, layout.num_words) == (None, 0)
    assert [field.name for field in layout.lane.fields] == [SUMS]
    assert layout.lane.max_sites == 5


def test_shares_of_the_joint_mechanism_lie_in_a_ring_of_their_own() -> None:
    layout = training_layout(joint_of(), 4, 100, evaluates=False)
    assert isinstance(layout.words, RingCodec)
    assert layout.words.bits == joint_job().privacy.ring_bits


ONE: dict[str, Any] = {"job": job_of(), "sites": 4, "parameters": 100, "evaluates": False}


@pytest.mark.parametrize(
    "change",
    [
        {"job": job_of("secure_aggregation.bits=24")},
        {"job": job_of("secure_aggregation.value_range=8.0")},
        {"job": job_of("secure_aggregation.stochastic_rounding=true")},
        {"job": joint_of()},
        {"sites": 5},
        {"parameters": 101},
        {"evaluates": True},
    ],
)
def test_whatever_changes_the_numbers_changes_the_hash(change: dict[str, Any]) -> None:
    def sha256(job: Job, sites: int, parameters: int, evaluates: bool) -> str:
        return training_layout(job, sites, parameters, evaluates=evaluates).sha256

    assert sha256(**ONE) == sha256(**ONE)
    assert sha256(**(ONE | change)) != sha256(**ONE)


def test_what_does_not_touch_the_numbers_leaves_the_hash() -> None:
    other = job_of("training.local_steps=7", "job.name=other")
    hashes = {training_layout(j, 3, 100, evaluates=True).sha256 for j in (job_of(), other)}
    assert len(hashes) == 1


def test_more_sites_than_the_bits_have_room_for_are_refused_by_the_key() -> None:
    job = job_of("secure_aggregation.bits=24", "secure_aggregation.value_range=1024.0")
    training_layout(job, 32, 10, evaluates=False)
    with pytest.raises(ConfigurationError, match=r"secure_aggregation\.bits = 24.*33 sites"):
        training_layout(job, 33, 10, evaluates=False)


def test_no_sum_of_evaluations_wraps_around() -> None:
    layout = evaluation_layout(job_of(), 7)
    (field,) = layout.lane.fields
    most = np.full(field.length, field.most, dtype=np.int64)
    total = layout.lane.encode({SUMS: most})
    total *= np.uint64(7)
    assert (layout.lane.decode(total, num_sites=7)[SUMS] == 7 * field.most).all()


# -- how many must be there ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "minimum", "num_trainers", "wanted"),
    [(0.0, 2, 6, 2), (0.5, 2, 6, 3), (0.51, 2, 6, 4), (0.55, 2, 20, 11), (0.0, 5, 6, 5)],
)
def test_the_larger_of_a_share_and_a_number_must_be_ready(
    share: float, minimum: int, num_trainers: int, wanted: int
) -> None:
    job = job_of(f"quorum.minimum_share={share}", f"secure_aggregation.minimum_sites={minimum}")
    assert fewest_ready_sites(job, "train", num_trainers) == wanted


@pytest.mark.parametrize("num_sites", range(3, 40))
def test_survivors_of_a_joint_round_carry_the_noise_of_t_of_all_sites(num_sites: int) -> None:
    job = joint_of(required_sites=num_sites)
    fewest = fewest_ready_sites(job, "train", num_sites)
    assert threshold_of(fewest) >= threshold_of(num_sites) > threshold_of(fewest - 1)
    assert fewest <= num_sites


def test_an_evaluation_carries_no_noise_that_could_be_too_little() -> None:
    job = joint_of(minimum_share=0.0)
    assert fewest_ready_sites(job, "test", 6) == 2
    assert fewest_ready_sites(job, "train", 6) == 6
